//! The control API: how a test tells the portal what to do, and asks what it saw.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::fault::Fault;
use crate::http::Request;
use crate::php::parse_str;
use crate::settings::Settings;
use crate::state::{Seen, Shared};
use crate::tls::{Authority, Tls, server_config};

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

    pub(crate) fn messages(&self) -> Value {
        self.shared.lock().messages.to_json()
    }

    pub(crate) fn senders(&self) -> Value {
        json!(self.shared.lock().senders.by_code())
    }

    pub(crate) fn tokens(&self) -> Value {
        let state = self.shared.lock();
        json!({
            "access_token": state.tokens.access,
            "refresh_token": state.tokens.refresh,
            "expires": state.tokens.expires(),
            "lost": state.tokens.lost,
        })
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
            ("GET", "/messages") => Ok(self.messages()),
            ("GET", "/senders") => Ok(self.senders()),
            ("GET", "/tokens") => Ok(self.tokens()),
            (method, path) => Err(format!(
                "no such command: {method} {path}; there are POST /reset, /set, /fault, /release, \
                 /wait and GET /seen, /messages, /senders, /tokens"
            )),
        }
    }
}

/// `log=N` of `/seen`: how many entries of the log are wanted.
fn last_of_log(query: &str) -> Option<usize> {
    parse_str(query)
        .get_any_case("log")?
        .to_text()?
        .parse()
        .ok()
}

fn plain(status: u16, value: &Value) -> Answer {
    Answer {
        status,
        content_type: "application/json",
        body: value.to_string().into_bytes(),
        ..Answer::default()
    }
}
