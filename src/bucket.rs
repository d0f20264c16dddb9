//! A portal's limits as they are known here: its leaky bucket and its time budget.
//!
//! A request reserves its place in the bucket at once and then waits until the place is free. So
//! places are given in the order of asking, nobody is woken for nothing, and the bucket drains at
//! the portal's full rate however late a waiter wakes up.

use crate::address::Origin;
use crate::config::Rate;
use crate::state::StateDir;
#[cfg(unix)]
use crate::state::Unlocked;
use crate::wait::{Call, Stop};
use crate::{Error, ErrorKind};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Before any request has told better: about what opening a connection takes.
const FIRST_LAG: Duration = Duration::from_millis(50);
/// A request that took longer than this was held up after it was counted.
const LONGEST_LAG: Duration = Duration::from_secs(1);

impl Rate {
    /// The bucket to keep to when the portal counts requests up to `lag` later than they are
    /// counted here: what has drained in that time has not drained there yet. It costs a little of
    /// the burst once, and nothing of the rate.
    fn lagging(self, lag: Duration) -> Self {
        Self {
            burst: (self.burst - self.drain * lag.as_secs_f64()).max(1.0),
            ..self
        }
    }
}

/// The buckets of one process.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<Origin, Arc<Bucket>>>);

impl Buckets {
    const MANY: usize = 16 * 1024;
    const FORGET_AFTER: Duration = Duration::from_secs(600);

    /// The bucket of a portal: one, whoever asks.
    pub(crate) fn get(&self, portal: &Origin) -> Arc<Bucket> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(portal) {
            return Arc::clone(bucket);
        }
        if buckets.len() >= Self::MANY {
            buckets.retain(|_, bucket| {
                Arc::strong_count(bucket) > 1 || bucket.lock().at.elapsed() < Self::FORGET_AFTER
            });
        }
        let bucket = Arc::new(Bucket::new());
        buckets.insert(portal.clone(), Arc::clone(&bucket));
        bucket
    }
}

/// What is known of one portal's limits.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<Known>);

#[derive(Debug)]
struct Known {
    level: Level,
    /// When `level` was true.
    at: Instant,
    /// How much later than it was counted here a request may have been counted by the portal:
    /// the longest that one has taken lately.
    lag: Duration,
    budgets: Budgets,
    /// Whether the state directory failed the last time, so that this is said once.
    alone: bool,
}

/// Whose time budget a request uses up: the portal keeps one for each application and method. The
/// commands of a batch use up that of the method they call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spender<'a> {
    /// Its `client_id`; empty if the caller did not tell it.
    application: &'a str,
    /// Stands for the application where that is not known.
    client: u64,
    method: &'static str,
}

impl<'a> Spender<'a> {
    pub(crate) fn new(application: &'a str, client: u64, method: &'static str) -> Self {
        Self {
            application,
            client: if application.is_empty() { client } else { 0 },
            method,
        }
    }
}

/// The time budgets of one portal that are known of.
#[derive(Debug, Default)]
struct Budgets(Vec<Budget>);

#[derive(Debug)]
struct Budget {
    application: String,
    client: u64,
    method: &'static str,
    /// When the oldest part of it is given back, as the last answer told.
    reset_at: Instant,
    /// Nothing that spends it is executed before then.
    spent_until: Option<Instant>,
}

impl Budgets {
    /// A portal has few applications that are called from here; but clients without a `client_id`
    /// may come and go by the thousand.
    const MANY: usize = 64;

    fn of(&mut self, spender: Spender<'_>) -> Option<&mut Budget> {
        self.0.iter_mut().find(|budget| {
            budget.client == spender.client
                && budget.method == spender.method
                && budget.application == spender.application
        })
    }

    fn note_reset(&mut self, spender: Spender<'_>, reset_at: Instant) {
        if let Some(budget) = self.of(spender) {
            budget.reset_at = reset_at;
            return;
        }
        if self.0.len() >= Self::MANY {
            let first = self.0.iter().map(|budget| budget.reset_at).min();
            self.0.retain(|budget| Some(budget.reset_at) != first);
        }
        self.0.push(Budget {
            application: spender.application.to_owned(),
            client: spender.client,
            method: spender.method,
            reset_at,
            spent_until: None,
        });
    }
}

/// How full a bucket is. Above its burst, requests are waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Level(pub(crate) f64);

impl Level {
    /// What is left of it after some time.
    pub(crate) fn drained(self, rate: Rate, elapsed: Duration) -> Self {
        Self((self.0 - rate.drain * elapsed.as_secs_f64()).max(0.0))
    }

    /// Reserves a place that is free within `patience`: how long it takes to be. Without such a
    /// place nothing is reserved, and the time is the error.
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

    fn give_back(&mut self) {
        self.0 = (self.0 - 1.0).max(0.0);
    }

    /// The portal says that it is full.
    fn fill(&mut self, rate: Rate) {
        self.0 = self.0.max(rate.burst);
    }
}

/// Who asks for a place: for which portal, under which limit, shared how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) portal: &'a Origin,
    pub(crate) rate: Option<Rate>,
    pub(crate) state: Option<&'a StateDir>,
    pub(crate) call: &'a Call,
    pub(crate) spender: Spender<'a>,
}

impl Bucket {
    fn new() -> Self {
        Self(Mutex::new(Known {
            level: Level::default(),
            at: Instant::now(),
            lag: FIRST_LAG,
            budgets: Budgets::default(),
            alone: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place in the portal's bucket, or fails at once if none comes free before the
    /// deadline.
    pub(crate) fn take(&self, asker: Asker<'_>) -> Result<(), Error> {
        let stopped = |stop: Stop| stop.error("waiting for its turn under the portal's limits");
        let budget = self.lock().budgets.of(asker.spender).map(|b| b.spent_until);
        if let Some(Some(until)) = budget {
            wait_until(asker, until)?;
        }
        let Some(rate) = asker.rate else {
            return Ok(());
        };
        let patience = asker.call.remaining();
        let lag = self.lock().lag;
        let reserved = self.change(asker, rate, |level| {
            let idle = *level == Level::default();
            (idle, level.reserve(rate.lagging(lag), patience))
        })?;
        let (idle, reserved) = reserved;
        if idle {
            self.lock().lag = FIRST_LAG;
        }
        let wait = reserved.map_err(|wait| too_long(asker.portal, wait))?;
        if wait.is_zero() {
            return Ok(());
        }
        asker.call.sleep(wait).map_err(|stop| {
            // The place goes back as well as it can: the call has ended either way.
            if let Err(fault) = self.change(asker, rate, Level::give_back) {
                log::debug!(target: crate::LOG, "a place under the rate limit was not given back: {fault}");
            }
            stopped(stop)
        })
    }

    /// The portal answered `QUERY_LIMIT_EXCEEDED`.
    pub(crate) fn fill(&self, asker: Asker<'_>) -> Result<(), Error> {
        match asker.rate {
            Some(rate) => self.change(asker, rate, |level| level.fill(rate)),
            None => Ok(()),
        }
    }

    /// Changes the level, drained up to now, in the file that processes share, or here if there is
    /// none or it cannot be used.
    fn change<R>(
        &self,
        asker: Asker<'_>,
        rate: Rate,
        mut change: impl FnMut(&mut Level) -> R,
    ) -> Result<R, Error> {
        #[cfg(unix)]
        if let Some(state) = asker.state {
            match state.change_level(asker.portal, rate, asker.call, &mut change) {
                Ok(outcome) => {
                    self.lock().alone = false;
                    return Ok(outcome);
                }
                Err(Unlocked::Stopped(stop)) => {
                    return Err(stop.error("waiting for the state that processes share"));
                }
                Err(Unlocked::Storage(fault)) => {
                    if !std::mem::replace(&mut self.lock().alone, true) {
                        log::warn!(target: crate::LOG, "portal={} the rate limit is kept by this process alone: {fault}", asker.portal);
                    }
                }
            }
        }
        let mut known = self.lock();
        let now = Instant::now();
        let mut level = known.level.drained(rate, now - known.at);
        let outcome = change(&mut level);
        known.level = level;
        known.at = now;
        Ok(outcome)
    }

    /// Notes how long a request took.
    pub(crate) fn note_lag(&self, lag: Duration) {
        let mut known = self.lock();
        known.lag = known.lag.max(lag.min(LONGEST_LAG));
    }

    /// Remembers when the time budget is given back.
    pub(crate) fn note_reset(&self, spender: Spender<'_>, reset_in: Option<Duration>) {
        if let Some(reset_in) = reset_in {
            let reset_at = Instant::now() + reset_in;
            self.lock().budgets.note_reset(spender, reset_at);
        }
    }

    /// The portal answered `OPERATION_TIME_LIMIT`: how long until it is worth asking again, if
    /// that is known.
    pub(crate) fn note_spent(&self, spender: Spender<'_>) -> Option<Duration> {
        let mut known = self.lock();
        let budget = known.budgets.of(spender)?;
        let now = Instant::now();
        budget.spent_until = Some(budget.reset_at).filter(|at| *at > now);
        Some(budget.spent_until? - now)
    }
}

fn wait_until(asker: Asker<'_>, until: Instant) -> Result<(), Error> {
    let wait = until.saturating_duration_since(Instant::now());
    if wait.is_zero() {
        Ok(())
    } else if wait > asker.call.remaining() {
        Err(spent(asker.portal, wait))
    } else {
        asker
            .call
            .sleep(wait)
            .map_err(|stop| stop.error("waiting for the portal's time budget"))
    }
}

fn too_long(portal: &Origin, wait: Duration) -> Error {
    limited(
        wait,
        format!(
            "the limits of {portal} leave no room for this request for {:.1} s, which is past its \
             deadline: send it again after that, send updates as batches, or raise timeout_ms",
            wait.as_secs_f64()
        ),
    )
}

fn spent(portal: &Origin, wait: Duration) -> Error {
    limited(
        wait,
        format!(
            "the time that {portal} gives an application for updates is spent, and comes back in \
             {:.1} s, which is past the deadline: send it again after that, or raise timeout_ms",
            wait.as_secs_f64()
        ),
    )
}

fn limited(wait: Duration, message: String) -> Error {
    Error::new(ErrorKind::RateLimited, message)
        .with_retryable(true)
        .with_retry_after(Some(wait))
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
    fn a_time_budget_is_one_applications_and_methods() {
        let bucket = Bucket::new();
        let reset_in = Some(Duration::from_secs(600));
        let of = |application, client, method| Spender::new(application, client, method);
        let spender = of("app.1", 1, "update");
        assert_eq!(bucket.note_spent(spender), None, "nothing is known yet");
        bucket.note_reset(spender, reset_in);
        assert!(bucket.note_spent(spender).is_some());
        assert!(bucket.note_spent(of("app.1", 2, "update")).is_some());
        for other in [
            of("app.2", 1, "update"),
            of("", 1, "update"),
            of("app.1", 1, "add"),
        ] {
            assert_eq!(bucket.note_spent(other), None, "{other:?}");
        }
    }

    #[test]
    fn clients_without_an_application_leave_nothing_behind_for_good() {
        let bucket = Bucket::new();
        for client in 0..10_000 {
            let spender = Spender::new("", client, "update");
            bucket.note_reset(spender, Some(Duration::from_secs(600)));
            assert!(bucket.note_spent(spender).is_some());
        }
        assert!(bucket.lock().budgets.0.len() <= Budgets::MANY);
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
