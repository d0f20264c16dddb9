//! The authorization server: refresh tokens that work once.

use std::sync::MutexGuard;

use serde::Serialize;

use crate::answer::{Answer, Problem};
use crate::php::{Array, Value};
use crate::state::{Refresh, Shared, State};

#[derive(Serialize)]
struct Renewed<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    expires: i64,
    expires_in: i64,
    client_endpoint: String,
    server_endpoint: &'static str,
    domain: &'static str,
    member_id: &'a str,
    scope: &'static str,
    status: &'static str,
    user_id: u32,
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
        Ok(()) => grant(&mut state),
        Err(problem) => problem.into(),
    };
    Some((state, answer))
}

fn check(state: &mut State, params: &Array<Value>, token: &str) -> Result<(), Problem> {
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
        Refresh::Good if !state.tokens.lost => return Ok(()),
        Refresh::Spent => {
            state.seen.spent_tokens += 1;
            state.tokens.lost = true;
        }
        Refresh::Good | Refresh::Unknown => {}
    }
    Err(Problem::new(
        400,
        "invalid_grant",
        "Refresh token is invalid or has expired",
    ))
}

fn grant(state: &mut State) -> Answer {
    state.settings.expired = false;
    state.tokens.renew(state.settings.expires_in);
    state.seen.renewals += 1;
    let origin = state
        .origin
        .as_deref()
        .unwrap_or("https://portal.bitrix24.test");
    let endpoint = state.settings.client_endpoint.clone();
    Answer::json(
        200,
        &Renewed {
            access_token: &state.tokens.access,
            refresh_token: &state.tokens.refresh,
            expires: state.tokens.expires(),
            expires_in: state.settings.expires_in,
            client_endpoint: endpoint.unwrap_or_else(|| format!("{origin}/rest/")),
            server_endpoint: "https://oauth.bitrix24.test/rest/",
            domain: "oauth.bitrix24.test",
            member_id: &state.settings.member_id,
            scope: "messageservice",
            status: "F",
            user_id: 67,
        },
    )
}

fn text(params: &Array<Value>, name: &str) -> String {
    params
        .get_any_case(name)
        .and_then(Value::to_text)
        .unwrap_or_default()
        .into_owned()
}
