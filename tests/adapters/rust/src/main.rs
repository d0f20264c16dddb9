//! The Rust adapter of the scenario table: lines in, calls, lines out. It compares nothing.
//!
//! `tests/README.md` describes the lines.

mod calls;
mod provider;

use b24_messageservice::{CancelToken, Client, Config, Error, Provider, Request, renewals_wait};
use calls::Returned;
use provider::Left;
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
    providers: HashMap<String, Provider>,
    used: String,
    /// The one that was received last.
    request: Option<Request>,
    /// That of the provider that was opened last.
    provider_config: Config,
    renewals: Arc<AtomicU64>,
    last_error: Option<Error>,
    /// Those of the next call.
    limits: Limits,
}

/// What limits a call.
#[derive(Default)]
struct Limits {
    timeout: Option<Duration>,
    token: Option<CancelToken>,
}

impl Adapter {
    fn new() -> Self {
        let renewals = Arc::new(AtomicU64::new(0));
        Self {
            config: configuration(&renewals),
            clients: HashMap::new(),
            providers: HashMap::new(),
            used: String::new(),
            request: None,
            provider_config: Config::new(),
            renewals,
            last_error: None,
            limits: Limits::default(),
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
            ("limit", [milliseconds, token]) => {
                self.limits = Limits {
                    timeout: milliseconds.as_u64().map(Duration::from_millis),
                    token: token.as_bool()?.then(CancelToken::new),
                };
                Value::Null
            }
            ("call", [method, arguments]) => {
                let limits = std::mem::take(&mut self.limits);
                let client = limits.of_client(self.client()?);
                let outcome = calls::call(&client, method.as_str()?, arguments)?;
                return Some(self.answer(outcome));
            }
            ("cancelled_call", [method, arguments]) => {
                let limits = std::mem::take(&mut self.limits);
                let client = limits.of_client(self.client()?);
                let outcome = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        // The next line is `cancel`.
                        drop(io::stdin().read_line(&mut String::new()));
                        limits.cancel(|| client.cancel());
                    });
                    calls::call(&client, method.as_str()?, arguments)
                })?;
                return Some(self.answer(outcome));
            }
            ("provider", [options]) => return Some(self.open_provider(options)),
            ("provider_call", [method, arguments]) => {
                let limits = std::mem::take(&mut self.limits);
                let outcome = self.provider_call(method.as_str()?, arguments, &limits)?;
                return Some(self.answer(outcome));
            }
            ("cancelled_provider_call", [method, arguments]) => {
                let provider = self.providers.get(&self.used)?.clone();
                let limits = std::mem::take(&mut self.limits);
                let outcome = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        // The next line is `cancel`.
                        drop(io::stdin().read_line(&mut String::new()));
                        limits.cancel(|| provider.cancel());
                    });
                    self.provider_call(method.as_str()?, arguments, &limits)
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
                let shown = (&self.config, &self.clients, tokens, &self.last_error);
                let of_providers = (&self.provider_config, &self.providers, &self.request);
                format!("{shown:?} {of_providers:?}").into()
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

    fn provider_call(
        &mut self,
        method: &str,
        arguments: &Value,
        limits: &Limits,
    ) -> Option<Result<Returned, Error>> {
        if method == "vocabulary" {
            return Some(provider::vocabulary(arguments));
        }
        if method == "close" {
            // It is kept, so that a row can use it after that.
            self.providers.get(&self.used)?.close();
            return Some(Ok(Returned::Nothing));
        }
        let mut left = Left::default();
        let provider = limits.of_provider(self.providers.get(&self.used)?);
        let outcome = provider::call(
            &provider,
            method,
            arguments,
            self.request.as_ref(),
            &mut left,
        );
        if let Some(client) = left.client {
            self.clients.insert(self.used.clone(), client);
        }
        if left.request.is_some() {
            self.request = left.request;
        }
        outcome
    }

    fn close_provider(&mut self) {
        if let Some(provider) = self.providers.remove(&self.used) {
            provider.close();
        }
    }

    /// Closes the provider of this name, and opens another.
    fn open_provider(&mut self, options: &Value) -> Value {
        self.close_provider();
        self.provider_config = Config::new();
        let config = &mut self.provider_config;
        let opened = set(config, options).and_then(|()| Provider::open(config));
        let outcome = opened.map(|provider| {
            self.providers.insert(self.used.clone(), provider);
            Returned::Nothing
        });
        self.answer(outcome)
    }

    /// Sets the options and makes the client. The first error is the answer.
    fn open(&mut self, kind: &Value, options: &Value) -> Value {
        // Clients that share state of the process must have one configuration.
        if kind == "new" {
            self.config = configuration(&self.renewals);
        }
        if let Err(error) = set(&mut self.config, options) {
            return self.answer(Err(error));
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

impl Limits {
    fn of_client(&self, client: &Client) -> Client {
        let mut client = client.clone();
        if let Some(timeout) = self.timeout {
            client = client.with_timeout(timeout);
        }
        if let Some(token) = &self.token {
            client = client.with_cancel(token);
        }
        client
    }

    fn of_provider(&self, provider: &Provider) -> Provider {
        let mut provider = provider.clone();
        if let Some(timeout) = self.timeout {
            provider = provider.with_timeout(timeout);
        }
        if let Some(token) = &self.token {
            provider = provider.with_cancel(token);
        }
        provider
    }

    /// Cancels the call by its token, or if it has none by its handle.
    fn cancel(&self, handle: impl FnOnce()) {
        match &self.token {
            Some(token) => token.cancel(),
            None => handle(),
        }
    }
}

fn set(config: &mut Config, options: &Value) -> Result<(), Error> {
    for option in options.as_array().into_iter().flatten() {
        let [name, value] = [0, 1].map(|at| option.get(at).and_then(Value::as_str));
        config.set(name.unwrap_or_default(), value.unwrap_or_default())?;
    }
    Ok(())
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
        let (level, target) = (record.level(), record.target());
        // At once: under wine each write takes long, and some records have hundreds of parts.
        let text = format!("{level} {target} {}\n", record.args());
        // Nobody listens any more.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn flush(&self) {}
}
