//! Shared by the stress tests: a portal with clients for it, and figures of a process.

#[cfg(unix)]
pub mod postgres;
#[cfg(unix)]
pub mod provider;

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use b24_messageservice::{Client, Config, Error};
use b24_portal::{Fault, Portal, Settings};
use serde_json::Value;

/// The code of the one provider.
pub const CODE: &str = "provider1";

/// The portal of one test. Its address and tokens belong to this test only, so that no two tests
/// share a rate limit or an installation.
#[derive(Debug)]
pub struct Fixture {
    /// The emulator.
    pub portal: Portal,
    number: String,
}

/// The text in tokens and secrets that the number of a fixture replaces.
const NUMBER: &str = "0000000000000001";

impl Fixture {
    /// Starts a portal with these settings.
    ///
    /// # Panics
    /// If the system has no port, or the emulator does not have these settings.
    #[must_use]
    pub fn new(settings: &Value) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = format!("{:08}{count:08}", std::process::id());
        let mut settings = Settings::from_json(settings).unwrap_or_else(|fault| panic!("{fault}"));
        for text in [
            &mut settings.access_token,
            &mut settings.refresh_token,
            &mut settings.client_secret,
        ] {
            *text = text.replace(NUMBER, &number);
        }
        let portal = Portal::start(settings).unwrap_or_else(|fault| panic!("{fault}"));
        Self { portal, number }
    }

    /// The options of a client, over plain HTTP and without a rate limit; `more` come last.
    #[must_use]
    pub fn options(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let portal = format!("http://127.0.0.1:{}", self.portal.http_port());
        let oauth = format!("https://127.0.0.1:{}", self.portal.oauth_port());
        let ca_file = self.portal.ca_file().display().to_string();
        let usual = [
            ("portal", portal.as_str()),
            ("allow_http", "true"),
            ("access_token", "access-0000000000000001"),
            ("oauth_url", &oauth),
            ("ca_file", &ca_file),
            ("proxy", "none"),
            ("rate_limit", "off"),
        ];
        usual
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), value.replace(NUMBER, &self.number)))
            .collect()
    }

    /// A text with this fixture's number instead of the usual one, as in its tokens.
    #[must_use]
    pub fn own(&self, text: &str) -> String {
        text.replace(NUMBER, &self.number)
    }

    /// A client with these options added to the usual ones.
    ///
    /// # Panics
    /// If the library refuses them.
    #[must_use]
    pub fn client(&self, more: &[(&str, &str)]) -> Client {
        client(&self.options(more)).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Queues faults, written as JSON.
    ///
    /// # Panics
    /// If it is not a list of faults.
    pub fn fault(&self, faults: &Value) {
        let faults: Vec<Fault> =
            serde_json::from_value(faults.clone()).unwrap_or_else(|fault| panic!("{fault}"));
        self.portal.fault(faults);
    }

    /// The status that the portal has for a message; empty if none.
    #[must_use]
    pub fn status(&self, message_id: &str) -> String {
        let messages = self.portal.messages();
        let status = messages.get(format!("{CODE}|{message_id}"));
        status
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// All statuses that were stored for a message.
    #[must_use]
    pub fn history(&self, message_id: &str) -> Vec<String> {
        let messages = self.portal.messages();
        let history = messages
            .get("history")
            .and_then(|all| all.get(format!("{CODE}|{message_id}")));
        history
            .and_then(|list| serde_json::from_value(list.clone()).ok())
            .unwrap_or_default()
    }
}

/// The options with which a client renews its token.
pub const RENEWAL: [(&str, &str); 3] = [
    ("refresh_token", "refresh-0000000000000001"),
    ("client_id", "app.1"),
    ("client_secret", "secret-0000000000000001"),
];

/// A configuration of named options.
///
/// # Errors
/// Those of [`Config::set`].
pub fn config(options: &[(String, String)]) -> Result<Config, Error> {
    let mut config = Config::new();
    for (name, value) in options {
        config.set(name, value)?;
    }
    Ok(config)
}

/// A client with named options.
///
/// # Errors
/// Those of [`Config::set`] and [`Client::new`].
pub fn client(options: &[(String, String)]) -> Result<Client, Error> {
    Client::new(&config(options)?)
}

/// The resources that this process uses at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in KiB.
    pub resident: i64,
    /// Open descriptors.
    pub descriptors: i64,
    /// Threads.
    pub threads: i64,
}

impl Usage {
    /// Reads them from `/proc`.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn now() -> io::Result<Self> {
        let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
        Ok(Self {
            resident: told("VmRSS:")?,
            descriptors: i64::try_from(descriptors).unwrap_or(i64::MAX),
            threads: told("Threads:")?,
        })
    }
}

/// The most resident memory that this process has had, in KiB.
///
/// # Errors
/// There is no `/proc`.
pub fn peak() -> io::Result<i64> {
    told("VmHWM:")
}

/// A number of `/proc/self/status`.
fn told(name: &str) -> io::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/self/status has no {name}")))
}

/// The worker program, which waits for a signal to begin its work.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: io::BufReader<ChildStdout>,
}

impl Worker {
    /// Starts `program` with these words and options, and waits until it is ready to go.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(program: &mut Command, words: &[&str], options: &[(String, String)]) -> Self {
        let mut child = program
            .args(words)
            .args(
                options
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|fault| panic!("{program:?}: {fault}"));
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("the worker's pipes are gone");
        };
        let mut worker = Self {
            child,
            input,
            output: io::BufReader::new(output),
        };
        assert_eq!(worker.line(), "ready");
        worker
    }

    /// Tells it to begin.
    ///
    /// # Panics
    /// If it has ended.
    pub fn go(&mut self) {
        use io::Write;
        if let Err(fault) = self.input.write_all(b"go\n") {
            panic!("the worker is gone: {fault}");
        }
    }

    /// The next line that it writes.
    ///
    /// # Panics
    /// If it does not write text.
    pub fn line(&mut self) -> String {
        use io::BufRead;
        let mut line = String::new();
        if let Err(fault) = self.output.read_line(&mut line) {
            panic!("the worker's output: {fault}");
        }
        line.trim_end().to_owned()
    }

    /// Its report at the end.
    ///
    /// # Panics
    /// If that is not JSON.
    #[must_use]
    pub fn report(mut self) -> Value {
        let line = self.line();
        let report = serde_json::from_str(&line);
        let status = self.child.wait();
        report.unwrap_or_else(|fault| panic!("{line:?}, {status:?}: {fault}"))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        use rustix::process::{Pid, kill_process};
        if let Err(fault) = kill_process(Pid::from_child(&self.child), signal) {
            panic!("the worker is gone: {fault}");
        }
    }

    /// Kills it without a warning.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(mut self) {
        if let Err(fault) = self.child.kill().and_then(|()| self.child.wait()) {
            panic!("{fault}");
        }
    }
}
