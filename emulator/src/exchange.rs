//! One request to the portal or the authorization server, and its answer.

use std::borrow::Cow;
use std::sync::MutexGuard;
use std::time::{Duration, SystemTime};

use crate::answer::{Answer, Problem, Success, Time};
use crate::batch;
use crate::fault::{At, Kind};
use crate::http::Request;
use crate::methods::{self, Caller};
use crate::oauth;
use crate::php::{Array, Key, Value, parse_str};
use crate::state::{Access, LogEntry, Shared, State};

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) connection: u64,
    pub(crate) epoch: u64,
    pub(crate) tls: bool,
    /// Number of the request on this connection, from 1.
    pub(crate) request: u64,
}

/// What is sent, and how.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer, and how it is delivered.
    Send(Answer, Delivery),
    /// The connection ends without an answer.
    Close,
    /// The same, with a reset.
    Reset,
    /// Nothing is sent until there have been more than this number of releases; then the connection
    /// ends.
    Hang(u64),
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The connection stays open.
    KeepAlive,
    /// The connection is closed, as announced.
    Close,
    /// The connection is closed without announcing it.
    CloseSilently,
    /// The body comes byte by byte.
    Drip(Duration),
    /// The head comes byte by byte.
    SlowHeader(Duration),
    /// The body ends too early, and with it the connection.
    Truncated,
}

/// What a path means.
enum Target<'a> {
    Renewal,
    Method(Caller, Cow<'a, str>),
    NoPage,
}

impl Target<'_> {
    fn of(path: &str) -> Target<'_> {
        if path.trim_end_matches('/') == "/oauth/token" {
            return Target::Renewal;
        }
        let Some(call) = path.strip_prefix("/rest/") else {
            return Target::NoPage;
        };
        let (caller, method) = match call.trim_end_matches('/').rsplit_once('/') {
            Some((credentials, method)) if credentials.split('/').count() == 2 => {
                (Caller::Webhook, method)
            }
            Some(_) => return Target::NoPage,
            None => (Caller::Application, call),
        };
        let method = method.strip_suffix(".json").unwrap_or(method);
        if method.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Target::Method(caller, Cow::Owned(method.to_ascii_lowercase()));
        }
        Target::Method(caller, Cow::Borrowed(method))
    }

    fn at(&self) -> At {
        match self {
            Self::Renewal => At::Oauth,
            Self::Method(_, method) if method == "batch" => At::Batch,
            Self::Method(_, method) => methods::find(method).map_or(At::Any, |method| method.at),
            Self::NoPage => At::Any,
        }
    }
}

/// Serves a request.
pub(crate) fn serve(shared: &Shared, request: &Request, origin: Origin) -> Reply {
    let start = SystemTime::now();
    let target = Target::of(&request.path);
    let at = target.at();
    let params = parameters(request);
    let mut state = shared.lock();
    if state.epoch != origin.epoch {
        return Reply::Close;
    }
    let number = state.note(|| LogEntry::new(request, params.clone(), origin.connection));
    state.seen.count(at);
    shared.notify(&state);
    check_manners(&mut state, request, &params, &target);
    let mut fault = state.faults.take(at);
    match fault {
        Some(Kind::DropBefore) => return Reply::Close,
        Some(Kind::ResetBefore) => return Reply::Reset,
        Some(Kind::Hang) => return Reply::Hang(state.releases),
        _ => {}
    }
    if at != At::Oauth && state.settings.latency_ms > 0 {
        let latency = state.settings.latency_ms;
        match shared.sleep(state, latency) {
            Some(after) => state = after,
            None => return Reply::Close,
        }
    }
    let mut answer = match fault
        .as_mut()
        .and_then(|fault| instead(&mut state, fault, &params))
    {
        Some(answer) => answer,
        None => match execute(shared, state, &target, request, &params, origin, start) {
            Some((after, answer)) => {
                state = after;
                answer
            }
            None => return Reply::Close,
        },
    };
    let delivery = match fault {
        Some(Kind::DropAfter) => return Reply::Close,
        Some(Kind::ResetAfter) => return Reply::Reset,
        Some(Kind::HangAfter) => return Reply::Hang(state.releases),
        Some(Kind::Drip { ms_per_byte }) => Delivery::Drip(Duration::from_millis(ms_per_byte)),
        Some(Kind::SlowHeader { ms_per_byte }) => {
            Delivery::SlowHeader(Duration::from_millis(ms_per_byte))
        }
        Some(Kind::Truncated) => Delivery::Truncated,
        Some(Kind::CloseIdle) => Delivery::CloseSilently,
        Some(fault) => {
            spoil(&mut answer, fault);
            keep_or_close(&state, request, origin)
        }
        None => keep_or_close(&state, request, origin),
    };
    state.note_answer(number, answer.status, &answer.error);
    Reply::Send(answer, delivery)
}

fn keep_or_close(state: &State, request: &Request, origin: Origin) -> Delivery {
    let settings = &state.settings;
    if !settings.keep_alive || !request.keep_alive {
        Delivery::Close
    } else if settings
        .keep_alive_requests
        .is_some_and(|limit| origin.request >= limit)
    {
        if settings.close_silently {
            Delivery::CloseSilently
        } else {
            Delivery::Close
        }
    } else {
        Delivery::KeepAlive
    }
}

/// The answer that a fault gives instead of executing.
fn instead(state: &mut State, fault: &mut Kind, params: &Array<Value>) -> Option<Answer> {
    Some(match fault {
        Kind::Status {
            status,
            html,
            headers,
        } => {
            let mut answer = Answer::html(*status, "ordered");
            if !*html {
                answer.body.clear();
            }
            answer.with_headers(std::mem::take(headers))
        }
        Kind::Error {
            status,
            error,
            description,
            headers,
        } => {
            let problem = Problem {
                status: *status,
                error: std::mem::take(error),
                description: description.take(),
            };
            Answer::from(problem).with_headers(std::mem::take(headers))
        }
        Kind::Error200 { error, description } => Answer::from(Problem {
            status: 200,
            error: std::mem::take(error),
            description: description.take(),
        }),
        Kind::Redirect { status, location } => Answer::redirect(*status, std::mem::take(location)),
        Kind::Expire => {
            if let Some(token) = params.get_any_case("auth").and_then(Value::to_text) {
                state.tokens.expire(&token);
            }
            expired().into()
        }
        _ => return None,
    })
}

/// Replaces the body of an answer by the one of a fault.
fn spoil(answer: &mut Answer, fault: Kind) {
    match fault {
        Kind::Garbage => answer.body = b"\x00\xff<?php Fatal error \x1b[0m {".to_vec(),
        Kind::WrongJson { body } => answer.body = body.into_bytes(),
        Kind::Big { mib } => {
            let padding = "x".repeat(mib.saturating_mul(1024 * 1024));
            answer.body = format!(r#"{{"result":true,"padding":"{padding}"}}"#).into_bytes();
        }
        Kind::Nested { depth } => {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            answer.body = format!(r#"{{"result":{open}{close}}}"#).into_bytes();
        }
        _ => {}
    }
}

/// Does what is asked. None if the portal was reset meanwhile.
fn execute<'a>(
    shared: &'a Shared,
    mut state: MutexGuard<'a, State>,
    target: &Target<'_>,
    request: &Request,
    params: &Array<Value>,
    origin: Origin,
    start: SystemTime,
) -> Option<(MutexGuard<'a, State>, Answer)> {
    if let Some(answer) = moved(&state, request) {
        return Some((state, answer));
    }
    let (caller, method) = match target {
        Target::Renewal => return oauth::renew(shared, state, params),
        Target::NoPage => return Some((state, Answer::html(404, "no such page"))),
        Target::Method(Caller::Webhook, _) if !state.settings.webhook => {
            return Some((state, Answer::html(404, "no such page")));
        }
        Target::Method(caller, method) => (*caller, method.as_ref()),
    };
    let answer = call(&mut state, caller, method, request, params, origin, start);
    Some((state, answer.unwrap_or_else(Answer::from)))
}

fn moved(state: &State, request: &Request) -> Option<Answer> {
    if state.settings.moved.is_empty() {
        return None;
    }
    let host = request.host_name();
    let moved = state
        .settings
        .moved
        .iter()
        .find(|moved| moved.from == host)?;
    let mut location = moved.location.clone();
    if !moved.raw_location {
        location.push_str(&request.path);
        if !request.query.is_empty() {
            location.push('?');
            location.push_str(&request.query);
        }
    }
    Some(Answer::redirect(moved.status, location))
}

fn call(
    state: &mut State,
    caller: Caller,
    method: &str,
    request: &Request,
    params: &Array<Value>,
    origin: Origin,
    start: SystemTime,
) -> Result<Answer, Problem> {
    if state.settings.require_https && !origin.tls {
        return Err(Problem::new(400, "INVALID_REQUEST", "Https required"));
    }
    let scheme = if origin.tls { "https" } else { "http" };
    let known = state
        .origin
        .as_deref()
        .and_then(|known| known.strip_prefix(scheme)?.strip_prefix("://"));
    if known != Some(request.host.as_str()) {
        state.origin = Some(format!("{scheme}://{}", request.host));
    }
    if let Some(rate) = state.settings.rate {
        let now = state.clock.now();
        let bucket = state.buckets.entry(request.host_name()).or_default();
        if !bucket.admit(rate, now) {
            state.seen.query_limit += 1;
            return Err(Problem::new(
                503,
                "QUERY_LIMIT_EXCEEDED",
                "Too many requests",
            ));
        }
    }
    if caller == Caller::Application {
        authorize(state, request, params)?;
    }
    if method != "batch" {
        let method = methods::find(method);
        let result = methods::call(state, caller, method, params)?;
        let time = Time::since(start, state, method.map_or(At::Any, |method| method.at));
        return Ok(Answer::json(200, &Success { result, time }));
    }
    if let Some(refusal) = state
        .settings
        .answer
        .clone()
        .filter(|refusal| refusal.html || refusal.body.is_some())
    {
        return Ok(refusal.into());
    }
    let result = batch::run(state, caller, params);
    // A batch itself costs nothing; only its updates do.
    let time = Time::since(start, state, At::Update);
    Ok(Answer::json(200, &Success { result, time }))
}

fn authorize(state: &mut State, request: &Request, params: &Array<Value>) -> Result<(), Problem> {
    let given = params.get_any_case("auth").and_then(Value::to_text);
    let token = given
        .as_deref()
        .or_else(|| request.authorization.strip_prefix("Bearer "))
        .unwrap_or_default();
    state.called_with(token);
    match state.tokens.access(token) {
        Access::Good => Ok(()),
        Access::Expired => Err(expired()),
        Access::Unknown if token.is_empty() => Err(Problem::new(
            401,
            "NO_AUTH_FOUND",
            "Wrong authorization data",
        )),
        Access::Unknown => Err(Problem::new(
            401,
            "invalid_token",
            "Unable to get application by token",
        )),
    }
}

fn expired() -> Problem {
    Problem::new(
        401,
        "expired_token",
        "The access token provided has expired",
    )
}

/// The parameters of the query string and of the body, which wins.
fn parameters(request: &Request) -> Array<Value> {
    let mut params = match request.query.as_str() {
        "" => Array::default(),
        query => parse_str(query),
    };
    if request.body.is_empty() {
        return params;
    }
    let body = if request.content_type.starts_with("application/json") {
        match serde_json::from_slice(&request.body) {
            Ok(Value::Array(body)) => body,
            _ => Array::default(),
        }
    } else {
        parse_str(&String::from_utf8_lossy(&request.body))
    };
    if params.is_empty() {
        return body;
    }
    params.extend(body);
    params
}

/// Notes what a client must not do, even if the portal accepts it.
fn check_manners(state: &mut State, request: &Request, params: &Array<Value>, target: &Target<'_>) {
    let Target::Method(_, method) = target else {
        return;
    };
    if !target.at().is_call() {
        return;
    }
    if request.method != "POST" {
        state.note_bad(format!("{} instead of POST", request.method));
    }
    if !request.content_type.starts_with("application/json") {
        state.note_bad(format!(
            "Content-Type {:?} instead of application/json",
            request.content_type
        ));
    }
    if request.user_agent.is_empty() {
        state.note_bad("no User-Agent");
    }
    if !request.query.is_empty() && parse_str(&request.query).get_any_case("auth").is_some() {
        state.note_bad("the token is in the URL");
    }
    let secret = |(key, value): (&Key, &Value)| {
        matches!(key, Key::Str(name) if name == "client_secret" || name == "refresh_token")
            || matches!(value, Value::Str(text) if *text == state.settings.client_secret)
    };
    if params.iter().any(secret) {
        state.note_bad("a secret was sent to the portal");
    }
    for text in methods::find(method).map_or(Vec::new(), |method| method.misspelt(params)) {
        state.note_bad(text);
    }
}
