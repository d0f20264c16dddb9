//! One call from its first attempt to its end: what is repeated and when, and what is not.

use super::installation::{Endpoint, Installation};
use super::known_tokens::RenewalResult;
use super::method::{Method, Request};
use super::rate_limit::{BudgetKey, RateRequest};
use super::renewal;
use super::retry::{Retries, attempt_error};
use crate::http::client::HttpRequest;
use crate::http::exchange::Failure;
use crate::process::cancellation::{CallContext, Interrupt, Limits};
use crate::process::per_process::{InFlightGuard, Process};
use crate::protocol::error_table::{AttemptError, RetryAction, refused_though_renewed};
use crate::protocol::response::{Operating, Source};
use crate::values::LOG;
use crate::values::address::{MoveRefused, Origin};
use crate::values::error::{Error, ErrorKind};
use crate::values::rate::Rate;
use crate::values::tokens::Credentials;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a call follows a portal to a new address.
const MAX_MOVES: u32 = 3;
/// How often a request uses a token that was renewed by others.
const MAX_TAKEN_OVER: u32 = 3;

/// A call under way.
pub(crate) struct Operation<'c> {
    pub(crate) installation: &'c Arc<Installation>,
    pub(crate) call: CallContext,
    pub(crate) process: Arc<Process>,
    endpoint: Arc<Endpoint>,
    /// What the last attempt used; another thread may have replaced them since.
    credentials: Arc<Credentials>,
    _in_flight: InFlightGuard,
    attempts: u32,
    retries: Retries,
    moves: u32,
    /// Whether it called the portal at an address where no portal has answered yet.
    moving: bool,
    /// Whether the token was renewed for the current request.
    renewed: bool,
    /// How often the current request has used a token that was renewed by others.
    taken_over: u32,
    /// Whether the portal may have executed the current request although no answer says so.
    may_have_run: bool,
}

/// What follows from a failed attempt.
#[derive(Debug)]
pub(crate) enum Decision {
    Fail(Error),
    /// As `Fail`, where the portal may have executed what must not be executed twice.
    FailUnknown(Error),
    RetryAfter(Duration),
    Renew(Error),
    Move(Origin),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(error) => write!(f, "repeat=no ({})", why_not(error)),
            Self::FailUnknown(_) => f.write_str("repeat=no (the portal may have executed it)"),
            Self::RetryAfter(delay) => write!(f, "repeat=after_ms:{}", delay.as_millis()),
            Self::Renew(_) => f.write_str("repeat=after_renewal"),
            Self::Move(to) => write!(f, "repeat=at:{to}"),
        }
    }
}

fn why_not(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Timeout => "deadline passed",
        _ if error.is_retryable() => "no retry left within the deadline and max_retries",
        _ => "another attempt would fail for the same reason",
    }
}

impl<'c> Operation<'c> {
    /// Begins a call, which ends by the installation's timeout, or by that of its limits.
    pub(crate) fn begin(
        installation: &'c Arc<Installation>,
        limits: &Limits,
        method: &Method,
    ) -> Result<Self, Error> {
        let process = Process::current();
        let in_flight = process.enter();
        let settings = &installation.settings;
        let call = CallContext::new(
            &process,
            limits.source(&installation.cancel, None),
            limits.timeout().unwrap_or(settings.timeout),
            settings.connect_timeout,
            method.after_timeout,
        );
        if !limits.are_none() {
            // Before it takes a place that others wait for.
            call.check()
                .map_err(|interrupt| call.error(interrupt, "it began"))?;
        }
        Ok(Self {
            installation,
            call,
            endpoint: installation.endpoint(&process)?,
            credentials: installation.credentials.load_full(),
            _in_flight: in_flight,
            process,
            attempts: 0,
            retries: Retries::new(settings.max_retries),
            moves: 0,
            moving: false,
            renewed: false,
            taken_over: 0,
            may_have_run: false,
        })
    }

    /// A further request of the same call has retries and a renewal of its own.
    pub(crate) fn next_request(&mut self) {
        self.retries.reset();
        self.renewed = false;
        self.taken_over = 0;
        self.may_have_run = false;
    }

    /// Whether the portal may have executed the request that failed last.
    pub(crate) fn may_have_run(&self) -> bool {
        self.may_have_run
    }

    /// An answer has come that leaves it open for a part of the request.
    pub(crate) fn note_may_have_run(&mut self) {
        self.may_have_run = true;
    }

    /// Posts a request until it succeeds or must not be repeated.
    pub(crate) fn post<R: Request>(&mut self, request: &R) -> Result<R::Output, Error> {
        let method = request.method();
        let mut body = Vec::with_capacity(512);
        let mut throttled = None;
        loop {
            self.credentials = self.present_credentials()?;
            self.take_turn(method, throttled.as_ref())?;
            body.clear();
            request.write(&mut body, &self.credentials.tokens.access_token)?;
            self.attempts += 1;
            let started = Instant::now();
            let (http_status, outcome) = self.attempt(request, &body);
            if self.installation.settings.rate_limit.is_some() {
                self.endpoint.rate_limit.note_lag(started.elapsed());
            }
            if self.moving && is_a_portals(&outcome) {
                self.moving = false;
                self.installation.stay_at(&self.endpoint);
            }
            let record = AttemptRecord {
                operation: self,
                method,
                http_status,
                started,
            };
            let failed = match outcome {
                Ok((output, operating)) => {
                    log::debug!(target: LOG, "{record} ok");
                    self.note_operating(method, operating);
                    return Ok(output);
                }
                Err(failed) => failed,
            };
            let record = record.to_string_if(log::Level::Info);
            self.may_have_run |= failed.may_have_run;
            let decision = self.decide(method, &failed);
            if let Some(record) = record {
                let error = &failed.error;
                log::info!(target: LOG, "{record} error={} {decision}{}", shown_code(error), Cause(error));
            }
            throttled = (failed.action == RetryAction::WhenRateAllows).then_some(failed.error);
            self.execute(decision)?;
        }
    }

    /// The credentials to call with, renewed first if they have expired by this machine's clock.
    fn present_credentials(&mut self) -> Result<Arc<Credentials>, Error> {
        let present = self.installation.credentials.load_full();
        if present.have_expired() && self.may_renew() {
            // The clock may be wrong and the token valid, so half of the time is kept for trying
            // it.
            let ahead = self.call.half();
            match self.renew(&ahead, &present) {
                Ok(_) => {}
                Err(error) if error.is_retryable() && !self.call.remaining().is_zero() => {
                    log::info!(target: LOG, "portal={} the token seems to have expired and was not renewed; trying it: {error}", self.installation.portal);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.installation.credentials.load_full())
    }

    fn may_renew(&self) -> bool {
        !self.renewed && self.taken_over < MAX_TAKEN_OVER && self.installation.can_renew()
    }

    /// Gets a newer pair than `stale`. Returns whether there is one.
    fn renew(&mut self, call: &CallContext, stale: &Credentials) -> Result<bool, Error> {
        match renewal::renew(self.installation, &self.process, call, stale)? {
            RenewalResult::Renewed(_) => self.renewed = true,
            // If the portal refuses this one too, it is the one to renew.
            RenewalResult::TakenOver(_) => self.taken_over += 1,
            RenewalResult::NoMeans | RenewalResult::Abandoned => return Ok(false),
        }
        self.refresh_endpoint()?;
        Ok(true)
    }

    fn rate_request(&self, method: &Method) -> RateRequest<'_> {
        RateRequest {
            portal: &self.endpoint.address.origin,
            rate: self.installation.settings.rate_limit,
            store: self.installation.store.as_deref(),
            process: &self.process,
            call: &self.call,
            budget: self.budget(method),
        }
    }

    fn budget(&self, method: &Method) -> BudgetKey<'_> {
        BudgetKey::new(
            &self.installation.settings.client_id,
            self.installation.cancel.client_id,
            method.budget,
        )
    }

    /// Waits until the portal's rate limit allows a request. If that is too late, and the portal
    /// itself has just refused a request because of its limit, the error is the portal's.
    fn take_turn(&self, method: &Method, throttled: Option<&Error>) -> Result<(), Error> {
        self.endpoint
            .rate_limit
            .take(self.rate_request(method))
            .map_err(|error| match throttled {
                Some(refusal) if error.kind() == ErrorKind::RateLimited => {
                    refusal.clone().with_retry_after(error.retry_after())
                }
                _ => error,
            })
    }

    fn attempt<R: Request>(
        &mut self,
        request: &R,
        body: &[u8],
    ) -> (u16, Result<(R::Output, Operating), AttemptError>) {
        let method = request.method();
        let address = &self.endpoint.address;
        let uri = match address.uri(method) {
            Ok(uri) => uri,
            Err(error) => return (0, Err(AttemptError::last(error))),
        };
        let http_request = HttpRequest {
            uri: &uri,
            body: Some(body),
            user_agent: &self.installation.user_agent,
            idempotent: method.idempotent,
            suffices: None,
        };
        let call = self.attempt_call();
        let response = match self.endpoint.http_client.send(&call, &http_request) {
            Ok(response) => response,
            Err(failed) => {
                let error = match failed.failure {
                    Failure::Interrupted(Interrupt::Deadline)
                        if !self.call.remaining().is_zero() =>
                    {
                        slow(&address.name, method)
                    }
                    failure => attempt_error(failure, &address.name, &self.call),
                };
                return (0, Err(error.after(failed.was_sent)));
            }
        };
        self.may_have_run |= response.sent_before;
        let address = &self.endpoint.address;
        if is_move(response.status) {
            let location = response.location.unwrap_or_default();
            return (
                response.status,
                Err(self.moved(&location, method, response.status)),
            );
        }
        let source = Source {
            server: &address.name,
            secrets: [
                &self.credentials.tokens.access_token,
                &self.credentials.tokens.refresh_token,
                &self.installation.settings.client_secret,
            ],
            codes: method.codes,
        };
        (response.status, request.read(&response, source))
    }

    /// The call as one attempt sees it. A first attempt may take half of the time that is left, so
    /// that there is time for a second one if the server does not answer. A retry has all of it.
    fn attempt_call(&self) -> CallContext {
        if self.retries.are_untouched() {
            self.call.half()
        } else {
            self.call.clone()
        }
    }

    fn moved(&self, location: &str, method: &Method, http_status: u16) -> AttemptError {
        let from = &self.endpoint.address.origin;
        let hosts = &self.installation.settings.redirect_hosts;
        let followed = if self.moves >= MAX_MOVES {
            Err(MoveRefused::new("more often than a call follows it"))
        } else {
            from.follow(location, method.name(), hosts)
        };
        match followed {
            Ok(to) => AttemptError {
                error: Error::new(
                    ErrorKind::PortalMoved,
                    format!("portal {from} moved to {to}"),
                ),
                action: RetryAction::AtAddress(to),
                may_have_run: false,
            },
            Err(refusal) => AttemptError::last(refusal.error(from).with_http_status(http_status)),
        }
    }

    /// Decides what follows from a failed attempt. This updates what is known about the portal's
    /// limits, and counts a retry. It does not wait.
    pub(crate) fn decide(&mut self, method: &Method, failed: &AttemptError) -> Decision {
        let error = failed.error.clone();
        if failed.may_have_run && !method.idempotent {
            let error = match error.kind() {
                // Its message says so already.
                ErrorKind::Timeout => error,
                _ => error.and_advice(&format!(
                    "The portal may have executed the call all the same: {}",
                    method.after_timeout
                )),
            };
            return Decision::FailUnknown(error.with_retryable(false).with_retry_after(None));
        }
        match &failed.action {
            RetryAction::AfterRenewal if self.may_renew() => Decision::Renew(error),
            RetryAction::AfterRenewal if self.installation.can_renew() => {
                Decision::Fail(refused_though_renewed(&self.endpoint.address.name, &error))
            }
            RetryAction::Never | RetryAction::AfterRenewal => Decision::Fail(error),
            RetryAction::AtAddress(origin) => Decision::Move(origin.clone()),
            RetryAction::WhenBudgetResets => {
                match self.endpoint.rate_limit.note_spent(self.budget(method)) {
                    None => Decision::Fail(error),
                    Some(wait) => self.after(wait, error.with_retry_after(Some(wait))),
                }
            }
            RetryAction::WhenRateAllows => match self.installation.settings.rate_limit {
                Some(rate) => self.when_drained(method, rate, error),
                None => self.later(error),
            },
            RetryAction::AfterBackoff => self.later(error),
        }
    }

    fn later(&mut self, error: Error) -> Decision {
        let wait = error.retry_after().unwrap_or_default();
        self.after(wait.max(self.retries.pause()), error)
    }

    /// Marks the rate limit as used up. The wait for a turn comes before the next attempt.
    fn when_drained(&mut self, method: &Method, rate: Rate, error: Error) -> Decision {
        if let Err(error) = self.endpoint.rate_limit.fill(self.rate_request(method)) {
            return Decision::Fail(error);
        }
        let wait = error.retry_after().unwrap_or_default();
        // The next place is free when one request has drained.
        let drained = Duration::try_from_secs_f64(1.0 / rate.drain).unwrap_or_default();
        match self.after(wait, error) {
            Decision::Fail(error) => Decision::Fail(error.wait_at_least(drained)),
            decision => decision,
        }
    }

    /// Repeats after a wait, if a retry is left and the wait ends before the deadline.
    fn after(&mut self, wait: Duration, error: Error) -> Decision {
        let step = self.retries.step();
        if wait >= self.call.remaining() {
            let error = error.with_retry_after(Some(wait));
            return Decision::Fail(error.wait_at_least(step));
        }
        if self.retries.take() {
            Decision::RetryAfter(wait)
        } else {
            Decision::Fail(error.wait_at_least(step))
        }
    }

    /// Waits, renews or moves, so that the next attempt can be made; or fails.
    pub(crate) fn execute(&mut self, decision: Decision) -> Result<(), Error> {
        match decision {
            Decision::Fail(error) | Decision::FailUnknown(error) => Err(error),
            Decision::RetryAfter(wait) if wait.is_zero() => Ok(()),
            Decision::RetryAfter(wait) => self
                .call
                .sleep(wait)
                .map_err(|interrupt| self.call.error(interrupt, "waiting to try again")),
            Decision::Renew(expired) => {
                let (call, stale) = (self.call.clone(), Arc::clone(&self.credentials));
                if self.renew(&call, &stale)? {
                    Ok(())
                } else {
                    Err(expired)
                }
            }
            Decision::Move(origin) => {
                self.moves += 1;
                self.endpoint = self.installation.endpoint_at(&self.process, &origin)?;
                self.moving = true;
                Ok(())
            }
        }
    }

    /// The portal's address may have changed.
    fn refresh_endpoint(&mut self) -> Result<(), Error> {
        self.endpoint = self.installation.endpoint(&self.process)?;
        Ok(())
    }

    /// Notes what an answer says about the portal's limits.
    fn note_operating(&self, method: &Method, operating: Operating) {
        self.endpoint
            .rate_limit
            .note_reset(self.budget(method), operating.reset_in);
    }
}

/// Whether a portal has answered, and not something else at this address.
fn is_a_portals<T>(outcome: &Result<T, AttemptError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(failed) => !failed.error.portal_code().is_empty(),
    }
}

fn is_move(http_status: u16) -> bool {
    matches!(http_status, 301 | 302 | 307 | 308)
}

fn shown_code(error: &Error) -> &str {
    if error.portal_code().is_empty() {
        error.kind().name()
    } else {
        error.portal_code()
    }
}

/// What a record says of an error besides its code: the portal's own codes say enough, and its words
/// do not belong into a log.
struct Cause<'e>(&'e Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.portal_code().is_empty() {
            write!(f, " cause={:?}", self.0.message())
        } else {
            Ok(())
        }
    }
}

/// One attempt, for the log.
struct AttemptRecord<'r, 'c> {
    operation: &'r Operation<'c>,
    method: &'r Method,
    http_status: u16,
    started: Instant,
}

impl AttemptRecord<'_, '_> {
    fn to_string_if(&self, level: log::Level) -> Option<String> {
        log::log_enabled!(target: LOG, level).then(|| self.to_string())
    }
}

impl fmt::Display for AttemptRecord<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "portal={} method={} attempt={} http={} ms={}",
            self.operation.endpoint.address.origin.host(),
            self.method.name(),
            self.operation.attempts,
            self.http_status,
            self.started.elapsed().as_millis(),
        )
    }
}

/// There was no answer within the time that a first attempt may take.
fn slow(server: &str, method: &Method) -> AttemptError {
    AttemptError::passing(
        ErrorKind::Timeout,
        format!(
            "no answer from {server} in half of the time that was left: {}, or raise timeout_ms",
            method.after_timeout
        ),
    )
}
