//! A portal's limits as far as they are known: the rate limit, which is a leaky bucket, and the
//! time budget.
//!
//! A request reserves a place in the bucket at once and then waits until the place is free. So
//! requests get their places in order, no thread is woken without need, and the bucket drains at
//! the portal's full rate even if a thread wakes up late.

use crate::process::cancellation::CallContext;
use crate::process::keyed_queue;
use crate::process::per_process::{Local, PerProcess, Process};
use crate::process::registry::{Entry, Registry};
use crate::process::sync::{Mutex, MutexGuard, now};
use crate::store::token_store::{LockError, Store};
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::error::{Error, ErrorKind};
use crate::values::rate::{Level, Rate};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Used until a request has shown a better value: about the time that opening a connection takes.
const FIRST_LAG: Duration = Duration::from_millis(50);
/// If a request took longer than this, the delay came after it was counted.
const LONGEST_LAG: Duration = Duration::from_secs(1);

/// The rate limits of this process.
pub(crate) fn limits(process: &Arc<Process>) -> Local<RateLimits> {
    static LIMITS: PerProcess<RateLimits> = PerProcess::new();
    LIMITS.of(process)
}

/// The limits of the portals that a process calls.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(Mutex<Registry<Origin, Arc<RateLimit>>>);

impl RateLimits {
    /// The limit of a portal, one for all clients.
    pub(crate) fn get(&self, portal: &Origin) -> Arc<RateLimit> {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(RateLimit::new());
        Arc::clone(limits.get_or_insert_with(portal.clone(), make))
    }
}

impl Entry for Arc<RateLimit> {
    const MAX_ENTRIES: usize = 16 * 1024;

    /// When it has drained, and what was spent has been given back.
    fn is_idle(&self) -> bool {
        const FORGET_AFTER: Duration = Duration::from_secs(600);
        Arc::strong_count(self) == 1 && now().duration_since(self.lock().at) >= FORGET_AFTER
    }
}

/// What is known about one portal's limits.
#[derive(Debug)]
pub(crate) struct RateLimit(Mutex<LimitState>);

#[derive(Debug)]
struct LimitState {
    level: Level,
    /// The time of `level`.
    at: Instant,
    /// How much later than this library the portal may have counted a request: the longest time
    /// that one took lately.
    lag: Duration,
    budgets: Budgets,
    /// Whether the state directory failed the last time, so that this is logged once.
    alone: bool,
}

/// Whose time budget a request uses up: the portal keeps one for each application and method. The
/// commands of a batch use up that of the method they call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BudgetKey<'a> {
    /// Its `client_id`; empty if it is not configured.
    application: &'a str,
    /// Identifies the client, if the application is not known.
    client: u64,
    method: &'static str,
}

impl<'a> BudgetKey<'a> {
    pub(crate) fn new(application: &'a str, client: u64, method: &'static str) -> Self {
        Self {
            application,
            client: if application.is_empty() { client } else { 0 },
            method,
        }
    }
}

/// The known time budgets of one portal.
#[derive(Debug, Default)]
struct Budgets(Vec<Budget>);

#[derive(Debug)]
struct Budget {
    application: String,
    client: u64,
    method: &'static str,
    /// When the oldest part of it can be used again, as the last answer said.
    reset_at: Instant,
    /// The portal executes nothing that uses it before then.
    spent_until: Option<Instant>,
}

impl Budgets {
    /// There are few applications for each portal, but there may be thousands of clients without a
    /// `client_id`.
    const MAX_ENTRIES: usize = 64;

    fn of(&mut self, key: BudgetKey<'_>) -> Option<&mut Budget> {
        self.0.iter_mut().find(|budget| {
            budget.client == key.client
                && budget.method == key.method
                && budget.application == key.application
        })
    }

    fn note_reset(&mut self, key: BudgetKey<'_>, reset_at: Instant) {
        if let Some(budget) = self.of(key) {
            budget.reset_at = reset_at;
            return;
        }
        if self.0.len() >= Self::MAX_ENTRIES {
            let first = self.0.iter().map(|budget| budget.reset_at).min();
            self.0.retain(|budget| Some(budget.reset_at) != first);
        }
        self.0.push(Budget {
            application: key.application.to_owned(),
            client: key.client,
            method: key.method,
            reset_at,
            spent_until: None,
        });
    }
}

/// A request that needs a place: for which portal, under which limit, and how it is shared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateRequest<'a> {
    pub(crate) portal: &'a Origin,
    pub(crate) rate: Option<Rate>,
    pub(crate) store: Option<&'a dyn Store>,
    pub(crate) process: &'a Arc<Process>,
    pub(crate) call: &'a CallContext,
    pub(crate) budget: BudgetKey<'a>,
}

impl RateLimit {
    fn new() -> Self {
        Self(Mutex::new(LimitState {
            level: Level::default(),
            at: now(),
            lag: FIRST_LAG,
            budgets: Budgets::default(),
            alone: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, LimitState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place in the portal's bucket, or fails at once if none is free before the
    /// deadline.
    pub(crate) fn take(&self, request: RateRequest<'_>) -> Result<(), Error> {
        let budget = self
            .lock()
            .budgets
            .of(request.budget)
            .map(|b| b.spent_until);
        if let Some(Some(until)) = budget {
            wait_until(request, until)?;
        }
        let Some(rate) = request.rate else {
            return Ok(());
        };
        let patience = request.call.remaining();
        let lag = self.lock().lag;
        let reserved = self.change(request, rate, |level| {
            let idle = *level == Level::default();
            (idle, level.reserve(rate.lagging(lag), patience))
        })?;
        let (idle, reserved) = reserved;
        if idle {
            self.lock().lag = FIRST_LAG;
        }
        let wait = reserved.map_err(|wait| too_long(request.portal, wait))?;
        if wait.is_zero() {
            return Ok(());
        }
        request.call.sleep(wait).map_err(|interrupt| {
            // The place is given back if possible. The call has ended in any case.
            if let Err(error) = self.change(request, rate, Level::give_back) {
                log::debug!(target: LOG, "the rate limit still counts a request that was not sent: {error}");
            }
            let doing = "waiting for its turn under the portal's limits";
            request.call.error(interrupt, doing)
        })
    }

    /// The portal answered `QUERY_LIMIT_EXCEEDED`.
    pub(crate) fn fill(&self, request: RateRequest<'_>) -> Result<(), Error> {
        match request.rate {
            Some(rate) => self.change(request, rate, |level| level.fill(rate)),
            None => Ok(()),
        }
    }

    /// Changes the level, drained up to now, in the file that processes share, or here if there is
    /// none or it cannot be used.
    fn change<R>(
        &self,
        request: RateRequest<'_>,
        rate: Rate,
        mut change: impl FnMut(&mut Level) -> R,
    ) -> Result<R, Error> {
        if let Some(store) = request.store {
            let mut shared = || -> Result<Option<R>, LockError> {
                let queues = keyed_queue::queues(request.process);
                let turn = queues.queue_up(queues.key((store.path(), request.portal)));
                turn.wait(request.call)?;
                let mut outcome = None;
                let mut change = |level: &mut Level| outcome = Some(change(level));
                store.change_level(request.portal, rate, request.call, &mut change)?;
                Ok(outcome)
            };
            match shared() {
                Ok(Some(outcome)) => {
                    self.lock().alone = false;
                    return Ok(outcome);
                }
                Ok(None) => {}
                Err(LockError::Interrupted(interrupt)) => {
                    let doing = "waiting for the state that processes share";
                    return Err(request.call.error(interrupt, doing));
                }
                Err(LockError::Storage(error)) => {
                    if !std::mem::replace(&mut self.lock().alone, true) {
                        log::warn!(target: LOG, "portal={} the rate limit is not shared with other processes: {error}", request.portal);
                    }
                }
            }
        }
        let mut known = self.lock();
        let now = now();
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

    /// Notes when a part of the time budget can be used again.
    pub(crate) fn note_reset(&self, budget: BudgetKey<'_>, reset_in: Option<Duration>) {
        if let Some(reset_in) = reset_in {
            let reset_at = now() + reset_in;
            self.lock().budgets.note_reset(budget, reset_at);
        }
    }

    /// The portal answered `OPERATION_TIME_LIMIT`. Returns how long to wait before asking again, if
    /// that is known.
    pub(crate) fn note_spent(&self, budget: BudgetKey<'_>) -> Option<Duration> {
        let mut known = self.lock();
        let budget = known.budgets.of(budget)?;
        let now = now();
        budget.spent_until = Some(budget.reset_at).filter(|at| *at > now);
        Some(budget.spent_until? - now)
    }
}

fn wait_until(request: RateRequest<'_>, until: Instant) -> Result<(), Error> {
    let wait = until.saturating_duration_since(now());
    if wait.is_zero() {
        Ok(())
    } else if wait > request.call.remaining() {
        Err(spent(request.portal, wait))
    } else {
        request.call.sleep(wait).map_err(|interrupt| {
            let doing = "waiting for the portal's time budget";
            request.call.error(interrupt, doing)
        })
    }
}

fn too_long(portal: &Origin, wait: Duration) -> Error {
    limited(
        wait,
        format!(
            "the rate limit of {portal} allows this request in {:.1} s, which is after its \
             deadline: send it again then, send updates as batches, or raise timeout_ms",
            wait.as_secs_f64()
        ),
    )
}

fn spent(portal: &Origin, wait: Duration) -> Error {
    limited(
        wait,
        format!(
            "the application has used up its time budget on {portal}; the next part of it comes in \
             {:.1} s, which is after the deadline: send the request again then, or raise timeout_ms",
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
    fn a_time_budget_is_one_applications_and_methods() {
        let rate_limit = RateLimit::new();
        let reset_in = Some(Duration::from_secs(600));
        let of = |application, client, method| BudgetKey::new(application, client, method);
        let key = of("app.1", 1, "update");
        assert_eq!(rate_limit.note_spent(key), None, "nothing is known yet");
        rate_limit.note_reset(key, reset_in);
        assert!(rate_limit.note_spent(key).is_some());
        assert!(rate_limit.note_spent(of("app.1", 2, "update")).is_some());
        for other in [
            of("app.2", 1, "update"),
            of("", 1, "update"),
            of("app.1", 1, "add"),
        ] {
            assert_eq!(rate_limit.note_spent(other), None, "{other:?}");
        }
    }

    #[test]
    fn clients_without_an_application_leave_nothing_behind_for_good() {
        let rate_limit = RateLimit::new();
        for client in 0..10_000 {
            let key = BudgetKey::new("", client, "update");
            rate_limit.note_reset(key, Some(Duration::from_secs(600)));
            assert!(rate_limit.note_spent(key).is_some());
        }
        assert!(rate_limit.lock().budgets.0.len() <= Budgets::MAX_ENTRIES);
    }
}
