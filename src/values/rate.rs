//! Rates: how many requests a portal accepts, and how many of them are used.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// A leaky bucket: how much it holds, and how much drains in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) burst: f64,
    pub(crate) drain: f64,
}

impl Eq for Rate {}

impl Hash for Rate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.burst.to_bits().hash(state);
        self.drain.to_bits().hash(state);
    }
}

impl Rate {
    /// The rate to use if the portal counts requests up to `lag` later than this library does. What
    /// drains here in that time has not drained there yet. This makes the burst a little smaller
    /// and leaves the rate as it is.
    pub(crate) fn lagging(self, lag: Duration) -> Self {
        Self {
            burst: (self.burst - self.drain * lag.as_secs_f64()).max(1.0),
            ..self
        }
    }
}

/// How full the bucket is. Above the burst, requests are waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Level(pub(crate) f64);

impl Level {
    /// The level after some time.
    pub(crate) fn drained(self, rate: Rate, elapsed: Duration) -> Self {
        Self((self.0 - rate.drain * elapsed.as_secs_f64()).max(0.0))
    }

    /// Reserves a place that becomes free within `patience`, and returns how long that takes. If
    /// there is no such place, nothing is reserved, and the error is the time until there is one.
    pub(crate) fn reserve(&mut self, rate: Rate, patience: Duration) -> Result<Duration, Duration> {
        let over = self.0 + 1.0 - rate.burst;
        let wait =
            Duration::try_from_secs_f64((over / rate.drain).max(0.0)).unwrap_or(Duration::MAX);
        if wait > patience {
            return Err(wait);
        }
        self.0 += 1.0;
        Ok(wait)
    }

    pub(crate) fn give_back(&mut self) {
        self.0 = (self.0 - 1.0).max(0.0);
    }

    /// The portal has said that it is full.
    pub(crate) fn fill(&mut self, rate: Rate) {
        self.0 = self.0.max(rate.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_drain() {
        let rate = Rate {
            burst: 3.0,
            drain: 2.0,
        };
        let mut level = Level::default();
        let patience = Duration::from_secs(10);
        let waits: Vec<_> = (0..6).map(|_| level.reserve(rate, patience)).collect();
        let ms = |ms| Ok(Duration::from_millis(ms));
        assert_eq!(waits, [ms(0), ms(0), ms(0), ms(500), ms(1000), ms(1500)]);
        let refused = level.reserve(rate, Duration::from_secs(1));
        assert_eq!(refused, Err(Duration::from_secs(2)));
        assert_eq!(level, Level(6.0));
        assert_eq!(level.drained(rate, Duration::from_secs(2)), Level(2.0));
        assert_eq!(level.drained(rate, Duration::from_secs(9)), Level(0.0));
    }

    #[test]
    fn a_portal_that_refuses_has_a_full_bucket() {
        let rate = STANDARD;
        let mut level = Level(1.0);
        level.fill(rate);
        let wait = level.reserve(rate, Duration::from_secs(10));
        assert_eq!(wait, Ok(Duration::from_millis(500)));
    }

    proptest::proptest! {
        /// Against the portal's own bucket, step by step: a request made when its wait is over is
        /// never refused, and the bucket drains at its full rate as long as anybody waits.
        #[test]
        fn no_request_is_refused_and_none_waits_too_long(
            burst in 1_u32..20,
            drain in 1_u32..20,
            pauses in proptest::collection::vec(0_u64..300, 1..200),
        ) {
            let rate = Rate { burst: burst.into(), drain: drain.into() };
            let mut level = Level::default();
            let mut now = 0.0_f64;
            let mut before = 0.0_f64;
            let (mut portal, mut portal_at) = (0.0_f64, 0.0_f64);
            for pause in pauses {
                #[allow(clippy::cast_precision_loss, reason = "milliseconds")]
                let asked = now + pause as f64 / 1000.0;
                level = level.drained(rate, Duration::from_secs_f64(asked - before));
                before = asked;
                now = asked;
                let wait = level.reserve(rate, Duration::MAX).unwrap().as_secs_f64();
                let made = (asked + wait).max(portal_at);
                portal = (portal - rate.drain * (made - portal_at)).max(0.0);
                portal_at = made;
                proptest::prop_assert!(portal + 1.0 <= rate.burst + 1e-6, "refused at {portal}");
                // Whoever waited came when there was just room.
                proptest::prop_assert!(wait == 0.0 || portal + 1.0 >= rate.burst - 1e-6);
                portal += 1.0;
            }
        }
    }

    const STANDARD: Rate = Rate {
        burst: 50.0,
        drain: 2.0,
    };
}
