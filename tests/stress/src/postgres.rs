//! A PostgreSQL server for the stress tests, with pgbouncer before it: the one of `tests/postgres`,
//! which ends with this process.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// A server of a test's own.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    pipes: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    names: Value,
}

impl Postgres {
    /// Starts one, with options of `python -m pg_server`.
    ///
    /// # Panics
    /// If it does not start: the message says why.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        let started = Command::new("python3")
            .args(["-m", "pg_server"])
            .args(options)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../postgres"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.unwrap_or_else(|fault| panic!("python3: {fault}"));
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("the server's program has no pipes");
        };
        let mut output = BufReader::new(output);
        let names = answer(&mut output);
        Self {
            child,
            pipes: Mutex::new(Some((input, output))),
            names,
        }
    }

    /// Does what `python -m pg_server` calls so, and waits until it is done.
    ///
    /// # Panics
    /// If it is not done.
    pub fn ask(&self, command: &str) {
        let pipes = self.pipes.lock();
        let mut pipes = pipes.unwrap_or_else(PoisonError::into_inner);
        if let Some((input, output)) = pipes.as_mut() {
            let _ = writeln!(input, "{command}");
            answer(output);
        }
    }

    fn name(&self, name: &str) -> &str {
        self.names
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("the server does not say {name}"))
    }

    /// What the option `store` says, of the administrator, directly or through pgbouncer.
    #[must_use]
    pub fn store(&self, bouncer: bool) -> String {
        format!(
            "postgres://{}@/{}?host={}&port={}",
            self.name("pg_administrator"),
            self.name("pg_database"),
            self.name("pg_socket"),
            self.name(if bouncer {
                "pg_bouncer_port"
            } else {
                "pg_port"
            }),
        )
    }

    /// The directory of the database's files.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        Path::new(self.name("pg_socket")).join("data")
    }

    /// What statements return: a line for each row, with `|` between its values.
    ///
    /// # Panics
    /// If one fails.
    #[must_use]
    pub fn query(&self, statements: &str) -> Vec<String> {
        let done = Command::new("psql")
            .args([
                "--no-psqlrc",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "--set=ON_ERROR_STOP=1",
            ])
            .args(["--host", self.name("pg_socket")])
            .args(["--port", self.name("pg_port")])
            .args(["--username", self.name("pg_administrator")])
            .args(["--dbname", self.name("pg_database")])
            .args(["--command", statements])
            .output();
        let done = done.unwrap_or_else(|fault| panic!("psql: {fault}"));
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{statements}: {told}");
        let rows = String::from_utf8_lossy(&done.stdout);
        rows.lines().map(str::to_owned).collect()
    }

    /// Runs statements.
    ///
    /// # Panics
    /// If one fails.
    pub fn run(&self, statements: &str) {
        let _ = self.query(statements);
    }

    /// Ends all connections, those of pgbouncer too, as an administrator does.
    ///
    /// # Panics
    /// If the server cannot be asked.
    pub fn terminate(&self) {
        self.run(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
    }

    /// Lets a time pass for the store: every time in its tables becomes so much earlier. Nobody may
    /// use it meanwhile.
    ///
    /// # Panics
    /// If there are no tables.
    pub fn advance(&self, by: Duration) {
        let by = by.as_millis();
        // 0 is no time. Levels of rate limits have the time after them.
        let changes = self.query(&format!(
            "SELECT format('UPDATE %I SET %s;', table_name, string_agg(format(
                '%1$I = CASE %1$I WHEN 0 THEN 0 ELSE %1$I - {by} END', column_name), ', '))
             FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name LIKE 'b24\\_%' AND data_type = 'bigint'
                AND column_name ~ '_(at|until)$'
             GROUP BY table_name"
        ));
        assert!(!changes.is_empty(), "the store has no tables");
        self.run(&format!(
            "{} UPDATE b24_meta SET value = split_part(value, ' ', 1) || ' '
                || split_part(value, ' ', 2)::bigint - {by} WHERE name LIKE 'level %'",
            changes.join("\n")
        ));
    }
}

/// An answer of the server's program.
fn answer(output: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    let read = output.read_line(&mut line);
    let answer: Value = serde_json::from_str(&line).unwrap_or_default();
    assert!(
        answer.is_object() && answer.get("error").is_none(),
        "the PostgreSQL server: {line:?} {read:?}"
    );
    answer
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It stops the server and removes the directory when its input ends.
        let pipes = self.pipes.get_mut();
        *pipes.unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.child.wait();
    }
}
