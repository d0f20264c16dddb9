//! Real PostgreSQL servers for the stress tests of the provider, as `tests/postgres` starts them for
//! those in Python. Each test has a role there, and a schema of the same name.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

/// What roles have as their password where the server asks for one.
const PASSWORD: &str = "password-0000000001";

/// PostgreSQL with a pgbouncer before it. It ends with this, or with the process.
#[derive(Debug)]
pub struct Server {
    link: Mutex<Link>,
    /// What `python -m pg_server` says of it.
    names: Value,
    /// Whether its standby has taken over.
    is_standby: AtomicBool,
}

/// The process that starts and stops it.
#[derive(Debug)]
struct Link {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|fault| panic!("the PostgreSQL server: {read:?}, {fault}"));
        if let Some(error) = answer.get("error") {
            panic!("the PostgreSQL server: {error}");
        }
        answer
    }
}

impl Server {
    /// The one of all tests that do it no harm.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Server>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(Self::start))
    }

    /// One that nobody else uses.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start() -> Arc<Self> {
        let mut command = Command::new("python3");
        command
            .args(["-m", "pg_server"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../postgres"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        let input = child.stdin.take();
        let Some(output) = child.stdout.take() else {
            panic!("the process has no output");
        };
        let mut link = Link {
            child,
            input,
            output: BufReader::new(output),
        };
        let names = link.hear();
        let link = Mutex::new(link);
        Arc::new(Self {
            link,
            names,
            is_standby: AtomicBool::new(false),
        })
    }

    /// Does what `python -m pg_server` calls so, and returns when it is done.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn ask(&self, command: &str) {
        let mut link = lock(&self.link);
        let told = link
            .input
            .as_mut()
            .map(|input| writeln!(input, "{command}"));
        assert!(matches!(told, Some(Ok(()))), "{command}: {told:?}");
        link.hear();
    }

    /// Kills it, and lets its standby take over. Statements go there from then on.
    pub fn fail_over(&self) {
        self.ask("kill");
        self.ask("promote");
        self.is_standby.store(true, Ordering::Relaxed);
    }

    fn name(&self, name: &str) -> &str {
        let name = self.names.get(name).and_then(Value::as_str);
        name.unwrap_or_default()
    }

    /// Its port on this machine.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.name("pg_port").parse();
        port.unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// The directory of its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        PathBuf::from(self.name("pg_socket")).join("data")
    }

    /// Runs statements as the administrator. Returns the rows of the last one, without headings.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_as(self.name("pg_administrator"), sql)
            .unwrap_or_else(|fault| panic!("{sql}: {fault}"))
    }

    fn sql_as(&self, user: &str, sql: &str) -> Result<String, String> {
        let port = if self.is_standby.load(Ordering::Relaxed) {
            "pg_standby_port"
        } else {
            "pg_port"
        };
        let ran = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", self.name("pg_socket"), "-p", self.name(port)])
            .args(["-U", user, "-d", self.name("pg_database"), "-c", sql])
            .env("PGAPPNAME", "b24-stress")
            .output()
            .map_err(|fault| format!("psql: {fault}"))?;
        if ran.status.success() {
            let rows = String::from_utf8_lossy(&ran.stdout);
            return Ok(rows.trim_end().to_owned());
        }
        Err(String::from_utf8_lossy(&ran.stderr).into_owned())
    }

    /// Has these settings from now on, each as `name = 'value'`.
    pub fn set(&self, settings: &[&str]) {
        for setting in settings {
            // It refuses to run in a transaction, so each is a command of its own.
            self.sql(&format!("ALTER SYSTEM SET {setting}"));
        }
        self.sql("SELECT pg_reload_conf()");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut link = lock(&self.link);
        link.input = None;
        // Its directory is removed when it has ended.
        let _ = link.child.wait();
    }
}

/// How a process reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over its socket.
    Socket,
    /// Over pgbouncer in transaction mode.
    Bouncer,
    /// Over the socket of the primary server, whichever of the two that is.
    Primary,
    /// Over TCP, at this port of this machine.
    Port(u16),
}

/// A role, and the schema of the same name.
#[derive(Debug)]
pub struct Database {
    /// Where it is.
    pub server: Arc<Server>,
    /// Its name.
    pub role: String,
}

impl Database {
    /// Makes one.
    ///
    /// # Panics
    /// If the server cannot be reached.
    #[must_use]
    pub fn new(server: Arc<Server>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let role = format!("stress{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA AUTHORIZATION {role}"
        ));
        Self { server, role }
    }

    /// What the option `store` says.
    #[must_use]
    pub fn url(&self, way: Way) -> String {
        let (role, server) = (&self.role, &self.server);
        let (name, socket) = (server.name("pg_database"), server.name("pg_socket"));
        let over_socket = |port| format!("postgres://{role}@/{name}?host={socket}&port={port}");
        match way {
            Way::Socket => over_socket(server.name("pg_port")),
            Way::Bouncer => over_socket(server.name("pg_bouncer_port")),
            Way::Primary => {
                let ports = [server.name("pg_port"), server.name("pg_standby_port")].join(",");
                let both = format!("{socket},{socket}");
                format!(
                    "postgres://{role}@/{name}?host={both}&port={ports}&target_session_attrs=read-write"
                )
            }
            Way::Port(port) => format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/{name}"),
        }
    }

    /// Runs statements as the role. Returns the rows of the last one.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql)
            .unwrap_or_else(|fault| panic!("{sql}: {fault}"))
    }

    /// The same when it may fail.
    ///
    /// # Errors
    /// The server's message.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.server.sql_as(&self.role, sql)
    }

    /// A number that a query returns.
    ///
    /// # Panics
    /// If it returns none.
    #[must_use]
    pub fn number(&self, sql: &str) -> i64 {
        let number = self.sql(sql).parse();
        number.unwrap_or_else(|fault| panic!("{sql}: {fault}"))
    }

    /// How many connections of the role there are for which a condition holds, without those of
    /// `psql`.
    #[must_use]
    pub fn connections(&self, condition: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'
                AND application_name <> 'b24-stress' AND ({condition})",
            self.role
        ))
    }

    /// Makes all that is in the store so much older. Times of events stay, as the operators that
    /// report them have clocks of their own.
    pub fn age(&self, milliseconds: i64) {
        let mut all = Vec::new();
        for (table, columns) in [
            (
                "b24_receipt",
                &["arrived_at", "due_at", "settled_at", "unknown_until"][..],
            ),
            ("b24_reference", &["tracked_at", "arrived_at"]),
            (
                "b24_lane",
                &[
                    "next_at",
                    "wait_until",
                    "oldest_at",
                    "partial_at",
                    "level_at",
                    "lease_until",
                ],
            ),
            (
                "b24_installation",
                &["pair_at", "removed_at", "lease_until"],
            ),
            ("b24_delivery", &["arrived_at", "lease_until"]),
            ("b24_delivered", &["arrived_at"]),
        ] {
            let changes: Vec<String> = columns
                .iter()
                // None and 0 are no times.
                .map(|name| {
                    format!(
                        "{name} = CASE WHEN {name} > 0 THEN {name} - {milliseconds} ELSE {name} END"
                    )
                })
                .collect();
            all.push(format!("UPDATE {table} SET {}", changes.join(", ")));
        }
        self.sql(&all.join("; "));
    }
}

/// A network between a process and a server, which can be frozen: then nothing comes through and
/// nobody is told.
#[derive(Debug)]
pub struct Network {
    /// The port on this machine that leads to the server.
    pub port: u16,
    state: Arc<NetworkState>,
}

#[derive(Debug, Default)]
struct NetworkState {
    frozen: Mutex<bool>,
    /// So many commits of the server still come through before it is frozen.
    commits: Mutex<Option<u32>>,
    thawed: Condvar,
    ended: AtomicBool,
}

impl NetworkState {
    fn wait_until_thawed(&self) {
        let frozen = lock(&self.frozen);
        let waited = self.thawed.wait_while(frozen, |frozen| *frozen);
        drop(waited);
    }

    /// Freezes it if this answer says that enough was committed.
    fn count_commit(&self, answer: &[u8]) {
        const COMMITTED: &[u8] = b"COMMIT\0";
        if !answer
            .windows(COMMITTED.len())
            .any(|part| part == COMMITTED)
        {
            return;
        }
        let mut commits = lock(&self.commits);
        match *commits {
            Some(0) => {
                *commits = None;
                *lock(&self.frozen) = true;
            }
            Some(left) => *commits = Some(left - 1),
            None => {}
        }
    }

    /// Hands on what comes until one side has ended. Whatever is under way while it is frozen is
    /// handed on later.
    fn hand_on(&self, mut from: &TcpStream, mut to: &TcpStream, are_answers: bool) {
        use std::io::Read;
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            let written = bytes.get(..read).filter(|read| !read.is_empty());
            if let Some(answer) = written.filter(|_| are_answers) {
                self.count_commit(answer);
            }
            self.wait_until_thawed();
            if written.is_none_or(|read| to.write_all(read).is_err()) {
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

impl Network {
    /// One that leads to a port of this machine.
    ///
    /// # Panics
    /// If the system has no port.
    #[must_use]
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0));
        let listener = listener.unwrap_or_else(|fault| panic!("{fault}"));
        let port = listener.local_addr().map(|address| address.port());
        let port = port.unwrap_or_else(|fault| panic!("{fault}"));
        let state = Arc::new(NetworkState::default());
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let state = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    state.wait_until_thawed();
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                        std::thread::scope(|scope| {
                            scope.spawn(|| state.hand_on(&client, &server, false));
                            state.hand_on(&server, &client, true);
                        });
                    }
                });
            }
        });
        Self { port, state }
    }

    /// Nothing comes through any more.
    pub fn freeze(&self) {
        *lock(&self.state.commits) = None;
        *lock(&self.state.frozen) = true;
    }

    /// The same after so many further commits: the answer to the next one is on its way for as long.
    /// The connection must not be encrypted.
    pub fn freeze_after(&self, commits: u32) {
        *lock(&self.state.commits) = Some(commits);
    }

    /// Whether nothing comes through.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        *lock(&self.state.frozen)
    }

    /// All goes on.
    pub fn thaw(&self) {
        *lock(&self.state.frozen) = false;
        self.state.thawed.notify_all();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        self.thaw();
        // So that its thread looks.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
