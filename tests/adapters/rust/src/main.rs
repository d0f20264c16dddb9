//! The Rust adapter of the scenario table: lines in, calls, lines out. It compares nothing.
//!
//! `tests/README.md` describes the lines.

mod calls;

use b24_messageservice::{Client, Config, Error, renewals_wait};
use calls::Returned;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> io::Result<()> {
    let mut adapter = Adapter::new();
    let mut out = io::stdout().lock();
    let mut line = String::new();
    // Not locked all the time, because another thread reads during a call that is cancelled.
    while io::stdin().read_line(&mut line)? > 0 {
        let words: Vec<Value> = serde_json::from_str(&line)?;
        line.clear();
        let answer = adapter
            .run(&words)
            .ok_or_else(|| io::Error::other(format!("no such line, or no client: {words:?}")))?;
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// What the lines have set up so far.
struct Adapter {
    config: Config,
    /// By name. The lines are about the current one.
    clients: HashMap<String, Client>,
    used: String,
    renewals: Arc<AtomicU64>,
    last_error: Option<Error>,
}

impl Adapter {
    fn new() -> Self {
        let renewals = Arc::new(AtomicU64::new(0));
        Self {
            config: configuration(&renewals),
            clients: HashMap::new(),
            used: String::new(),
            renewals,
            last_error: None,
        }
    }

    /// Executes one line, and returns its answer; `None` if there is no such line.
    fn run(&mut self, words: &[Value]) -> Option<Value> {
        let (verb, arguments) = words.split_first()?;
        let result = match (verb.as_str()?, arguments) {
            ("use", [name]) => {
                name.as_str()?.clone_into(&mut self.used);
                Value::Null
            }
            ("client", [kind, options]) => return Some(self.open(kind, options)),
            ("call", [method, arguments]) => {
                let outcome = calls::call(self.client()?, method.as_str()?, arguments)?;
                return Some(self.answer(outcome));
            }
            ("cancelled_call", [method, arguments]) => {
                let client = self.client()?;
                let outcome = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        // The next line is `cancel`.
                        drop(io::stdin().read_line(&mut String::new()));
                        client.cancel();
                    });
                    calls::call(client, method.as_str()?, arguments)
                })?;
                return Some(self.answer(outcome));
            }
            ("renewals_wait", [milliseconds]) => {
                let outcome = renewals_wait(Duration::from_millis(milliseconds.as_u64()?));
                return Some(self.answer(outcome.map(|()| Returned::Nothing)));
            }
            ("tokens", []) => {
                let tokens = self.client()?.tokens();
                json!({
                    "access_token": tokens.access_token(),
                    "refresh_token": tokens.refresh_token(),
                    "client_endpoint": tokens.client_endpoint(),
                    "member_id": tokens.member_id(),
                    "expires": tokens.expires(),
                })
            }
            ("renewed", []) => self.renewals.load(Ordering::SeqCst).into(),
            ("log", []) => {
                // A second logger is refused, and the first one stays, as it should.
                let _ = log::set_logger(&Stderr);
                log::set_max_level(log::LevelFilter::Trace);
                Value::Null
            }
            ("dump", []) => {
                let tokens: Vec<_> = self.clients.values().map(Client::tokens).collect();
                let (config, clients) = (&self.config, &self.clients);
                format!("{config:?} {clients:?} {tokens:?} {:?}", self.last_error).into()
            }
            ("reset", []) => {
                log::set_max_level(log::LevelFilter::Off);
                *self = Self::new();
                Value::Null
            }
            _ => return None,
        };
        Some(json!({ "result": result }))
    }

    fn client(&self) -> Option<&Client> {
        self.clients.get(&self.used)
    }

    /// Sets the options and makes the client. The first error is the answer.
    fn open(&mut self, kind: &Value, options: &Value) -> Value {
        // Clients that share state of the process must have one configuration.
        if kind == "new" {
            self.config = configuration(&self.renewals);
        }
        for option in options.as_array().into_iter().flatten() {
            let [name, value] = [0, 1].map(|at| option.get(at).and_then(Value::as_str));
            if let Err(error) = self
                .config
                .set(name.unwrap_or_default(), value.unwrap_or_default())
            {
                return self.answer(Err(error));
            }
        }
        let made = match kind.as_str() {
            Some("shared") => Client::shared(&self.config),
            _ => Client::new(&self.config),
        };
        let outcome = made.map(|client| {
            self.clients.insert(self.used.clone(), client);
            Returned::Nothing
        });
        self.answer(outcome)
    }

    fn answer(&mut self, outcome: Result<Returned, Error>) -> Value {
        let result = match outcome {
            Ok(Returned::Nothing) => Value::Null,
            Ok(Returned::Value(value)) => value,
            Ok(Returned::Outcomes(outcomes)) => outcomes
                .into_iter()
                .map(|outcome| match outcome {
                    Ok(()) => Value::Null,
                    Err(error) => self.error(error),
                })
                .collect(),
            Err(error) => return self.error(error),
        };
        json!({ "result": result })
    }

    fn error(&mut self, error: Error) -> Value {
        let retry_after = error
            .retry_after()
            .and_then(|wait| i64::try_from(wait.as_millis()).ok());
        let members = json!({
            "code": error.kind().name(),
            "portal_code": error.portal_code(),
            "http_status": error.http_status().unwrap_or_default(),
            "retryable": error.is_retryable(),
            "retry_after_ms": retry_after.unwrap_or(-1),
            "message": error.message(),
            "description": error.description(),
        });
        self.last_error = Some(error);
        json!({ "error": members })
    }
}

fn configuration(renewals: &Arc<AtomicU64>) -> Config {
    let counter = Arc::clone(renewals);
    let mut config = Config::new();
    config.on_renewal(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    config
}

/// Log records of every target, the dependencies' too, one a line, to standard error.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{} {} {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}
