//! The authorization server: refresh tokens that work once, and `app.info`.

use std::sync::MutexGuard;
use std::time::SystemTime;

use serde::Serialize;

use crate::answer::{Answer, Problem, Success, Time};
use crate::fault::At;
use crate::methods::app_info;
use crate::php::{Array, Value};
use crate::settings::AppInfo;
use crate::state::{Shared, State};
use crate::tokens::{Access, Refresh};

/// The name of the authorization server.
pub(crate) const HOST: &str = "oauth.bitrix24.test";

/// What a renewal returns, and the exchange of a code.
#[derive(Debug, Serialize)]
pub(crate) struct Granted {
    access_token: String,
    refresh_token: String,
    expires: i64,
    expires_in: i64,
    client_endpoint: String,
    server_endpoint: &'static str,
    domain: &'static str,
    member_id: String,
    scope: &'static str,
    status: &'static str,
    user_id: u64,
}

impl Granted {
    /// The present tokens of a pair. None if there is no such pair.
    pub(crate) fn of(state: &State, portal: usize, pair: usize) -> Option<Self> {
        let settings = &state.settings;
        let pair = state.tokens.pairs(portal).get(pair)?;
        Some(Self {
            access_token: pair.access.clone(),
            refresh_token: pair.refresh.clone(),
            expires: state.tokens.expires(&pair.access),
            expires_in: settings.expires_in,
            client_endpoint: state.portals.client_endpoint(portal, settings),
            server_endpoint: "https://oauth.bitrix24.test/rest/",
            domain: HOST,
            member_id: state.portals.get(portal).member_id.clone(),
            scope: "messageservice",
            status: "F",
            user_id: pair.user.id(settings),
        })
    }
}

/// Answers a renewal. None if the portal was reset while it waited.
pub(crate) fn renew<'a>(
    shared: &'a Shared,
    mut state: MutexGuard<'a, State>,
    params: &Array<Value>,
) -> Option<(MutexGuard<'a, State>, Answer)> {
    let token = text(params, "refresh_token");
    if state.tokens.renewing.contains(&token) {
        state.note_bad("two renewals at once with one refresh token");
    }
    if state.settings.oauth_latency_ms > 0 {
        let latency = state.settings.oauth_latency_ms;
        state.tokens.renewing.push(token.clone());
        state = shared.sleep(state, latency)?;
        if let Some(position) = state
            .tokens
            .renewing
            .iter()
            .position(|known| *known == token)
        {
            state.tokens.renewing.swap_remove(position);
        }
    }
    if let Some(refusal) = state.settings.oauth.clone() {
        return Some((state, refusal.into()));
    }
    let answer = match check(&mut state, params, &token) {
        Ok((portal, pair)) => grant(&mut state, portal, pair),
        Err(problem) => problem.into(),
    };
    Some((state, answer))
}

/// The portal and the pair that are to be renewed.
fn check(state: &mut State, params: &Array<Value>, token: &str) -> Result<(usize, usize), Problem> {
    if text(params, "grant_type") != "refresh_token" {
        return Err(Problem::new(
            400,
            "invalid_request",
            "The grant type is missing or not supported",
        ));
    }
    if text(params, "client_id") != state.settings.client_id
        || text(params, "client_secret") != state.settings.client_secret
    {
        return Err(Problem::new(
            400,
            "invalid_client",
            "The client credentials are invalid",
        ));
    }
    match state.tokens.refresh(token) {
        Refresh::Good { portal, pair } if !state.tokens.is_lost(portal, pair) => {
            return Ok((portal, pair));
        }
        Refresh::Spent { portal, pair } => {
            state.seen.spent_tokens += 1;
            state.tokens.lose(portal, pair);
        }
        Refresh::Uninstalled => {
            return Err(Problem::new(
                400,
                "NOT_INSTALLED",
                "Application not installed",
            ));
        }
        Refresh::Good { .. } | Refresh::Unknown => {}
    }
    Err(Problem::new(
        400,
        "invalid_grant",
        "Refresh token is invalid or has expired",
    ))
}

fn grant(state: &mut State, portal: usize, pair: usize) -> Answer {
    state.settings.expired = false;
    let lifetime = state.settings.expires_in;
    state.tokens.renew(portal, pair, lifetime);
    state.seen.renewals += 1;
    match Granted::of(state, portal, pair) {
        Some(granted) => Answer::json(200, &granted),
        None => Answer::html(500, "the pair is gone"),
    }
}

/// Answers `app.info`, whatever portal the access token is for. None if the portal was reset while
/// it waited.
pub(crate) fn info<'a>(
    shared: &'a Shared,
    mut state: MutexGuard<'a, State>,
    token: &str,
    start: SystemTime,
) -> Option<(MutexGuard<'a, State>, Answer)> {
    if state.settings.oauth_latency_ms > 0 {
        let latency = state.settings.oauth_latency_ms;
        state = shared.sleep(state, latency)?;
    }
    if let AppInfo::Refused(refusal) = &state.settings.app_info {
        let refusal = refusal.clone();
        return Some((state, refusal.into()));
    }
    let found = match state.tokens.find(token) {
        Access::Good(grant) => app_info(&state, grant.portal, grant.expires),
        Access::Expired => Err(Problem::expired_token()),
        Access::Uninstalled | Access::Unknown => Err(Problem::invalid_token()),
    };
    let answer = match found {
        Ok(result) => {
            let time = Time::since(start, &state, At::OauthAppInfo);
            Answer::json(200, &Success { result, time })
        }
        Err(problem) => problem.into(),
    };
    Some((state, answer))
}

fn text(params: &Array<Value>, name: &str) -> String {
    params
        .get_any_case(name)
        .and_then(Value::to_text)
        .unwrap_or_default()
        .into_owned()
}
