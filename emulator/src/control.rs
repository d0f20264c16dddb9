//! The control API: how a test tells the portal what to do, and asks what it saw.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::fault::Fault;
use crate::http::Request;
use crate::php::parse_str;
use crate::requests;
use crate::settings::Settings;
use crate::state::{Seen, Shared};
use crate::tls::{Authority, Tls, server_config};
use crate::tokens::Refresh;

const DEFAULT_WAIT_MS: u64 = 30_000;

/// What the control API and the library both call.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tls: Arc<Tls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    requests: u64,
    #[serde(default)]
    renewal_requests: u64,
    #[serde(default = "default_wait")]
    timeout_ms: u64,
}

/// A pair is named by its refresh token, or by its number on a portal.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Spend {
    host: String,
    pair: usize,
    refresh_token: Option<String>,
}

fn default_wait() -> u64 {
    DEFAULT_WAIT_MS
}

impl Control {
    pub(crate) fn reset(&self, settings: Settings) -> io::Result<()> {
        let config = server_config(&self.authority)?;
        *self.tls.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
        self.shared.reset(settings);
        Ok(())
    }

    pub(crate) fn set(&self, changes: &Value) -> Result<(), String> {
        self.shared.lock().set(changes)
    }

    pub(crate) fn fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().faults.extend(faults);
    }

    pub(crate) fn seen(&self) -> Seen {
        let state = self.shared.lock();
        let mut seen = state.seen.clone();
        seen.open_connections = state.open.len();
        seen
    }

    /// The messages of the portal that has this name; of the main one without.
    pub(crate) fn messages(&self, host: &str) -> Value {
        let state = self.shared.lock();
        let portal = state.portals.number(host);
        state.portals.get(portal).messages.to_json()
    }

    /// The messages of every portal that was told a status, by its name.
    pub(crate) fn all_messages(&self) -> Value {
        let state = self.shared.lock();
        let told = state.portals.iter();
        let told = told.filter(|(_, data)| !data.messages.is_empty());
        let told: Map<_, _> = told
            .map(|(host, data)| (host, data.messages.to_json()))
            .collect();
        told.into()
    }

    pub(crate) fn senders(&self, host: &str) -> Value {
        let state = self.shared.lock();
        let portal = state.portals.number(host);
        json!(state.portals.get(portal).senders.by_code())
    }

    pub(crate) fn tokens(&self, host: &str) -> Value {
        let state = self.shared.lock();
        let portal = state.portals.number(host);
        let data = state.portals.get(portal);
        let pairs = state.tokens.pairs(portal).iter().map(|pair| {
            json!({
                "access_token": pair.access,
                "refresh_token": pair.refresh,
                "expires": state.tokens.expires(&pair.access),
                "user_id": pair.user.id(&state.settings),
                "admin": pair.user.is_admin(&state.settings),
                "lost": pair.lost,
            })
        });
        let pairs: Vec<_> = pairs.collect();
        let first = |name: &str| pairs.first().and_then(|pair| pair.get(name)).cloned();
        json!({
            "access_token": first("access_token"),
            "refresh_token": first("refresh_token"),
            "expires": first("expires"),
            "lost": first("lost"),
            "pairs": pairs,
            "installed": state.tokens.installed(portal),
            "member_id": data.member_id,
            "application_token": data.application_token,
        })
    }

    /// Lets one pair of tokens not be renewed any more.
    pub(crate) fn spend(&self, order: Value) -> Result<(), String> {
        let order: Spend = serde_json::from_value(order).map_err(|error| error.to_string())?;
        let mut state = self.shared.lock();
        let (portal, pair) = match &order.refresh_token {
            Some(token) => match state.tokens.refresh(token) {
                Refresh::Good { portal, pair } => (portal, pair),
                _ => return Err(format!("{token:?} is the refresh token of no pair")),
            },
            None => (state.portals.number(&order.host), order.pair),
        };
        if state.tokens.lose(portal, pair) {
            Ok(())
        } else {
            Err(format!("there is no pair {pair}"))
        }
    }

    /// Answers a request to the control API.
    pub(crate) fn serve(&self, request: &Request) -> Answer {
        match self.execute(request) {
            Ok(value) => plain(200, &value),
            Err(text) => plain(400, &json!({ "error": text })),
        }
    }

    fn execute(&self, request: &Request) -> Result<Value, String> {
        let body = match request.body.as_slice() {
            [] => Value::Null,
            body => serde_json::from_slice(body).map_err(|error| error.to_string())?,
        };
        let done = json!({});
        let host = || named(&request.query, "host").unwrap_or_default();
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/reset") => {
                let settings = Settings::from_json(&body)?;
                self.reset(settings).map_err(|error| error.to_string())?;
                Ok(done)
            }
            ("POST", "/set") => self.set(&body).map(|()| done),
            ("POST", "/fault") => {
                let faults = match body {
                    Value::Array(_) => body,
                    one => Value::Array(vec![one]),
                };
                let faults: Vec<Fault> =
                    serde_json::from_value(faults).map_err(|error| error.to_string())?;
                self.fault(faults);
                Ok(done)
            }
            ("POST", "/release") => {
                self.shared.release();
                Ok(done)
            }
            ("POST", "/wait") => {
                let wait: Wait = serde_json::from_value(body).map_err(|error| error.to_string())?;
                let timeout = Duration::from_millis(wait.timeout_ms);
                let awaited = self
                    .shared
                    .wait(wait.requests, wait.renewal_requests, timeout);
                serde_json::to_value(awaited).map_err(|error| error.to_string())
            }
            ("GET", "/seen") => {
                let mut seen = self.seen();
                if let Some(last) = last_of_log(&request.query) {
                    let first = seen.log.len().saturating_sub(last);
                    seen.log.drain(..first);
                }
                serde_json::to_value(seen).map_err(|error| error.to_string())
            }
            ("POST", "/install") => requests::install(&self.shared, body),
            ("POST", "/message") => requests::message(&self.shared, body),
            ("POST", "/uninstall") => requests::uninstall(&self.shared, body),
            ("POST", "/spend") => self.spend(body).map(|()| done),
            ("GET", "/messages") if named(&request.query, "all").is_some() => {
                Ok(self.all_messages())
            }
            ("GET", "/messages") => Ok(self.messages(&host())),
            ("GET", "/senders") => Ok(self.senders(&host())),
            ("GET", "/tokens") => Ok(self.tokens(&host())),
            (method, path) => Err(format!(
                "no such command: {method} {path}; there are POST /reset, /set, /fault, /release, \
                 /wait, /install, /message, /uninstall, /spend and GET /seen, /messages, /senders, /tokens"
            )),
        }
    }
}

/// `log=N` of `/seen`: how many entries of the log are wanted.
fn last_of_log(query: &str) -> Option<usize> {
    named(query, "log")?.parse().ok()
}

/// A parameter of a query string.
fn named(query: &str, name: &str) -> Option<String> {
    let parameters = parse_str(query);
    Some(parameters.get_any_case(name)?.to_text()?.into_owned())
}

fn plain(status: u16, value: &Value) -> Answer {
    Answer {
        status,
        content_type: "application/json",
        body: value.to_string().into_bytes(),
        ..Answer::default()
    }
}
