//! Retry: how often, and after what pause.

use std::time::Duration;

/// The first pause is at most this, and each further one at most twice the one before.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// The retries of one request.
#[derive(Debug)]
pub(crate) struct Retries {
    max: u32,
    used: u32,
}

impl Retries {
    pub(crate) fn new(max: u32) -> Self {
        Self { max, used: 0 }
    }

    /// A further request has retries of its own.
    pub(crate) fn reset(&mut self) {
        self.used = 0;
    }

    /// Whether none has been made yet, and one may be.
    pub(crate) fn are_untouched(&self) -> bool {
        self.used == 0 && self.max > 0
    }

    /// Counts a retry, if one is left.
    pub(crate) fn take(&mut self) -> bool {
        let left = self.used < self.max;
        self.used += u32::from(left);
        left
    }

    /// What the next pause is at most: whoever gives up tells its caller to wait so long at least.
    pub(crate) fn step(&self) -> Duration {
        FIRST.saturating_mul(1 << self.used.min(16)).min(LONGEST)
    }

    /// The next pause, with full jitter.
    pub(crate) fn pause(&self) -> Duration {
        self.step().mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let mut retries = Retries::new(8);
        let mut steps = Vec::new();
        loop {
            assert!(retries.pause() <= retries.step());
            steps.push(retries.step().as_millis());
            if !retries.take() {
                break;
            }
        }
        assert_eq!(
            steps,
            [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]
        );
    }
}
