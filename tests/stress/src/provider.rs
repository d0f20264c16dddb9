//! Shared by the stress tests of the provider: portals with a store, and processes that use it.
//!
//! The test itself never uses the provider, and each process of [`Hand`] reads the clock of the
//! store when it opens that. So the clock can be moved on between processes.

#![allow(
    clippy::indexing_slicing,
    reason = "a member that JSON does not have is null"
)]

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::postgres::{Database, Server, Way};
use b24_portal::{Fault, Portal, Settings};
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde_json::{Value, json};

/// Portals, and a directory for a store.
#[derive(Debug)]
pub struct Stage {
    /// The emulator.
    pub portal: Portal,
    /// The directory of the store; nothing else is in it.
    pub directory: PathBuf,
    /// The store, if it is not in the directory.
    pub postgres: Option<Database>,
    /// How processes reach it, if no option says otherwise.
    pub way: Way,
    program: PathBuf,
}

/// The permanent id of a portal; the first one is number 0 here, and 1 in the emulator.
#[must_use]
pub fn member(portal: u64) -> String {
    format!("{:032x}", portal + 1)
}

/// Its host.
#[must_use]
pub fn host(portal: u64) -> String {
    format!("p{}.bitrix24.test", portal + 1)
}

impl Stage {
    /// Starts an emulator with these settings. `program` is the one that works on the store.
    ///
    /// # Panics
    /// If the system has no port, or the emulator does not have these settings.
    #[must_use]
    pub fn new(program: &str, settings: &Value) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!(
            "b24-store-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o755).create(&directory);
        made.unwrap_or_else(|fault| panic!("{}: {fault}", directory.display()));
        let settings = Settings::from_json(settings).unwrap_or_else(|fault| panic!("{fault}"));
        let portal = Portal::start(settings).unwrap_or_else(|fault| panic!("{fault}"));
        Self {
            portal,
            directory,
            postgres: None,
            way: Way::Socket,
            // Another one while this is built again, for long runs.
            program: std::env::var_os("B24_STRESS_PROVIDER")
                .unwrap_or(program.into())
                .into(),
        }
    }

    /// The same with a store in PostgreSQL.
    ///
    /// # Panics
    /// As `new`, or if the server cannot be reached.
    #[must_use]
    pub fn on_postgres(program: &str, settings: &Value, server: Arc<Server>) -> Self {
        let mut stage = Self::new(program, settings);
        stage.postgres = Some(Database::new(server));
        stage
    }

    /// The store in PostgreSQL.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn tables(&self) -> &Database {
        let Some(database) = &self.postgres else {
            panic!("the store is not in PostgreSQL");
        };
        database
    }

    /// The file of the store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.join("b24.db")
    }

    /// The options of a provider; `more` come last.
    #[must_use]
    pub fn options(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let (https, oauth) = (self.portal.https_port(), self.portal.oauth_port());
        let usual = [
            (
                "store",
                match &self.postgres {
                    Some(database) => database.url(self.way),
                    None => format!("sqlite:{}", self.store().display()),
                },
            ),
            ("client_id", "app.1".to_owned()),
            ("client_secret", "secret-0000000000000001".to_owned()),
            ("oauth_url", format!("https://oauth.bitrix24.test:{oauth}")),
            ("ca_file", self.portal.ca_file().display().to_string()),
            (
                "resolve",
                format!("*:{https}:127.0.0.1,*:{oauth}:127.0.0.1"),
            ),
            ("proxy", "none".to_owned()),
            ("rate_limit", "off".to_owned()),
            ("timeout_ms", "5000".to_owned()),
        ];
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let usual = usual
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        usual.chain(more).collect()
    }

    /// The program with these words and options.
    #[must_use]
    pub fn command(&self, words: &[&str], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).args(
            self.options(more)
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        command
    }

    /// A process that does what it is told.
    #[must_use]
    pub fn hand(&self, more: &[(&str, &str)]) -> Hand {
        Hand::start(&mut self.command(&["hand"], more))
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

    /// Has the application installed on portals.
    ///
    /// # Panics
    /// If the provider does not believe it.
    pub fn install(&self, hand: &mut Hand, portals: std::ops::Range<u64>) {
        for portal in portals {
            self.install_one(hand, json!({"host": host(portal)}));
        }
    }

    /// Has the application installed as ordered.
    ///
    /// # Panics
    /// If the provider does not believe it.
    pub fn install_one(&self, hand: &mut Hand, order: Value) {
        let request = self.portal.install(order);
        let request = request.unwrap_or_else(|fault| panic!("{fault}"));
        let kind = hand.done(&json!([
            "receive",
            request["content_type"],
            request["body"]
        ]));
        assert_eq!(kind, "install");
    }

    /// The store, as a database.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(self.store(), flags);
        let database = opened.unwrap_or_else(|fault| panic!("the store: {fault}"));
        let patience = database.busy_timeout(Duration::from_secs(20));
        patience.unwrap_or_else(|fault| panic!("the store: {fault}"));
        database
    }

    /// Moves the clock of the store on. No process may have it open.
    ///
    /// # Panics
    /// If the store has no clock.
    pub fn advance(&self, by: Duration) {
        if let Some(database) = &self.postgres {
            return database.age(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        }
        let changed = self.database().execute(
            "UPDATE b24_meta SET value = substr(value, 1, instr(value, ' '))
                || (CAST(substr(value, instr(value, ' ') + 1) AS INTEGER) + ?1)
             WHERE name = 'clock'",
            [i64::try_from(by.as_millis()).unwrap_or(i64::MAX)],
        );
        assert_eq!(changed, Ok(1), "the clock");
    }

    /// Drains until nothing waits but what is held, moving the clock on in between. Returns what the
    /// drains have sent, and what the last one left.
    ///
    /// # Panics
    /// If something waits for ever, or the store fails.
    pub fn drain_to_the_end(&self, more: &[(&str, &str)]) -> (u64, Value) {
        let mut sent = 0;
        for round in 0..60 {
            let mut hand = self.hand(more);
            let mut last = Value::Null;
            for _ in 0..200 {
                last = hand.done(&json!(["drain", 300]));
                let now =
                    last["sent"].as_u64().unwrap_or(0) + last["refused"].as_u64().unwrap_or(0);
                sent += last["sent"].as_u64().unwrap_or(0);
                if now == 0 {
                    break;
                }
            }
            hand.end();
            if last["waiting"] == 0 {
                return (sent, last);
            }
            let step = if round < 3 { 62 } else { 901 };
            self.advance(Duration::from_secs(step));
        }
        let inspected = self.hand(more).done(&json!(["inspect"]));
        panic!("something waits for ever: {inspected}");
    }

    /// All statuses that a portal has stored for a message.
    #[must_use]
    pub fn history(&self, portal: u64, message: &str) -> Vec<String> {
        let messages = self.portal.messages_of(&host(portal));
        let history = &messages["history"][format!("{}|{message}", super::CODE)];
        serde_json::from_value(history.clone()).unwrap_or_default()
    }

    /// The last of these; empty if there is none.
    #[must_use]
    pub fn status(&self, portal: u64, message: &str) -> String {
        self.history(portal, message).pop().unwrap_or_default()
    }

    /// Every row of every table as text, in order, without what changes by itself: levels of rate
    /// limits.
    ///
    /// # Panics
    /// If the store cannot be read.
    #[must_use]
    pub fn dump(&self) -> Vec<String> {
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut tables = database
                .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")?;
            let tables: Vec<String> = tables
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut all = Vec::new();
            for table in tables {
                let mut rows = database.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
                let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
                let mut rows = rows.query([])?;
                while let Some(row) = rows.next()? {
                    let mut text = table.clone();
                    for (at, name) in names.iter().enumerate() {
                        if name == "level" || name == "level_at" {
                            continue;
                        }
                        let value = match row.get_ref(at)? {
                            ValueRef::Null => "-".to_owned(),
                            ValueRef::Integer(number) => number.to_string(),
                            ValueRef::Real(number) => number.to_string(),
                            ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
                            ValueRef::Blob(bytes) => format!("{bytes:02x?}"),
                        };
                        text.push_str(&[" ", name, "=", &value].concat());
                    }
                    if !text.starts_with("b24_meta name=\"level ") {
                        all.push(text);
                    }
                }
            }
            Ok(all)
        };
        read().unwrap_or_else(|fault| panic!("the store: {fault}"))
    }

    /// A number that a query returns.
    ///
    /// # Panics
    /// If it returns none.
    #[must_use]
    pub fn number(&self, sql: &str) -> i64 {
        if let Some(database) = &self.postgres {
            return database.number(sql);
        }
        let number = self.database().query_row(sql, [], |row| row.get(0));
        number.unwrap_or_else(|fault| panic!("{sql}: {fault}"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Files that are left do not affect other tests.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A process that does with a provider what it is told, one thing after the other.
#[derive(Debug)]
pub struct Hand {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Hand {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let Some(output) = output else {
            panic!("the process has no output");
        };
        Self {
            child,
            input,
            output: BufReader::new(output),
        }
    }

    /// Tells it to do something, which it may not be able to any more.
    pub fn tell(&mut self, order: &Value) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{order}");
        }
    }

    /// What came of it; `None` if the process has ended.
    ///
    /// # Panics
    /// If that is not JSON.
    pub fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line).is_err() || !line.ends_with('\n') {
            return None;
        }
        let answer = serde_json::from_str(&line);
        Some(answer.unwrap_or_else(|fault| panic!("{line:?}: {fault}")))
    }

    /// Does something, and returns `{"ok": …}` or `{"error": …}`.
    ///
    /// # Panics
    /// If the process ends.
    pub fn ask(&mut self, order: &Value) -> Value {
        self.tell(order);
        let answer = self.answer();
        answer.unwrap_or_else(|| panic!("{order}: the process ended, {:?}", self.child.wait()))
    }

    /// Does something that must succeed, and returns its result.
    ///
    /// # Panics
    /// If it does not.
    pub fn done(&mut self, order: &Value) -> Value {
        let mut answer = self.ask(order);
        assert!(answer.get("ok").is_some(), "{order}: {answer}");
        answer["ok"].take()
    }

    /// Does something that must fail, and returns the error.
    ///
    /// # Panics
    /// If it does not.
    pub fn fails(&mut self, order: &Value) -> Value {
        let mut answer = self.ask(order);
        assert!(answer.get("error").is_some(), "{order}: {answer}");
        answer["error"].take()
    }

    /// Lets it end, and waits for that.
    pub fn end(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Kills it without a warning.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.unwrap_or_else(|fault| panic!("{fault}"));
    }

    /// Waits until the process is in a state of `/proc`, such as `T` for stopped.
    ///
    /// # Panics
    /// If that takes longer than 20 s.
    pub fn wait_for_state(&self, state: char) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while Instant::now() < give_up {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
            let stat = stat.unwrap_or_default();
            let now = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            if now == Some(state) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("process {} does not get into state {state}", self.id());
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file to which a process writes what was acknowledged, in a way that a kill cannot undo.
#[derive(Debug)]
pub struct Journal(std::fs::File);

impl Journal {
    /// Opens a journal, at its end.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        file.map(Self)
    }

    /// Adds a line, by a single write.
    ///
    /// # Errors
    /// Those of the system.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())
    }
}
