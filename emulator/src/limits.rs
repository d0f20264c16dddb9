//! The limits of a cloud portal: a leaky bucket of requests and a budget of execution time.
//! All times are seconds of the portal's own clock, which may run fast.

use std::collections::VecDeque;
use std::time::Instant;

use crate::settings::{Operating, Rate};

const BASKETS: f64 = 10.0;

/// A clock that may run faster than the real one.
#[derive(Debug)]
pub(crate) struct Clock {
    since: Instant,
    then: f64,
    speed: f64,
}

impl Clock {
    pub(crate) fn new(speed: f64) -> Self {
        Self {
            since: Instant::now(),
            then: 0.0,
            speed,
        }
    }

    pub(crate) fn now(&self) -> f64 {
        self.then + self.since.elapsed().as_secs_f64() * self.speed
    }

    pub(crate) fn set_speed(&mut self, speed: f64) {
        self.then = self.now();
        self.since = Instant::now();
        self.speed = speed;
    }

    /// The real seconds that pass while this clock makes `seconds`.
    pub(crate) fn real(&self, seconds: f64) -> f64 {
        seconds / self.speed
    }
}

/// The requests of one host that have not leaked out yet.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    level: f64,
    at: f64,
}

impl Bucket {
    /// Counts a request made at `now`. A request that does not fit is refused and not counted.
    pub(crate) fn admit(&mut self, rate: Rate, now: f64) -> bool {
        let level = (self.level - (now - self.at).max(0.0) * rate.y).max(0.0) + 1.0;
        if level > rate.x {
            return false;
        }
        self.level = level;
        self.at = now;
        true
    }
}

/// The execution time of one method, in baskets that leave the window one after another.
#[derive(Debug, Default)]
pub(crate) struct OperatingTime {
    /// Number of the basket since the clock's start, and the seconds spent in it.
    baskets: VecDeque<(f64, f64)>,
}

impl OperatingTime {
    /// Counts an execution at `now`. One that finds the budget spent is refused and not counted.
    pub(crate) fn admit(&mut self, budget: Operating, now: f64) -> bool {
        let length = budget.window / BASKETS;
        let present = (now / length).floor();
        while self
            .baskets
            .front()
            .is_some_and(|(number, _)| *number <= present - BASKETS)
        {
            self.baskets.pop_front();
        }
        if self.spent() >= budget.limit {
            return false;
        }
        match self.baskets.back_mut() {
            Some((number, spent)) if *number >= present => *spent += budget.cost,
            _ => self.baskets.push_back((present, budget.cost)),
        }
        true
    }

    /// Seconds spent in the window, as of the last call of [`OperatingTime::admit`].
    pub(crate) fn spent(&self) -> f64 {
        self.baskets.iter().fold(0.0, |sum, (_, spent)| sum + spent)
    }

    /// The seconds from `now` until the oldest basket leaves the window.
    pub(crate) fn reset_in(&self, budget: Operating, now: f64) -> f64 {
        let length = budget.window / BASKETS;
        let oldest = self.baskets.front().map(|(number, _)| *number);
        oldest.map_or(budget.window, |number| (number + BASKETS) * length - now)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, OperatingTime};
    use crate::settings::{Operating, Rate};

    #[test]
    fn a_bucket_takes_its_burst_and_then_its_drain() {
        let rate = Rate { x: 50.0, y: 2.0 };
        let mut bucket = Bucket::default();
        assert_eq!((0..60).filter(|_| bucket.admit(rate, 0.0)).count(), 50);
        assert!(!bucket.admit(rate, 0.4));
        assert!(bucket.admit(rate, 0.5));
        assert!(!bucket.admit(rate, 0.9));
        assert_eq!((0..60).filter(|_| bucket.admit(rate, 10.5)).count(), 20);
        assert_eq!((0..60).filter(|_| bucket.admit(rate, 1000.0)).count(), 50);
    }

    #[test]
    fn operating_time_comes_back_basket_by_basket() {
        let budget = Operating {
            limit: 1.0,
            cost: 0.25,
            window: 600.0,
        };
        let mut time = OperatingTime::default();
        let spend =
            |time: &mut OperatingTime, now| (0..9).filter(|_| time.admit(budget, now)).count();
        assert!(time.admit(budget, 30.0));
        assert!(time.admit(budget, 59.0));
        assert_eq!(spend(&mut time, 61.0), 2);
        assert!((time.spent() - 1.0).abs() < 1e-9);
        assert!((time.reset_in(budget, 61.0) - 539.0).abs() < 1e-9);
        assert_eq!(spend(&mut time, 599.0), 0);
        assert_eq!(spend(&mut time, 600.0), 2, "the first basket has left");
        assert!((time.reset_in(budget, 600.0) - 60.0).abs() < 1e-9);
        assert_eq!(spend(&mut time, 659.0), 0);
        assert_eq!(spend(&mut time, 660.0), 2);
    }
}
