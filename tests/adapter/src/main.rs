//! The Rust adapter of the scenario table: lines in, calls, lines out. It judges nothing.
//!
//! `tests/run_scenarios.py` tells the lines; `tests/README.md` describes them.

use b24_messageservice::{Client, Config, Error, Update, renewals_wait};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> io::Result<()> {
    let mut adapter = Adapter::new();
    let mut out = io::stdout().lock();
    let mut line = String::new();
    // Not locked for good: during a call that is to be cancelled another thread reads.
    while io::stdin().read_line(&mut line)? > 0 {
        let words: Vec<String> = line
            .trim_end_matches('\n')
            .split('\t')
            .map(decode)
            .collect();
        line.clear();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words == ["exit"] {
            break;
        }
        for answer in adapter.run(&words) {
            writeln!(out, "{answer}")?;
        }
        out.flush()?;
    }
    Ok(())
}

/// What the lines have collected so far.
struct Adapter {
    config: Config,
    /// By name; the lines are about the one in use.
    clients: HashMap<String, Client>,
    used: String,
    updates: Vec<Update>,
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
            updates: Vec::new(),
            renewals,
            last_error: None,
        }
    }

    fn client(&self) -> Option<&Client> {
        self.clients.get(&self.used)
    }

    /// Carries out one line, and gives the lines that answer it.
    fn run(&mut self, words: &[&str]) -> Vec<String> {
        match *words {
            ["use", name] => {
                name.clone_into(&mut self.used);
                ok()
            }
            ["config"] => {
                self.config = configuration(&self.renewals);
                ok()
            }
            ["config", name, value] => {
                let outcome = self.config.set(name, value).map(drop);
                vec![self.outcome(outcome)]
            }
            ["client", kind] => {
                let made = match kind {
                    "shared" => Client::shared(&self.config),
                    _ => Client::new(&self.config),
                };
                let outcome = made.map(|client| {
                    self.clients.insert(self.used.clone(), client);
                });
                vec![self.outcome(outcome)]
            }
            ["update", code, message_id, status] => match self.client() {
                Some(client) => {
                    let outcome = client.message_status_update(code, message_id, status);
                    vec![self.outcome(outcome)]
                }
                None => no_client(),
            },
            ["cancelled_update", code, message_id, status] => match self.client() {
                Some(client) => {
                    let outcome = std::thread::scope(|scope| {
                        scope.spawn(|| {
                            // The line that comes now is `cancel`.
                            drop(io::stdin().read_line(&mut String::new()));
                            client.cancel();
                        });
                        client.message_status_update(code, message_id, status)
                    });
                    vec![self.outcome(outcome)]
                }
                None => no_client(),
            },
            ["renewals_wait", milliseconds] => {
                let timeout = Duration::from_millis(milliseconds.parse().unwrap_or_default());
                vec![self.outcome(renewals_wait(timeout))]
            }
            ["add", code, message_id, status] => {
                self.updates.push(Update::new(code, message_id, status));
                ok()
            }
            ["batch"] => match self.client() {
                Some(client) => {
                    let fates = client.message_status_update_batch(self.updates.clone());
                    self.updates.clear();
                    let mut lines = vec![format!("fates\t{}", fates.len())];
                    lines.extend(fates.into_iter().map(|fate| self.outcome(fate)));
                    lines
                }
                None => no_client(),
            },
            ["tokens"] => match self.client() {
                Some(client) => {
                    let tokens = client.tokens();
                    vec![line(&[
                        "tokens",
                        tokens.access_token(),
                        tokens.refresh_token(),
                        tokens.client_endpoint(),
                        tokens.member_id(),
                        &tokens.expires().unwrap_or_default().to_string(),
                    ])]
                }
                None => no_client(),
            },
            ["renewed"] => vec![self.renewals.load(Ordering::SeqCst).to_string()],
            ["log", _] => {
                // A second logger is refused, which leaves the first: that is what is wanted.
                let _ = log::set_logger(&Stderr);
                log::set_max_level(log::LevelFilter::Trace);
                ok()
            }
            ["dump"] => {
                let tokens: Vec<_> = self.clients.values().map(Client::tokens).collect();
                let shown = format!(
                    "{:?} {:?} {tokens:?} {:?} {:?}",
                    self.config, self.clients, self.last_error, self.updates
                );
                vec![line(&[&shown])]
            }
            ["reset"] => {
                log::set_max_level(log::LevelFilter::Off);
                *self = Self::new();
                ok()
            }
            _ => vec![line(&["error", "UNKNOWN_LINE", "", "0", "0", "-1", "", ""])],
        }
    }

    fn outcome(&mut self, outcome: Result<(), Error>) -> String {
        let Err(error) = outcome else {
            return "ok".to_owned();
        };
        let retry_after = error
            .retry_after()
            .map_or("-1".to_owned(), |wait| wait.as_millis().to_string());
        let text = line(&[
            "error",
            error.kind().name(),
            error.portal_code(),
            &error.http_status().unwrap_or_default().to_string(),
            if error.is_retryable() { "1" } else { "0" },
            &retry_after,
            error.message(),
            error.description(),
        ]);
        self.last_error = Some(error);
        text
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

fn ok() -> Vec<String> {
    vec!["ok".to_owned()]
}

fn no_client() -> Vec<String> {
    vec![line(&["error", "NO_CLIENT", "", "0", "0", "-1", "", ""])]
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

/// Fields as the driver writes them: TAB-separated, each percent-encoded.
fn line(fields: &[&str]) -> String {
    let encoded: Vec<String> = fields.iter().map(|field| encode(field)).collect();
    encoded.join("\t")
}

fn encode(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for byte in field.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn decode(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(digits.unwrap_or(byte));
        rest = match digits {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
