//! Renewal: one at a time, in the process and on the machine, and all clients use its outcome.
//!
//! A refresh token works once. A call whose token has expired asks what the process knows about the
//! installation: a newer pair, a renewal under way, or neither. If there is neither, it starts a
//! renewal on a thread of its own. Only the answer has a pair that works, so it is awaited and
//! stored even if the calls that wait for it have ended. The new pair is stored before it is used.

use super::installation::Installation;
use super::known_tokens::{
    InstallationKey, NextStep, PendingRenewal, RenewalOutcome, RenewalResult, RequesterId,
    known_tokens,
};
use super::retry::{Retries, attempt_error};
use crate::http::client::HttpRequest;
use crate::options::{Settings, invalid};
use crate::process::cancellation::{CallContext, CancelSource, Interrupt};
use crate::process::per_process::Process;
use crate::process::signals::without_signals;
use crate::process::sync::thread;
use crate::protocol::error_table::{RENEWAL, RetryAction};
use crate::protocol::form::percent_encode;
use crate::protocol::renewal_response::{Renewed, has_pair, read_renewal};
use crate::protocol::response::Source;
use crate::store::token_store::{InstallationQuery, LockError, LockedInstallation};
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::callbacks::{Listener, OnInterrupt};
use crate::values::error::{Error, ErrorKind};
use crate::values::tokens::{Credentials, Tokens, unix_now};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Uri;

/// How long the answer of the authorization server is awaited after the request was sent.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a caller is told to do when a renewal took too long.
const AFTER_TIMEOUT: &str = "call again";

/// Gets the installation credentials that replace `stale`.
pub(crate) fn renew(
    installation: &Arc<Installation>,
    process: &Arc<Process>,
    call: &CallContext,
    stale: &Credentials,
) -> Result<RenewalResult, Error> {
    let known = known_tokens(process);
    let key = installation.key_of(stale);
    loop {
        let present = installation.credentials.load();
        if present.tokens.access_token != stale.tokens.access_token {
            return Ok(RenewalResult::TakenOver(Credentials::clone(&present)));
        }
        if !installation.can_renew() {
            return Ok(RenewalResult::NoMeans);
        }
        let next_step = known.next_step(key, stale, installation.home(), call.deadline);
        let mut begun = false;
        let waiter = match next_step {
            NextStep::Newer(credentials) => {
                installation.adopt(&credentials);
                return Ok(RenewalResult::TakenOver(credentials));
            }
            NextStep::Wait(waiter) => waiter,
            NextStep::Begin(waiter, newest) => {
                let task = RenewalTask {
                    installation: Arc::clone(installation),
                    process: Arc::clone(process),
                    pending: Arc::clone(waiter.renewal()),
                    key,
                    refused: stale.clone(),
                };
                let listener = installation.on_renewal.as_ref().and_then(|choose| choose());
                task.begin(newest, listener);
                begun = true;
                waiter
            }
        };
        let outcome = waiter
            .renewal()
            .wait(call)
            .map_err(|interrupt| call.error(interrupt, "waiting for the token to be renewed"))?;
        match outcome.result {
            Ok(RenewalResult::Abandoned) => {}
            // The caller was given the pair before the renewal that brought it had ended.
            Ok(RenewalResult::Renewed(pair))
                if !begun && pair.tokens.access_token == stale.tokens.access_token => {}
            Ok(renewal) => {
                if let RenewalResult::Renewed(credentials) | RenewalResult::TakenOver(credentials) =
                    &renewal
                {
                    installation.adopt(credentials);
                }
                return Ok(renewal);
            }
            // What the server answered for another client_secret does not apply to this one.
            Err(_) if !outcome.is_for(installation) => {}
            Err(error) => return Err(error),
        }
    }
}

impl RenewalOutcome {
    fn is_for(&self, installation: &Installation) -> bool {
        self.requester == requester_of(installation)
    }
}

/// What prevents other processes from renewing the same tokens.
enum Exclusion<'a> {
    /// Nothing: there is no store.
    None,
    Lock(Box<dyn LockedInstallation + 'a>),
    /// Nobody waits any more.
    Abandoned,
}

/// A renewal on its thread.
struct RenewalTask {
    installation: Arc<Installation>,
    process: Arc<Process>,
    pending: Arc<PendingRenewal>,
    key: InstallationKey,
    /// What the portal has refused.
    refused: Credentials,
}

impl RenewalTask {
    /// Starts the renewal of a pair, on a thread that ends with it. This thread must not receive
    /// signals that are meant for the host program.
    fn begin(self, newest: Credentials, listener: Option<Listener>) {
        let (pending, process) = (Arc::clone(&self.pending), Arc::clone(&self.process));
        let (key, requester) = (self.key, requester_of(&self.installation));
        let spawned = without_signals(|| {
            thread::Builder::new()
                .name("b24-renewal".to_owned())
                .spawn(move || self.run(&newest, listener))
        });
        if let Err(why) = spawned {
            known_tokens(&process).finish(key);
            let error = Error::new(
                ErrorKind::Internal,
                format!(
                    "no thread was left to renew the token ({why}): raise the limit of threads"
                ),
            );
            pending.end(RenewalOutcome {
                requester,
                result: Err(error.with_retryable(true)),
            });
        }
    }

    fn run(self, newest: &Credentials, listener: Option<Listener>) {
        let _in_flight = self.process.enter();
        let end = Ending {
            process: Arc::clone(&self.process),
            pending: Arc::clone(&self.pending),
            key: self.key,
            requester: requester_of(&self.installation),
        };
        let result = self.renew(newest, listener);
        end.with(&self.installation, result);
    }

    fn renew(
        &self,
        newest: &Credentials,
        listener: Option<Listener>,
    ) -> Result<RenewalResult, Error> {
        let installation = &self.installation;
        let mut stale = newest.clone();
        let mut locked = match self.lock(&stale)? {
            Exclusion::Abandoned => return Ok(RenewalResult::Abandoned),
            Exclusion::None => None,
            Exclusion::Lock(locked) => Some(locked),
        };
        if let Some(record) = locked.as_ref().and_then(|locked| locked.record()) {
            let client_id = &installation.settings.client_id;
            let by_host_alone = stale.tokens.refresh_token.is_empty()
                && record.credentials.tokens.access_token != stale.tokens.access_token;
            // It could not be stored then.
            let is_former = known_tokens(&self.process).has_replaced(
                self.key,
                installation.key_of(&record.credentials),
                installation.key_of(&stale),
            );
            if by_host_alone || (!is_former && record.replaces(client_id, &stale)) {
                stale = record.credentials.clone();
                if stale.are_good_after(newest) {
                    log::debug!(target: LOG, "portal={} uses a token that another process renewed", installation.portal);
                    installation.adopt(&stale);
                    return Ok(RenewalResult::TakenOver(stale));
                }
            }
            // The file may have the refresh token that the settings lack.
            if stale.tokens.refresh_token.is_empty() {
                stale = record.credentials.clone();
            }
        }
        if stale.tokens.refresh_token.is_empty() || installation.settings.client_id.is_empty() {
            return Ok(RenewalResult::NoMeans);
        }
        if stale.are_good_after(&self.refused) {
            if let Some(mut locked) = locked {
                locked.make_room().map_err(|error| error.in_a_call())?;
                self.store(locked, &self.refused, &stale);
            }
            installation.adopt(&stale);
            return Ok(RenewalResult::TakenOver(stale));
        }
        let renewed = loop {
            let refused = match self.ask_once(&stale, locked.as_deref_mut()) {
                Ok(Some(renewed)) => break renewed,
                Ok(None) => return Ok(RenewalResult::Abandoned),
                Err(error) if is_invalid_grant(&error) => error,
                Err(error) => return Err(error),
            };
            let second = match &mut locked {
                Some(locked) => locked.second_pair().map_err(|error| error.in_a_call())?,
                None => None,
            };
            stale = second.ok_or(refused)?;
            log::info!(target: LOG, "portal={} the second pair of tokens is used from now on", installation.portal);
            if stale.are_good_after(&self.refused) {
                installation.adopt(&stale);
                return Ok(RenewalResult::TakenOver(stale));
            }
        };
        let fresh = credentials(installation, &stale, renewed);
        if let Some(locked) = locked {
            self.store(locked, &stale, &fresh);
        }
        // A call that is given the pair and finds it refused waits for this renewal.
        let (installations, also) = (known_tokens(&self.process), installation.key_of(&fresh));
        installations.note(self.key, also, &fresh, installation.home());
        if let Some(listener) = listener {
            let told = AssertUnwindSafe(|| listener(&fresh.tokens));
            if catch_unwind(told).is_err() {
                log::error!(target: LOG, "portal={} on_renewal panicked; the renewed tokens are used nevertheless", installation.portal);
            }
        }
        installation.adopt(&fresh);
        log::info!(target: LOG, "portal={} token renewed", installation.portal);
        Ok(RenewalResult::Renewed(fresh))
    }

    /// Asks for a pair that replaces this one, unless the same was refused before. `None`: nobody
    /// waits for it any more.
    fn ask_once(
        &self,
        stale: &Credentials,
        locked: Option<&mut (dyn LockedInstallation + '_)>,
    ) -> Result<Option<Renewed>, Error> {
        let requested_with = requester_with(&self.installation, stale);
        let known = known_tokens(&self.process);
        if let Some(refusal) = known.refusal(self.key, requested_with) {
            return Err(refusal);
        }
        if let Some(locked) = locked {
            locked.make_room().map_err(|error| error.in_a_call())?;
        }
        self.ask(stale).inspect_err(|error| {
            if is_invalid_grant(error) {
                known.refuse(self.key, requested_with, error);
            }
        })
    }

    /// Stores a pair in the state directory, and with it what could not be stored before.
    fn store(
        &self,
        locked: Box<dyn LockedInstallation + '_>,
        used: &Credentials,
        fresh: &Credentials,
    ) {
        let former = known_tokens(&self.process).tokens_of(self.key);
        if let Err(error) = locked.store(used, fresh, &former, &self.call(ANSWER_WITHIN)) {
            // The pair may exist nowhere else, and failing here would certainly lose it.
            log::error!(target: LOG, "portal={} the renewed tokens may be in memory only: {error}", self.installation.portal);
        }
    }

    /// The installation's place in the store, if there is one, when nobody else renews.
    fn lock(&self, stale: &Credentials) -> Result<Exclusion<'_>, Error> {
        let Some(store) = &self.installation.store else {
            return Ok(Exclusion::None);
        };
        let portals = self.installation.portals();
        let query = InstallationQuery {
            client_id: &self.installation.settings.client_id,
            refresh_token: &stale.tokens.refresh_token,
            portals: &portals,
        };
        let patience = self.installation.settings.timeout.max(ANSWER_WITHIN);
        let go_on = || self.pending.is_wanted();
        match store.lock(query, &self.call(patience), &go_on) {
            Ok(locked) => Ok(Exclusion::Lock(locked)),
            Err(LockError::Storage(error)) => Err(error.in_a_call()),
            Err(LockError::Interrupted(_)) => Ok(Exclusion::Abandoned),
        }
    }

    /// A call of this thread, which nothing ends before its deadline.
    fn call(&self, timeout: Duration) -> CallContext {
        CallContext::new(
            &self.process,
            Arc::new(CancelSource::new(None)),
            timeout,
            self.installation.settings.connect_timeout,
            AFTER_TIMEOUT,
        )
    }

    /// Asks the authorization server, and asks again if that is allowed. An exchange that was
    /// started is awaited. A further one is started only while a call waits for it; otherwise there
    /// is no outcome.
    fn ask(&self, stale: &Credentials) -> Result<Option<Renewed>, Error> {
        let settings = &self.installation.settings;
        let secrets = [
            stale.tokens.refresh_token.as_str(),
            settings.client_secret.as_str(),
            stale.tokens.access_token.as_str(),
        ];
        let uri = renewal_uri(settings, &stale.tokens.refresh_token)?;
        let server = settings.oauth_url.to_string();
        let http_client = self.installation.oauth_client(&self.process)?;
        let mut retries = Retries::new(settings.max_retries);
        loop {
            let request = HttpRequest {
                uri: &uri,
                body: None,
                user_agent: &self.installation.user_agent,
                idempotent: true,
                suffices: Some(has_pair),
            };
            let source = Source {
                server: &server,
                secrets,
                codes: RENEWAL,
            };
            let call = self.call(settings.connect_timeout.saturating_add(ANSWER_WITHIN));
            let failed = match http_client.send(&call, &request) {
                Ok(response) => match read_renewal(&response, source) {
                    Ok(renewed) => return Ok(Some(renewed)),
                    Err(failed) => failed,
                },
                Err(failed) => attempt_error(failed.failure, &server, &call),
            };
            let again_after = match failed.action {
                RetryAction::Never | RetryAction::AfterRenewal | RetryAction::AtAddress(_) => None,
                RetryAction::AfterBackoff
                | RetryAction::WhenRateAllows
                | RetryAction::WhenBudgetResets => Some(
                    failed
                        .error
                        .retry_after()
                        .unwrap_or_default()
                        .max(retries.pause()),
                ),
            };
            let step = retries.step();
            let left = self.pending.patience();
            let Some(wait) = again_after.filter(|wait| *wait < left && retries.take()) else {
                log::info!(target: LOG, "server={server} renewal failed: {} repeat=no", failed.error);
                return Err(failed.error.wait_at_least(step));
            };
            log::info!(target: LOG, "server={server} renewal failed: {} repeat=after_ms:{}", failed.error, wait.as_millis());
            let call = self.call(wait + ANSWER_WITHIN);
            call.sleep(wait)
                .map_err(|interrupt| call.error(interrupt, "waiting to renew again"))?;
            if !self.pending.is_wanted() {
                return Ok(None);
            }
        }
    }
}

/// Ends an attempt, however its thread ends.
struct Ending {
    process: Arc<Process>,
    pending: Arc<PendingRenewal>,
    key: InstallationKey,
    requester: RequesterId,
}

impl Ending {
    fn with(self, installation: &Installation, result: Result<RenewalResult, Error>) {
        let installations = known_tokens(&self.process);
        if let Ok(RenewalResult::TakenOver(credentials)) = &result {
            let also = installation.key_of(credentials);
            installations.note(self.key, also, credentials, installation.home());
        }
        installations.finish(self.key);
        self.pending.end(RenewalOutcome {
            requester: self.requester,
            result,
        });
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // This is after a panic; otherwise there is an outcome already.
        if thread::panicking() {
            known_tokens(&self.process).finish(self.key);
        }
        self.pending.end(RenewalOutcome {
            requester: self.requester,
            result: Err(Error::new(
                ErrorKind::Internal,
                "a bug in the library while the token was renewed: please report it",
            )),
        });
    }
}

/// Whether the refresh token was used before, or is too old.
fn is_invalid_grant(error: &Error) -> bool {
    error.portal_code().eq_ignore_ascii_case("invalid_grant")
}

/// Who asks the authorization server, whatever the token.
fn requester_of(installation: &Installation) -> RequesterId {
    let settings = &installation.settings;
    RequesterId::new(
        &settings.oauth_url,
        &settings.client_id,
        &settings.client_secret,
        "",
    )
}

/// With what a client asks for the renewal of a pair.
fn requester_with(installation: &Installation, stale: &Credentials) -> RequesterId {
    let settings = &installation.settings;
    RequesterId::new(
        &settings.oauth_url,
        &settings.client_id,
        &settings.client_secret,
        &stale.tokens.refresh_token,
    )
}

fn credentials(installation: &Installation, stale: &Credentials, renewed: Renewed) -> Credentials {
    let or_former =
        |new: String, former: &String| if new.is_empty() { former.clone() } else { new };
    // A portal is renamed and keeps its id. With the id of another one the address is another's too, and
    // what is meant for this portal must not go there.
    let known = &stale.tokens.member_id;
    let is_anothers =
        !known.is_empty() && !renewed.member_id.is_empty() && renewed.member_id != *known;
    if is_anothers {
        log::error!(target: LOG, "portal={} the authorization server says that its tokens are another portal's; its address is not used", installation.portal);
    }
    let endpoint = Origin::parse(&renewed.client_endpoint)
        .ok()
        .filter(|origin| !is_anothers && installation.accepts(origin))
        .map(|origin| origin.client_endpoint());
    Credentials {
        tokens: Tokens {
            access_token: renewed.access_token,
            refresh_token: or_former(renewed.refresh_token, &stale.tokens.refresh_token),
            client_endpoint: endpoint.unwrap_or_else(|| installation.tokens().client_endpoint),
            member_id: or_former(renewed.member_id, &stale.tokens.member_id),
            expires: renewed
                .expires
                .or_else(|| Some(unix_now().saturating_add(renewed.expires_in?))),
        },
        expires_here: renewed
            .expires_in
            .map(|seconds| unix_now().saturating_add(seconds))
            .or(renewed.expires),
    }
}

/// The protocol requires secrets in this URL, so it is never logged or shown.
fn renewal_uri(settings: &Settings, refresh_token: &str) -> Result<Uri, Error> {
    let uri = format!(
        "{}/oauth/token/?grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        settings.oauth_url,
        percent_encode(&settings.client_id),
        percent_encode(&settings.client_secret),
        percent_encode(refresh_token),
    );
    uri.parse().map_err(|_| {
        invalid(
            "refresh_token",
            "or client_id or client_secret is too long for a URL; check that they are complete",
        )
    })
}

/// Waits until no renewal is under way in this process, or `timeout` has passed.
///
/// A renewal may take longer than the calls that wait for it: once its request has been sent, only
/// the answer has a pair of tokens that works. Call this before the process ends. A renewal ends by
/// itself within `connect_timeout_ms` and 30 s. Any thread.
///
/// # Errors
/// [`Timeout`](ErrorKind::Timeout) if a renewal is still under way.
pub fn renewals_wait(timeout: Duration) -> Result<(), Error> {
    wait_for_all(timeout, None)
}

/// For language bindings: the same, and `on_interrupt` is called when a signal ends the wait.
///
/// # Errors
/// As [`renewals_wait`]; [`Cancelled`](ErrorKind::Cancelled) if `on_interrupt` says so.
#[doc(hidden)]
pub fn renewals_wait_interruptible(
    timeout: Duration,
    on_interrupt: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<(), Error> {
    wait_for_all(timeout, Some(Arc::new(on_interrupt)))
}

fn wait_for_all(timeout: Duration, on_interrupt: Option<OnInterrupt>) -> Result<(), Error> {
    let process = Process::current();
    let _in_flight = process.enter();
    let call = CallContext::new(
        &process,
        Arc::new(CancelSource::new(on_interrupt)),
        timeout,
        timeout,
        "wait again",
    );
    for renewal in known_tokens(&process).pending() {
        renewal.wait(&call).map_err(|interrupt| match interrupt {
            Interrupt::Deadline => Error::new(
                ErrorKind::Timeout,
                "a renewal is still under way, and its tokens are lost if the process ends now: \
                 wait again",
            )
            .with_retryable(true),
            _ => call.error(interrupt, "waiting for renewals to end"),
        })?;
    }
    Ok(())
}
