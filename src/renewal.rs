//! Renewal: one at a time, in the process and on the machine, and everybody uses its outcome.
//!
//! A refresh token works once. Who finds its token expired asks what the process knows of the
//! installation: a newer pair, a renewal under way, or neither. Then it begins one, on a thread of
//! its own: the answer is the only good pair there is, so that it is awaited and stored whatever
//! becomes of the calls that wait for it. The new pair is stored before it is used.

use crate::address::Origin;
use crate::answer::{Renewed, Source, has_pair, read_renewal};
use crate::client::Inner;
use crate::config::Listener;
use crate::fault::{Fault, Repeat};
use crate::installations::{Asking, Attempt, Name, Outcome, Renewal, Standing};
use crate::process::Process;
use crate::retry::Retries;
use crate::tokens::{Credentials, Tokens, unix_now};
use crate::transport::Request;
use crate::wait::{Call, Control, Stop};
use crate::{Error, ErrorKind, LOG};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Uri;

#[cfg(unix)]
use crate::state::{Held, Seeker, Unlocked};

/// How long the answer of the authorization server is awaited once it has been asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Gets the client credentials that replace `stale`.
pub(crate) fn renew(
    client: &Arc<Inner>,
    call: &Call,
    stale: &Credentials,
) -> Result<Renewal, Error> {
    let installations = &call.process.installations;
    let name = client.installation_name(stale);
    loop {
        let present = client.credentials.load();
        if present.tokens.access_token != stale.tokens.access_token {
            return Ok(Renewal::TakenOver(Credentials::clone(&present)));
        }
        if !client.can_renew() {
            return Ok(Renewal::NoMeans);
        }
        let standing = installations.standing(name, stale, client.home(), call.deadline);
        let mut begun = false;
        let wanting = match standing {
            Standing::Newer(credentials) => {
                client.adopt(&credentials);
                return Ok(Renewal::TakenOver(credentials));
            }
            Standing::Renewing(wanting) => wanting,
            Standing::Begin(wanting, newest) => {
                let renewing = Renewing {
                    client: Arc::clone(client),
                    process: Arc::clone(&call.process),
                    attempt: Arc::clone(wanting.attempt()),
                    name,
                    refused: stale.clone(),
                };
                let listener = client.on_renewal.as_ref().and_then(|choose| choose());
                renewing.begin(newest, listener);
                begun = true;
                wanting
            }
        };
        let outcome = wanting
            .attempt()
            .wait(call)
            .map_err(|stop| stop.error("waiting for the token to be renewed"))?;
        match outcome.result {
            Ok(Renewal::Abandoned) => {}
            // The caller was told the pair before the renewal that brought it had ended.
            Ok(Renewal::Renewed(pair))
                if !begun && pair.tokens.access_token == stale.tokens.access_token => {}
            Ok(renewal) => {
                if let Renewal::Renewed(credentials) | Renewal::TakenOver(credentials) = &renewal {
                    client.adopt(credentials);
                }
                return Ok(renewal);
            }
            // What the server said to another client_secret does not hold for this one.
            Err(_) if !outcome.is_for(client) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Outcome {
    fn is_for(&self, client: &Inner) -> bool {
        self.asker == asker(client)
    }
}

/// What excludes other processes from renewing the same tokens.
#[cfg(unix)]
enum Hold<'a> {
    /// Nothing: there is no state directory.
    Alone,
    Held(Box<Held<'a>>),
    /// Nobody waits any more.
    Abandoned,
}

/// A renewal on its thread.
struct Renewing {
    client: Arc<Inner>,
    process: Arc<Process>,
    attempt: Arc<Attempt>,
    name: Name,
    /// What the portal has refused.
    refused: Credentials,
}

impl Renewing {
    /// Begins the renewal of a pair on a thread that lives as long as it takes. A signal that is
    /// meant for the host must not end up there.
    fn begin(self, newest: Credentials, listener: Option<Listener>) {
        let (attempt, process) = (Arc::clone(&self.attempt), Arc::clone(&self.process));
        let (name, asker) = (self.name, asker(&self.client));
        let spawned = without_signals(|| {
            std::thread::Builder::new()
                .name("b24-renewal".to_owned())
                .spawn(move || self.run(&newest, listener))
        });
        if let Err(why) = spawned {
            process.installations.finish(name);
            let error = Error::new(
                ErrorKind::Internal,
                format!(
                    "no thread was left to renew the token ({why}): raise the limit of threads"
                ),
            );
            attempt.end(Outcome {
                asker,
                result: Err(error.with_retryable(true)),
            });
        }
    }

    fn run(self, newest: &Credentials, listener: Option<Listener>) {
        let _active = self.process.enter();
        let end = Ending {
            process: Arc::clone(&self.process),
            attempt: Arc::clone(&self.attempt),
            name: self.name,
            asker: asker(&self.client),
        };
        let result = self.renew(newest, listener);
        end.with(&self.client, result);
    }

    fn renew(&self, newest: &Credentials, listener: Option<Listener>) -> Result<Renewal, Error> {
        let client = &self.client;
        let mut stale = newest.clone();
        #[cfg(unix)]
        let mut held = match self.hold(&stale)? {
            Hold::Abandoned => return Ok(Renewal::Abandoned),
            Hold::Alone => None,
            Hold::Held(held) => Some(held),
        };
        #[cfg(unix)]
        if let Some(record) = held.as_ref().and_then(|held| held.record.as_ref()) {
            let client_id = &client.settings.client_id;
            let by_host_alone = stale.tokens.refresh_token.is_empty()
                && record.credentials.tokens.access_token != stale.tokens.access_token;
            if by_host_alone || record.replaces(client_id, &stale) {
                stale = record.credentials.clone();
                if stale.are_good_after(newest) {
                    log::debug!(target: LOG, "portal={} token taken over from another process", client.portal);
                    client.adopt(&stale);
                    return Ok(Renewal::TakenOver(stale));
                }
            }
            // The file may have the refresh token that the settings lack.
            if stale.tokens.refresh_token.is_empty() {
                stale = record.credentials.clone();
            }
        }
        if stale.tokens.refresh_token.is_empty() || client.settings.client_id.is_empty() {
            return Ok(Renewal::NoMeans);
        }
        #[cfg(unix)]
        if stale.are_good_after(&self.refused) {
            if let Some(mut held) = held {
                held.make_room().map_err(|fault| fault.in_a_call())?;
                self.store(*held, &self.refused, &stale);
            }
            client.adopt(&stale);
            return Ok(Renewal::TakenOver(stale));
        }
        let asking = asking(client, &stale);
        if let Some(refusal) = self.process.installations.refusal(self.name, asking) {
            return Err(refusal);
        }
        #[cfg(unix)]
        if let Some(held) = &mut held {
            held.make_room().map_err(|fault| fault.in_a_call())?;
        }
        let Some(renewed) = self.ask(&stale).inspect_err(|error| {
            if error.portal_code().eq_ignore_ascii_case("invalid_grant") {
                self.process.installations.refuse(self.name, asking, error);
            }
        })?
        else {
            return Ok(Renewal::Abandoned);
        };
        let fresh = credentials(client, &stale, renewed);
        #[cfg(unix)]
        if let Some(held) = held {
            self.store(*held, &stale, &fresh);
        }
        // Whoever is told the pair and finds it refused waits for this renewal.
        let (installations, also) = (
            &self.process.installations,
            client.installation_name(&fresh),
        );
        installations.note(self.name, also, &fresh, client.home());
        if let Some(listener) = listener {
            let told = AssertUnwindSafe(|| listener(&fresh.tokens));
            if catch_unwind(told).is_err() {
                log::error!(target: LOG, "portal={} on_renewal panicked; the renewed tokens are used all the same", client.portal);
            }
        }
        client.adopt(&fresh);
        log::info!(target: LOG, "portal={} token renewed", client.portal);
        Ok(Renewal::Renewed(fresh))
    }

    /// Stores a pair in the state directory, and with it what could not be stored before.
    #[cfg(unix)]
    fn store(&self, held: Held<'_>, used: &Credentials, fresh: &Credentials) {
        let former = self.process.installations.tokens_of(self.name);
        if let Err(fault) = held.store(used, fresh, &former, &self.call(ANSWER_WITHIN)) {
            // The pair may exist nowhere else: to fail here would lose it for certain.
            log::error!(target: LOG, "portal={} the renewed tokens may be in memory only: {fault}", self.client.portal);
        }
    }

    /// The installation's place in the state directory, if there is one, when nobody else renews.
    #[cfg(unix)]
    fn hold(&self, stale: &Credentials) -> Result<Hold<'_>, Error> {
        let Some(directory) = &self.client.state else {
            return Ok(Hold::Alone);
        };
        let portals = self.client.portals();
        let seeker = Seeker {
            client_id: &self.client.settings.client_id,
            refresh_token: &stale.tokens.refresh_token,
            portals: &portals,
        };
        let patience = self.client.settings.timeout.max(ANSWER_WITHIN);
        let go_on = || self.attempt.is_wanted();
        match directory.hold(seeker, &self.call(patience), &go_on) {
            Ok(held) => Ok(Hold::Held(Box::new(held))),
            Err(Unlocked::Storage(fault)) => Err(fault.in_a_call()),
            Err(Unlocked::Stopped(_)) => Ok(Hold::Abandoned),
        }
    }

    /// A call of this thread's own, which nothing ends before its time.
    fn call(&self, timeout: Duration) -> Call {
        Call::new(
            Arc::clone(&self.process),
            Arc::new(Control::new(None)),
            timeout,
            self.client.settings.connect_timeout,
        )
    }

    /// Asks the authorization server, as often as it may be asked again. An exchange that has begun
    /// is awaited; a further one is begun only while a call waits for it, else there is no outcome.
    fn ask(&self, stale: &Credentials) -> Result<Option<Renewed>, Error> {
        let settings = &self.client.settings;
        let secrets = [
            stale.tokens.refresh_token.as_str(),
            settings.client_secret.as_str(),
            stale.tokens.access_token.as_str(),
        ];
        let uri = renewal_uri(settings, &stale.tokens.refresh_token)?;
        let server = settings.oauth.to_string();
        let transport = self.client.oauth_transport(&self.process)?;
        let mut retries = Retries::new(settings.max_retries);
        loop {
            let request = Request {
                uri: &uri,
                body: None,
                user_agent: &self.client.user_agent,
                suffices: Some(has_pair),
            };
            let source = Source {
                server: &server,
                secrets,
            };
            let call = self.call(settings.connect_timeout.saturating_add(ANSWER_WITHIN));
            let fault = match transport.send(&call, &request) {
                Ok(answer) => match read_renewal(&answer, source) {
                    Ok(renewed) => return Ok(Some(renewed)),
                    Err(fault) => fault,
                },
                Err(failure) => Fault::of_failure(failure, &server),
            };
            let repeats = match fault.repeat {
                Repeat::Never | Repeat::Renewed | Repeat::At(_) => None,
                Repeat::Later | Repeat::WhenBucketDrained | Repeat::WhenTimeGivenBack => Some(
                    fault
                        .error
                        .retry_after()
                        .unwrap_or_default()
                        .max(retries.pause()),
                ),
            };
            let step = retries.step();
            let left = self.attempt.patience();
            let Some(wait) = repeats.filter(|wait| *wait < left && retries.take()) else {
                log::info!(target: LOG, "server={server} renewal failed: {} repeat=no", fault.error);
                return Err(fault.error.wait_at_least(step));
            };
            log::info!(target: LOG, "server={server} renewal failed: {} repeat=after_ms:{}", fault.error, wait.as_millis());
            let call = self.call(wait + ANSWER_WITHIN);
            call.sleep(wait)
                .map_err(|stop| stop.error("waiting to renew again"))?;
            if !self.attempt.is_wanted() {
                return Ok(None);
            }
        }
    }
}

/// Ends an attempt however its thread ends.
struct Ending {
    process: Arc<Process>,
    attempt: Arc<Attempt>,
    name: Name,
    asker: Asking,
}

impl Ending {
    fn with(self, client: &Inner, result: Result<Renewal, Error>) {
        let installations = &self.process.installations;
        if let Ok(Renewal::TakenOver(credentials)) = &result {
            let also = client.installation_name(credentials);
            installations.note(self.name, also, credentials, client.home());
        }
        installations.finish(self.name);
        self.attempt.end(Outcome {
            asker: self.asker,
            result,
        });
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // After a panic; otherwise the outcome is there already.
        if std::thread::panicking() {
            self.process.installations.finish(self.name);
        }
        self.attempt.end(Outcome {
            asker: self.asker,
            result: Err(Error::new(
                ErrorKind::Internal,
                "a fault of the library while the token was renewed: please report it",
            )),
        });
    }
}

/// Who asks the authorization server, whatever the token.
fn asker(client: &Inner) -> Asking {
    let settings = &client.settings;
    Asking::new(
        &settings.oauth,
        &settings.client_id,
        &settings.client_secret,
        "",
    )
}

/// With what a client asks for a pair to be renewed.
fn asking(client: &Inner, stale: &Credentials) -> Asking {
    let settings = &client.settings;
    Asking::new(
        &settings.oauth,
        &settings.client_id,
        &settings.client_secret,
        &stale.tokens.refresh_token,
    )
}

/// Runs `f` with all signals blocked, so that a thread that it makes has them blocked for ever.
#[cfg(unix)]
fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow};
    let former = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let done = f();
    if let Ok(former) = former
        && let Err(why) = former.thread_set_mask()
    {
        log::error!(target: LOG, "signals stay blocked on this thread: {why}");
    }
    done
}

#[cfg(not(unix))]
fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    f()
}

fn credentials(client: &Inner, stale: &Credentials, renewed: Renewed) -> Credentials {
    let or_former =
        |new: String, former: &String| if new.is_empty() { former.clone() } else { new };
    let endpoint = Origin::parse(&renewed.client_endpoint)
        .ok()
        .filter(|origin| client.accepts(origin))
        .map(|origin| origin.client_endpoint());
    Credentials {
        tokens: Tokens {
            access_token: renewed.access_token,
            refresh_token: or_former(renewed.refresh_token, &stale.tokens.refresh_token),
            client_endpoint: endpoint.unwrap_or_else(|| client.tokens().client_endpoint),
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

/// The protocol has the secrets in this URL; it is never logged or shown.
fn renewal_uri(settings: &crate::config::Settings, refresh_token: &str) -> Result<Uri, Error> {
    let mut uri = format!("{}/oauth/token/?grant_type=refresh_token", settings.oauth);
    for (name, value) in [
        ("client_id", settings.client_id.as_str()),
        ("client_secret", settings.client_secret.as_str()),
        ("refresh_token", refresh_token),
    ] {
        uri.push('&');
        uri.push_str(name);
        uri.push('=');
        crate::batch::percent_encode(value, &mut uri);
    }
    uri.parse().map_err(|_| {
        crate::config::invalid(
            "refresh_token",
            "or client_id or client_secret is too long for a URL; check that they are whole",
        )
    })
}

/// Waits until no renewal is under way in this process, or `timeout` has passed.
///
/// A renewal outlives the calls that wait for it: once it has been asked for, its answer is the
/// only good pair of tokens there is. Call this before the process ends. A renewal ends by itself
/// within `connect_timeout_ms` and 30 s. Any thread.
///
/// # Errors
/// [`Timeout`](crate::ErrorKind::Timeout) if one is still under way.
pub fn renewals_wait(timeout: Duration) -> Result<(), Error> {
    wait_for_all(timeout, None)
}

/// For language bindings: the same, and `on_interrupt` is asked when a signal ends the wait.
///
/// # Errors
/// As [`renewals_wait`]; [`Cancelled`](crate::ErrorKind::Cancelled) if `on_interrupt` says so.
#[doc(hidden)]
pub fn renewals_wait_interruptible(
    timeout: Duration,
    on_interrupt: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<(), Error> {
    wait_for_all(timeout, Some(Arc::new(on_interrupt)))
}

fn wait_for_all(
    timeout: Duration,
    on_interrupt: Option<crate::config::OnInterrupt>,
) -> Result<(), Error> {
    let process = Process::current();
    let _active = process.enter();
    let call = Call::new(
        Arc::clone(&process),
        Arc::new(Control::new(on_interrupt)),
        timeout,
        timeout,
    );
    for attempt in process.installations.attempts() {
        attempt.wait(&call).map_err(|stop| match stop {
            Stop::Deadline => Error::new(
                ErrorKind::Timeout,
                "a renewal is still under way, and its tokens are lost if the process ends now: \
                 wait again",
            )
            .with_retryable(true),
            _ => stop.error("waiting for renewals to end"),
        })?;
    }
    Ok(())
}
