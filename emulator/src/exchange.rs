//! One request to the portal or the authorization server, and its answer.

use std::borrow::Cow;
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::answer::{Answer, Problem, Success, Time};
use crate::batch;
use crate::fault::{At, Kind};
use crate::http::Request;
use crate::methods::{self, Caller};
use crate::oauth;
use crate::php::{Array, Key, Value, parse_str};
use crate::settings::AppInfo;
use crate::state::{LogEntry, Shared, State};
use crate::tokens::Access;

/// What a thread needs that answers: enough for a handshake and for JSON as deeply nested as is accepted.
pub(crate) const STACK_SIZE: usize = 512 * 1024;

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) connection: u64,
    pub(crate) epoch: u64,
    pub(crate) tls: bool,
    /// It came to the port of the authorization server.
    pub(crate) oauth: bool,
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
    /// `app.info` of the authorization server.
    AppInfo,
    Method(Caller, Cow<'a, str>),
    NoPage,
}

impl Target<'_> {
    /// What a path means on a portal, or on the authorization server.
    fn of(path: &str, oauth: bool) -> Target<'_> {
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
        if oauth && caller == Caller::Application && method.eq_ignore_ascii_case("app.info") {
            return Target::AppInfo;
        }
        if method.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Target::Method(caller, Cow::Owned(method.to_ascii_lowercase()));
        }
        Target::Method(caller, Cow::Borrowed(method))
    }

    fn at(&self) -> At {
        match self {
            Self::Renewal => At::Oauth,
            Self::AppInfo => At::OauthAppInfo,
            Self::Method(_, method) if method == "batch" => At::Batch,
            Self::Method(_, method) => methods::find(method).map_or(At::Any, |method| method.at),
            Self::NoPage => At::Any,
        }
    }
}

/// Serves a request.
pub(crate) fn serve(shared: &Arc<Shared>, request: &Request, origin: Origin) -> Reply {
    let start = SystemTime::now();
    let host = request.host_name();
    let target = Target::of(&request.path, origin.oauth || host == oauth::HOST);
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
    if state.settings.down.contains(&host) {
        state.note_answer(number, 502, "");
        let delivery = keep_or_close(&state, request, origin);
        return Reply::Send(Answer::html(502, "the portal is down"), delivery);
    }
    let mut fault = state.faults.take(at, &host);
    match fault {
        Some(Kind::DropBefore) => return Reply::Close,
        Some(Kind::ResetBefore) => return Reply::Reset,
        Some(Kind::Hang) => return Reply::Hang(state.releases),
        Some(Kind::ExecuteLate { ms }) => {
            execute_late(shared, request, origin, ms);
            state.note_answer(number, 504, "");
            let delivery = keep_or_close(&state, request, origin);
            return Reply::Send(Answer::html(504, "executed later"), delivery);
        }
        _ => {}
    }
    if !at.is_oauth() && state.settings.latency_ms > 0 {
        let latency = state.settings.latency_ms;
        match shared.sleep(state, latency) {
            Some(after) => state = after,
            None => return Reply::Close,
        }
    }
    let portal = state.portals.number(&host);
    state.portals.enter(portal);
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

/// Executes a request after a while, or at the next release. A reset forgets it.
fn execute_late(shared: &Arc<Shared>, request: &Request, origin: Origin, milliseconds: u64) {
    let (shared, request) = (shared.clone(), request.clone());
    let late = move || {
        let state = shared.lock();
        if state.epoch != origin.epoch {
            return;
        }
        let Some(mut state) = shared.sleep(state, milliseconds) else {
            return;
        };
        let host = request.host_name();
        let target = Target::of(&request.path, origin.oauth || host == oauth::HOST);
        let params = parameters(&request);
        let portal = state.portals.number(&host);
        state.portals.enter(portal);
        let start = SystemTime::now();
        let done = execute(&shared, state, &target, &request, &params, origin, start);
        if let Some((mut state, _)) = done {
            state.seen.late += 1;
        }
    };
    // Without a thread the request is lost, as on an overloaded server.
    let _ = thread::Builder::new()
        .name("late".into())
        .stack_size(STACK_SIZE)
        .spawn(late);
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
                state.tokens.expire(state.portals.current(), &token);
            }
            Problem::expired_token().into()
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
        Target::AppInfo => {
            let token = token(request, params);
            return oauth::info(shared, state, &token, start);
        }
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
    state.portals.note_origin(scheme, &request.host);
    let host = request.host_name();
    if state.settings.throttled.contains(&host) {
        return Err(too_many(state));
    }
    if let Some(rate) = state.settings.rate {
        let now = state.clock.now();
        let bucket = state.buckets.entry(host).or_default();
        if !bucket.admit(rate, now) {
            return Err(too_many(state));
        }
    }
    if caller == Caller::Application {
        authorize(state, request, params)?;
    }
    if let Some(page) = page_instead(state, method) {
        return Ok(page);
    }
    if method != "batch" {
        let method = methods::find(method);
        let result = methods::call(state, caller, method, params)?;
        let time = Time::since(start, state, method.map_or(At::Any, |method| method.at));
        return Ok(Answer::json(200, &Success { result, time }));
    }
    let result = batch::run(state, caller, params);
    // A batch itself costs nothing; only its updates do.
    let time = Time::since(start, state, At::Update);
    Ok(Answer::json(200, &Success { result, time }))
}

/// The answer that the settings give a method, or a batch, if it is no error of the portal's: a batch
/// has errors for each command.
fn page_instead(state: &State, method: &str) -> Option<Answer> {
    let refusal = if method == "batch" {
        state.settings.answer.as_ref()
    } else {
        match (methods::find(method)?.at, &state.settings.app_info) {
            (At::Update, _) => state.settings.answer.as_ref(),
            (At::AppInfo, AppInfo::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    };
    let refusal = refusal.filter(|refusal| refusal.html || refusal.body.is_some())?;
    Some(refusal.clone().into())
}

fn too_many(state: &mut State) -> Problem {
    state.seen.query_limit += 1;
    Problem::new(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
}

/// The access token that a request comes with, empty if there is none.
fn token<'a>(request: &'a Request, params: &'a Array<Value>) -> Cow<'a, str> {
    let given = params.get_any_case("auth").and_then(Value::to_text);
    given.unwrap_or_else(|| {
        let bearer = request.authorization.strip_prefix("Bearer ");
        Cow::Borrowed(bearer.unwrap_or_default())
    })
}

fn authorize(state: &mut State, request: &Request, params: &Array<Value>) -> Result<(), Problem> {
    let token = token(request, params);
    state.called_with(&token);
    match state.tokens.access(state.portals.current(), &token) {
        Access::Good(grant) => {
            state.user = grant.user;
            state.expires = grant.expires;
            Ok(())
        }
        Access::Expired => Err(Problem::expired_token()),
        Access::Uninstalled => Err(Problem::new(
            401,
            "APPLICATION_NOT_FOUND",
            "Application not found",
        )),
        Access::Unknown if token.is_empty() => Err(Problem::new(
            401,
            "NO_AUTH_FOUND",
            "Wrong authorization data",
        )),
        Access::Unknown => Err(Problem::invalid_token()),
    }
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
