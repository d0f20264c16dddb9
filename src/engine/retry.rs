//! Retry: how often, after what pause, and the error of an attempt without an answer.

use crate::http::exchange::Failure;
use crate::process::cancellation::CallContext;
use crate::protocol::error_table::AttemptError;
use crate::values::error::{Error, ErrorKind};
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

    /// Whether no retry was made yet, and one may be.
    pub(crate) fn are_untouched(&self) -> bool {
        self.used == 0 && self.max > 0
    }

    /// Counts a retry, if one is left.
    pub(crate) fn take(&mut self) -> bool {
        let left = self.used < self.max;
        self.used += u32::from(left);
        left
    }

    /// The longest that the next pause may be. If the call fails, its caller is told to wait at
    /// least this long.
    pub(crate) fn step(&self) -> Duration {
        FIRST.saturating_mul(1 << self.used.min(16)).min(LONGEST)
    }

    /// The next pause: a random time up to `step`.
    pub(crate) fn pause(&self) -> Duration {
        self.step().mul_f64(fastrand::f64())
    }
}

/// The error of an attempt without an answer.
pub(super) fn attempt_error(failure: Failure, server: &str, call: &CallContext) -> AttemptError {
    match failure {
        Failure::Interrupted(interrupt) => {
            AttemptError::last(call.error(interrupt, &format!("waiting for {server}")))
        }
        Failure::Certificate(why) => AttemptError::last(Error::new(
            ErrorKind::Transport,
            format!(
                "the certificate of {server} is not trusted ({why}): check the address, or \
                 name the root that signed it in ca_file"
            ),
        )),
        Failure::Proxy(why) => AttemptError::last(Error::new(
            ErrorKind::Transport,
            format!("no answer from {server}: {why}"),
        )),
        Failure::Unreadable(why) => AttemptError::passing(
            ErrorKind::Protocol,
            format!("the answer of {server} cannot be read ({why})"),
        ),
        Failure::Network(why) => AttemptError::passing(
            ErrorKind::Transport,
            format!("no answer from {server} ({why}): check the network, DNS, proxy and firewall"),
        ),
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
