//! One call from its first attempt to its end: what is repeated, when, and what is given up.

use crate::address::{Origin, Refusal};
use crate::answer::{Operating, Source};
use crate::bucket::{Asker, Spender};
use crate::client::{Bound, Inner};
use crate::config::Rate;
use crate::fault::{Fault, Repeat, refused_though_renewed};
use crate::installations::Renewal;
use crate::process::Active;
use crate::renewal;
use crate::retry::Retries;
use crate::tokens::Credentials;
use crate::transport::{Answer, Failure, Request};
use crate::wait::{Call, Stop};
use crate::{Error, ErrorKind, LOG};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a call follows a portal to a new address.
const MAX_MOVES: u32 = 3;
/// How often a request takes over a token that was renewed for others.
const MAX_TAKEN_OVER: u32 = 3;

/// A REST method of the portal's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    Update,
    Batch,
}

impl Method {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Update => "messageservice.message.status.update",
            Self::Batch => "batch",
        }
    }
}

/// A call under way.
pub(crate) struct Run<'c> {
    pub(crate) client: &'c Arc<Inner>,
    pub(crate) call: Call,
    bound: Arc<Bound>,
    /// What the last attempt was made with: another thread may have replaced them since.
    credentials: Arc<Credentials>,
    _active: Active,
    attempts: u32,
    retries: Retries,
    moves: u32,
    /// Whether it called the portal at an address where no portal has answered yet.
    moving: bool,
    /// Whether the token was renewed for the present request.
    renewed: bool,
    /// How often the present request took over a token that was renewed for others.
    taken_over: u32,
}

/// What follows from a fault.
#[derive(Debug)]
pub(crate) enum Settled {
    Fail(Error),
    After(Duration),
    Renew(Error),
    Move(Origin),
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(error) => write!(f, "repeat=no ({})", why_not(error)),
            Self::After(delay) => write!(f, "repeat=after_ms:{}", delay.as_millis()),
            Self::Renew(_) => f.write_str("repeat=after_renewal"),
            Self::Move(to) => write!(f, "repeat=at:{to}"),
        }
    }
}

fn why_not(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Timeout => "deadline passed",
        _ if error.is_retryable() => "no retry left before the deadline or max_retries",
        _ => "the same again would fail the same",
    }
}

impl<'c> Run<'c> {
    pub(crate) fn begin(client: &'c Arc<Inner>) -> Result<Self, Error> {
        let process = crate::process::Process::current();
        let active = process.enter();
        let bound = client.bound(&process)?;
        Ok(Self {
            client,
            call: Call::new(
                process,
                Arc::clone(&client.control),
                client.settings.timeout,
                client.settings.connect_timeout,
            ),
            bound,
            credentials: client.credentials.load_full(),
            _active: active,
            attempts: 0,
            retries: Retries::new(client.settings.max_retries),
            moves: 0,
            moving: false,
            renewed: false,
            taken_over: 0,
        })
    }

    /// A further request of the same call has retries and a renewal of its own.
    pub(crate) fn next_request(&mut self) {
        self.retries.reset();
        self.renewed = false;
        self.taken_over = 0;
    }

    /// Posts to a method until it succeeds or there is nothing more to be done. `body` writes the
    /// request for a token; `read` reads the answer.
    pub(crate) fn post<T>(
        &mut self,
        method: Method,
        body: impl Fn(&mut Vec<u8>, &str) -> Result<(), Error>,
        read: impl Fn(&Answer, Source<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut buffer = Vec::with_capacity(512);
        let mut throttled = None;
        loop {
            self.credentials = self.present_credentials()?;
            self.take_turn(throttled.as_ref())?;
            buffer.clear();
            body(&mut buffer, &self.credentials.tokens.access_token)?;
            self.attempts += 1;
            let started = Instant::now();
            let (http_status, outcome) = self.attempt(method, &buffer, &read);
            if self.client.settings.rate.is_some() {
                self.bound.bucket.note_lag(started.elapsed());
            }
            if self.moving && is_a_portals(&outcome) {
                self.moving = false;
                self.client.stay_at(&self.bound);
            }
            let record = Record {
                run: self,
                method,
                http_status,
                started,
            };
            let fault = match outcome {
                Ok(done) => {
                    log::debug!(target: LOG, "{record} ok");
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            let record = record.to_string_if(log::Level::Info);
            let settled = self.settle(&fault);
            if let Some(record) = record {
                log::info!(target: LOG, "{record} error={} {settled}", shown_code(&fault.error));
            }
            throttled = (fault.repeat == Repeat::WhenBucketDrained).then_some(fault.error);
            self.carry_out(settled)?;
        }
    }

    /// The credentials to call with, renewed first if they have expired by this machine's clock.
    fn present_credentials(&mut self) -> Result<Arc<Credentials>, Error> {
        let present = self.client.credentials.load_full();
        if present.have_expired() && self.may_renew() {
            // The clock may be wrong, and the token good: half of the time is left to try it.
            let ahead = self.call.half();
            match self.renew(&ahead, &present) {
                Ok(_) => {}
                Err(error) if error.is_retryable() && !self.call.remaining().is_zero() => {
                    log::info!(target: LOG, "portal={} trying the token that there is: {error}", self.client.portal);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.client.credentials.load_full())
    }

    fn may_renew(&self) -> bool {
        !self.renewed && self.taken_over < MAX_TAKEN_OVER && self.client.can_renew()
    }

    /// Gets a newer pair than `stale`: whether there is one.
    fn renew(&mut self, call: &Call, stale: &Credentials) -> Result<bool, Error> {
        match renewal::renew(self.client, call, stale)? {
            Renewal::Renewed(_) => self.renewed = true,
            // The portal may refuse this one too, which is then the one to renew.
            Renewal::TakenOver(_) => self.taken_over += 1,
            Renewal::NoMeans | Renewal::Abandoned => return Ok(false),
        }
        self.rebind()?;
        Ok(true)
    }

    fn asker(&self) -> Asker<'_> {
        Asker {
            portal: &self.bound.address.origin,
            rate: self.client.settings.rate,
            state: self.client.state.as_deref(),
            call: &self.call,
            spender: self.spender(),
        }
    }

    fn spender(&self) -> Spender<'_> {
        Spender::new(
            &self.client.settings.client_id,
            self.client.control.client_id,
            Method::Update.name(),
        )
    }

    /// Waits for a place in the portal's bucket. If none comes free in time although the portal
    /// itself has just said that it is full, the error says so too.
    fn take_turn(&self, throttled: Option<&Error>) -> Result<(), Error> {
        self.bound
            .bucket
            .take(self.asker())
            .map_err(|error| match throttled {
                Some(refusal) if error.kind() == ErrorKind::RateLimited => {
                    refusal.clone().with_retry_after(error.retry_after())
                }
                _ => error,
            })
    }

    fn attempt<T>(
        &self,
        method: Method,
        body: &[u8],
        read: &impl Fn(&Answer, Source<'_>) -> Result<T, Fault>,
    ) -> (u16, Result<T, Fault>) {
        let address = &self.bound.address;
        let request = Request {
            uri: address.uri(method),
            body: Some(body),
            user_agent: &self.client.user_agent,
            suffices: None,
        };
        let answer = match self.bound.transport.send(&self.attempt_call(), &request) {
            Ok(answer) => answer,
            Err(Failure::Stopped(Stop::Deadline)) if !self.call.remaining().is_zero() => {
                return (0, Err(Fault::slow(&address.name)));
            }
            Err(failure) => return (0, Err(Fault::of_failure(failure, &address.name))),
        };
        if is_move(answer.status) {
            let location = answer.location.unwrap_or_default();
            return (
                answer.status,
                Err(self.moved(&location, method, answer.status)),
            );
        }
        let source = Source {
            server: &address.name,
            secrets: [
                &self.credentials.tokens.access_token,
                &self.credentials.tokens.refresh_token,
                &self.client.settings.client_secret,
            ],
        };
        (answer.status, read(&answer, source))
    }

    /// The call as one attempt sees it. A first attempt may take half of the time that is left, so
    /// that a second one fits where a server hangs; a repeat has all of it.
    fn attempt_call(&self) -> Call {
        if self.retries.are_untouched() {
            self.call.half()
        } else {
            self.call.clone()
        }
    }

    fn moved(&self, location: &str, method: Method, http_status: u16) -> Fault {
        let from = &self.bound.address.origin;
        let hosts = &self.client.settings.redirect_hosts;
        let followed = if self.moves >= MAX_MOVES {
            Err(Refusal::new("more often than a call follows it"))
        } else {
            from.follow(location, method.name(), hosts)
        };
        match followed {
            Ok(to) => Fault {
                error: Error::new(
                    ErrorKind::PortalMoved,
                    format!("portal {from} moved to {to}"),
                ),
                repeat: Repeat::At(to),
            },
            Err(refusal) => Fault::last(refusal.error(from).with_http_status(http_status)),
        }
    }

    /// What follows from a fault. It changes what the portal's limits are thought to be, and
    /// counts a retry; it does not wait.
    pub(crate) fn settle(&mut self, fault: &Fault) -> Settled {
        let error = fault.error.clone();
        match &fault.repeat {
            Repeat::Renewed if self.may_renew() => Settled::Renew(error),
            Repeat::Renewed if self.client.can_renew() => {
                Settled::Fail(refused_though_renewed(&self.bound.address.name, &error))
            }
            Repeat::Never | Repeat::Renewed => Settled::Fail(error),
            Repeat::At(origin) => Settled::Move(origin.clone()),
            Repeat::WhenTimeGivenBack => match self.bound.bucket.note_spent(self.spender()) {
                None => Settled::Fail(error),
                Some(wait) => self.after(wait, error.with_retry_after(Some(wait))),
            },
            Repeat::WhenBucketDrained => match self.client.settings.rate {
                Some(rate) => self.when_drained(rate, error),
                None => self.later(error),
            },
            Repeat::Later => self.later(error),
        }
    }

    fn later(&mut self, error: Error) -> Settled {
        let wait = error.retry_after().unwrap_or_default();
        self.after(wait.max(self.retries.pause()), error)
    }

    /// Fills the bucket. The wait for a turn comes before the next attempt.
    fn when_drained(&mut self, rate: Rate, error: Error) -> Settled {
        if let Err(fault) = self.bound.bucket.fill(self.asker()) {
            return Settled::Fail(fault);
        }
        let wait = error.retry_after().unwrap_or_default();
        // The next place comes free when one request has drained.
        let drained = Duration::try_from_secs_f64(1.0 / rate.drain).unwrap_or_default();
        match self.after(wait, error) {
            Settled::Fail(error) => Settled::Fail(error.wait_at_least(drained)),
            settled => settled,
        }
    }

    /// Repeats after a wait, if a retry is left and the wait ends before the deadline.
    fn after(&mut self, wait: Duration, error: Error) -> Settled {
        let step = self.retries.step();
        if wait >= self.call.remaining() {
            let error = error.with_retry_after(Some(wait));
            return Settled::Fail(error.wait_at_least(step));
        }
        if self.retries.take() {
            Settled::After(wait)
        } else {
            Settled::Fail(error.wait_at_least(step))
        }
    }

    /// Waits, renews or moves, so that the next attempt can be made; or fails.
    pub(crate) fn carry_out(&mut self, settled: Settled) -> Result<(), Error> {
        match settled {
            Settled::Fail(error) => Err(error),
            Settled::After(wait) if wait.is_zero() => Ok(()),
            Settled::After(wait) => self
                .call
                .sleep(wait)
                .map_err(|stop| stop.error("waiting to try again")),
            Settled::Renew(expired) => {
                let (call, stale) = (self.call.clone(), Arc::clone(&self.credentials));
                if self.renew(&call, &stale)? {
                    Ok(())
                } else {
                    Err(expired)
                }
            }
            Settled::Move(origin) => {
                self.moves += 1;
                self.bound = self.client.bound_at(&self.call.process, &origin)?;
                self.moving = true;
                Ok(())
            }
        }
    }

    /// The portal's address may have changed.
    fn rebind(&mut self) -> Result<(), Error> {
        self.bound = self.client.bound(&self.call.process)?;
        Ok(())
    }

    /// Tells the portal's limits what an answer said of them.
    pub(crate) fn note_operating(&self, operating: Operating) {
        self.bound
            .bucket
            .note_reset(self.spender(), operating.reset_in);
    }
}

/// Whether a portal has answered, and not whoever else answers at an address.
fn is_a_portals<T>(outcome: &Result<T, Fault>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(fault) => !fault.error.portal_code().is_empty(),
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

/// One attempt, for the log.
struct Record<'r, 'c> {
    run: &'r Run<'c>,
    method: Method,
    http_status: u16,
    started: Instant,
}

impl Record<'_, '_> {
    fn to_string_if(&self, level: log::Level) -> Option<String> {
        log::log_enabled!(target: LOG, level).then(|| self.to_string())
    }
}

impl fmt::Display for Record<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "portal={} method={} attempt={} http={} ms={}",
            self.run.bound.address.origin.host(),
            self.method.name(),
            self.run.attempts,
            self.http_status,
            self.started.elapsed().as_millis(),
        )
    }
}

impl Fault {
    /// No answer came in the time that a first attempt may take.
    fn slow(server: &str) -> Self {
        Self::passing(
            ErrorKind::Timeout,
            format!(
                "no answer from {server} in half of the time that was left: send the update \
                 again, which is harmless if it was stored already, or raise timeout_ms"
            ),
        )
    }

    /// No answer came.
    pub(crate) fn of_failure(failure: Failure, server: &str) -> Self {
        match failure {
            Failure::Stopped(stop) => Self::last(stop.error(&format!("waiting for {server}"))),
            Failure::Certificate(why) => Self::last(Error::new(
                ErrorKind::Transport,
                format!(
                    "the certificate of {server} is not trusted ({why}): check the address, or \
                     name the root that signed it in ca_file"
                ),
            )),
            Failure::Proxy(why) => Self::last(Error::new(
                ErrorKind::Transport,
                format!("no answer from {server}: {why}"),
            )),
            Failure::Unreadable(why) => Self::passing(
                ErrorKind::Protocol,
                format!("the answer of {server} cannot be read ({why})"),
            ),
            Failure::Network(why) => Self::passing(
                ErrorKind::Transport,
                format!(
                    "no answer from {server} ({why}): check the network, DNS, proxy and firewall"
                ),
            ),
        }
    }
}
