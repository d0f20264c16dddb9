//! PostgreSQL, for the processes of any number of machines.
//!
//! Nothing that a transaction pooler breaks is used: no named statement, no setting or lock of a
//! session. Each thread that is in a transaction has a connection of its own; those that are not in
//! use are kept by the process.

use super::database::{
    Access, Database, Parameter, Purpose, Row, Transaction, Value, Work, new_lease_id,
};
use super::postgres_connection::PostgresConnection;
use super::postgres_functions;
use super::postgres_socket::Failure;
use super::postgres_tls::TlsConnector;
use super::schema::{SchemaFault, migrate};
use super::token_store::{LockError, StoreError};
use crate::options::{Durability, Settings};
use crate::process::cancellation::CallContext;
use crate::process::per_process::{PerProcess, Process};
use crate::values::LOG;
use crate::values::postgres_url::PostgresUrl;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

/// So many connections that nobody uses are kept.
const MAX_IDLE: usize = 16;
/// A connection that nobody used for so long is not used again.
const MAX_IDLE_AGE: Duration = Duration::from_secs(55);
/// How often a transaction is begun anew because its connection broke before the commit.
const RECONNECTIONS: usize = 2;
/// A process that stands still inside of a transaction, or whose network does, stops others no longer
/// than this: less than they wait by default. It does the transaction again then.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A store in a database.
pub(super) struct Postgres {
    url: PostgresUrl,
    path: PathBuf,
    durability: Durability,
    tls: TlsConnector,
    /// Its number among those of the process.
    id: u64,
}

/// The connections of one process that nobody uses now. A forked child drops those that it inherits,
/// which closes its copies of the descriptors and sends nothing.
static CONNECTIONS: PerProcess<Connections> = PerProcess::new();

#[derive(Default)]
struct Connections(Mutex<Vec<Idle>>);

struct Idle {
    store: u64,
    connection: PostgresConnection,
    since: Instant,
}

/// Stands for the process in leases.
static NUMBER: PerProcess<Number> = PerProcess::new();

struct Number(i64);

impl Default for Number {
    fn default() -> Self {
        Self(new_lease_id())
    }
}

/// Why a transaction did not come to its end.
enum Stopped {
    /// For good.
    Error(LockError),
    /// It was in the way of another one, and is to be repeated.
    Conflict,
    /// The connection broke before it was committed.
    Broken(StoreError),
}

impl<E: Into<LockError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Checks the database, makes its tables or adds what they lack.
pub(crate) fn open(
    url: &PostgresUrl,
    settings: &Settings,
    process: &Arc<Process>,
    call: &CallContext,
    purpose: Purpose,
) -> Result<Arc<dyn Database>, LockError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let path = PathBuf::from(&url.name);
    let tls = TlsConnector::new(url, settings.ca_file.as_deref())
        .map_err(|fault| StoreError::of_database(&path, fault.message()))?;
    let store = Postgres {
        tls,
        path,
        url: url.clone(),
        durability: settings.durability,
        id: NEXT.fetch_add(1, Ordering::Relaxed),
    };
    store.migrate(&settings.client_id, purpose, process, call)?;
    Ok(Arc::new(store))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    fn take(&self, store: u64) -> Option<PostgresConnection> {
        loop {
            let idle = {
                let mut all = lock(&self.0);
                let at = all.iter().rposition(|idle| idle.store == store)?;
                all.remove(at)
            };
            if idle.since.elapsed() < MAX_IDLE_AGE && idle.connection.is_open() {
                return Some(idle.connection);
            }
        }
    }

    fn give_back(&self, store: u64, connection: PostgresConnection) {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        idle.retain(|idle| now - idle.since < MAX_IDLE_AGE);
        if idle.iter().filter(|idle| idle.store == store).count() < MAX_IDLE {
            idle.push(Idle {
                store,
                connection,
                since: now,
            });
        }
    }

    fn close_all(&self, store: u64) {
        lock(&self.0).retain(|idle| idle.store != store);
    }
}

impl Postgres {
    fn migrate(
        &self,
        client_id: &str,
        purpose: Purpose,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<(), LockError> {
        /// "b24m", which no other program takes for its own locks.
        const LOCK: &str = "SELECT pg_advisory_xact_lock(1647457389)";
        const IS_THERE: &str = "SELECT to_regclass('b24_meta') IS NOT NULL";
        let mut fault = None;
        let mut is_current = false;
        self.transact(process, call, Access::Read, &mut |transaction| {
            let there = transaction.query(IS_THERE, &[])?;
            is_current = there.first().is_some_and(|row| row.integer(0) != 0)
                && super::schema::is_current(transaction)?
                && postgres_functions::are_current(transaction)?;
            Ok(())
        })?;
        // A store that needs nothing is not written, so that it may be a standby for now.
        let access = if is_current {
            Access::Read
        } else {
            Access::Add
        };
        self.transact(process, call, access, &mut |transaction| {
            fault = None;
            if !is_current {
                transaction.query(LOCK, &[])?;
            }
            let there = transaction.query(IS_THERE, &[])?;
            let is_new = there.first().is_none_or(|row| row.integer(0) == 0);
            let mut run = |transaction: &mut dyn Transaction, sql: &'static str| {
                transaction.execute(sql, &[]).map(drop)
            };
            match migrate(transaction, is_new, client_id, purpose, &mut run) {
                Ok(()) if is_current => Ok(()),
                Ok(()) => postgres_functions::make(transaction),
                Err(SchemaFault::Storage(error)) => Err(error),
                Err(other) => {
                    fault = Some(other);
                    Ok(())
                }
            }
        })?;
        match fault {
            None => Ok(()),
            Some(fault) => Err(self.error(&fault.to_string()).into()),
        }
    }

    fn connect(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<PostgresConnection, LockError> {
        PostgresConnection::open(&self.url, &self.tls, process, call)
            .map_err(|failure| self.fault(failure))
    }

    /// Does the work in a transaction of a connection, whose state is not known if this fails.
    fn attempt(
        &self,
        connection: &mut PostgresConnection,
        process: &Arc<Process>,
        call: &CallContext,
        access: Access,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let begun = connection
            .simple(call, &self.begin(call, access))
            .map_err(|failure| self.stopped(failure))?;
        let now = begun.first().and_then(|now| now.parse().ok());
        let mut under_way = UnderWay {
            store: self,
            connection,
            call,
            now: now.ok_or_else(|| self.error("has no clock that can be read"))?,
            process: NUMBER.of(process).0,
            failure: None,
        };
        let done = work(&mut under_way);
        if let Some(stopped) = under_way.failure.take() {
            return Err(stopped);
        }
        done?;
        match connection.simple(call, "COMMIT") {
            Ok(_) => Ok(()),
            // Whether it was committed is not known, unless the server has said that it was not.
            Err(failure) => Err(match self.stopped(failure) {
                Stopped::Broken(error) => Stopped::Error(error.into()),
                stopped => stopped,
            }),
        }
    }

    /// The statements that begin a transaction, the last of which has the server's time in
    /// milliseconds as its first column.
    fn begin(&self, call: &CallContext, access: Access) -> String {
        let begin = match access {
            // All of its statements see the same.
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Access::Write | Access::Add => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        // If this process cannot say that the call has ended, the server ends it.
        let left = call.remaining().as_millis().max(1);
        let pause = call.remaining().min(LONGEST_PAUSE).as_millis().max(1);
        let durability = match access {
            Access::Read => "''",
            Access::Write | Access::Add => self.durable(),
        };
        format!(
            "{begin}; SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
             set_config('statement_timeout', '{left}', true), \
             set_config('idle_in_transaction_session_timeout', '{pause}', true), {durability}"
        )
    }

    /// An expression that makes the commit of its transaction as durable as it is promised, whatever
    /// the server's default is.
    fn durable(&self) -> &'static str {
        match self.durability {
            Durability::Disk => postgres_functions::DURABLE,
            Durability::Process => "set_config('synchronous_commit', 'off', true)",
        }
    }

    fn roll_back(&self, connection: &mut PostgresConnection, call: &CallContext) -> bool {
        match connection.simple(call, "ROLLBACK") {
            Ok(_) => true,
            Err(failure) => {
                log::debug!(target: LOG, "{}: a connection is closed: {failure:?}", self.url.name);
                false
            }
        }
    }

    fn stopped(&self, failure: Failure) -> Stopped {
        let Failure::Postgres(error) = &failure else {
            return match failure {
                Failure::Unreachable(why) => Stopped::Broken(self.unreachable(&why)),
                failure => Stopped::Error(self.fault(failure)),
            };
        };
        match error.code() {
            Some(
                &SqlState::T_R_DEADLOCK_DETECTED
                | &SqlState::T_R_SERIALIZATION_FAILURE
                | &SqlState::LOCK_NOT_AVAILABLE,
            ) => Stopped::Conflict,
            Some(code) if !ends_connection(code) => Stopped::Error(self.fault(failure)),
            _ => match self.fault(failure) {
                LockError::Storage(error) => Stopped::Broken(error),
                interrupted @ LockError::Interrupted(_) => Stopped::Error(interrupted),
            },
        }
    }

    fn unreachable(&self, why: &str) -> StoreError {
        let what = format!(
            "cannot be reached ({why}): check that the server runs and that its address is right"
        );
        self.error(&what).that_passes()
    }

    fn fault(&self, failure: Failure) -> LockError {
        match failure {
            Failure::Interrupted(interrupt) => interrupt.into(),
            Failure::Unreachable(why) => self.unreachable(&why).into(),
            Failure::Postgres(error) => self.sql_error(&error).into(),
        }
    }

    /// What the server's error means for the user. Its detail is not shown, since it may quote
    /// values.
    fn sql_error(&self, error: &tokio_postgres::Error) -> StoreError {
        let Some(told) = error.as_db_error() else {
            return self.connection_error(error);
        };
        let (code, text) = (told.code().code(), told.message());
        let passes = |what: String| self.error(&what).that_passes();
        let class = code.get(..2).unwrap_or_default();
        match (class, code) {
            (_, "57014") => passes(
                "did not answer before the deadline (timeout_ms), as it is too busy or another \
                 process has locked a row for too long: try again"
                    .to_owned(),
            ),
            (_, "25P03") => passes(
                "has ended a transaction of this process, which stood still for too long: try again"
                    .to_owned(),
            ),
            (_, "25006" | "0A000" | "25001") if text.contains("read-only") || text.contains("recovery") => {
                passes(
                    "is read-only, as a standby is: give the address of the primary server, or all of \
                     them with target_session_attrs=read-write"
                        .to_owned(),
                )
            }
            // As pgbouncer says it, also while it only repeats what the server has told before.
            ("08", _) if text.contains("authentication failed") || text.contains("no such user") => {
                self.error(&format!(
                    "refuses this user ({text}): check user, password and database, here and in pgbouncer"
                ))
            }
            ("08", _) if text.contains("no such database") => self.error(&format!(
                "is not there ({text}): create the database, or name it in pgbouncer's [databases]"
            )),
            ("53", "53100") => passes(format!("has no space left on its disk ({text})")),
            ("53", "53300") => passes(format!(
                "accepts no more connections ({text}): raise its max_connections, or put pgbouncer \
                 in front of it"
            )),
            ("08" | "40" | "53" | "55" | "57" | "58" | "XX", _) => {
                passes(format!("failed ({text}, SQLSTATE {code}): try again"))
            }
            ("28", _) => self.error(&format!(
                "refuses this user ({text}): check user, password and the server's pg_hba.conf"
            )),
            ("3D", _) => self.error(&format!("is not there ({text}): create the database")),
            ("3F", _) => self.error(&format!(
                "has no schema for the tables ({text}): create one that is in the search_path of \
                 this user"
            )),
            (_, "42501") => self.error(&format!(
                "does not let this user do that ({text}): let it own the schema of the tables, or \
                 grant it what docs/postgresql.md lists"
            )),
            _ => self.error(&format!("failed ({text}, SQLSTATE {code})")),
        }
    }

    /// The connection, TLS or what came over it.
    fn connection_error(&self, error: &tokio_postgres::Error) -> StoreError {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        let mut innermost = error.to_string();
        while let Some(inner) = cause {
            if let Some(fault) = inner.downcast_ref::<rustls::Error>() {
                return self.tls_error(fault);
            }
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && let Some(fault) = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>())
            {
                return self.tls_error(fault);
            }
            innermost = inner.to_string();
            cause = inner.source();
        }
        if innermost.contains("does not support TLS") {
            return self.error(
                "has a server that does not offer TLS, which sslmode asks for: set ssl = on there",
            );
        }
        if innermost.contains("password missing") {
            return self
                .error("has no password, which the server asks for: put it into the address");
        }
        self.error(&format!("does not answer ({innermost}): try again"))
            .that_passes()
    }

    fn tls_error(&self, fault: &rustls::Error) -> StoreError {
        let what = format!(
            "has a server whose certificate is not accepted ({fault}): check sslrootcert and the \
             name of the host"
        );
        self.error(&what)
    }
}

/// Whether the server closes the connection after this error.
fn ends_connection(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03")
}

impl Database for Postgres {
    fn path(&self) -> &Path {
        &self.path
    }

    fn transact(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
        access: Access,
        work: &mut Work<'_>,
    ) -> Result<(), LockError> {
        self.with_connection(process, call, |connection| {
            self.attempt(connection, process, call, access, &mut *work)
        })
    }

    fn alone(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
        expression: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Option<Result<(), LockError>> {
        // If this process does not wait any more, the server waits no longer for a lock either. A
        // limit for the whole statement would be that of the next one only.
        let left = call.remaining().as_millis().max(1);
        let commit = match self.durability {
            Durability::Disk => "on",
            Durability::Process => "off",
        };
        let arguments = format!("'{commit}', '{left}'");
        let sql = format!("SELECT {}", expression.replace("/*COMMIT*/", &arguments));
        Some(self.with_connection(process, call, |connection| {
            connection
                .run(call, |client| execute(client, &sql, parameters))
                .map(drop)
                .map_err(|failure| self.stopped(failure))
        }))
    }

    fn has_ended(&self, _: i64) -> bool {
        // It may be on another machine: its leases end by time.
        false
    }
}

impl Postgres {
    /// Does something with a connection, and again if it was in the way of others or if the
    /// connection broke before it was done.
    fn with_connection(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
        mut attempt: impl FnMut(&mut PostgresConnection) -> Result<(), Stopped>,
    ) -> Result<(), LockError> {
        /// The longest pause after a conflict, in milliseconds.
        const PAUSE: u64 = 20;
        let connections = CONNECTIONS.of(process);
        let mut reconnections = 0;
        loop {
            call.check()?;
            let mut connection = match connections.take(self.id) {
                Some(connection) => connection,
                None => self.connect(process, call)?,
            };
            match attempt(&mut connection) {
                Ok(()) => {
                    connections.give_back(self.id, connection);
                    return Ok(());
                }
                Err(Stopped::Error(LockError::Interrupted(interrupt))) => {
                    return Err(interrupt.into());
                }
                Err(Stopped::Error(error)) => {
                    if self.roll_back(&mut connection, call) {
                        connections.give_back(self.id, connection);
                    }
                    return Err(error);
                }
                Err(Stopped::Conflict) => {
                    if self.roll_back(&mut connection, call) {
                        connections.give_back(self.id, connection);
                    }
                    call.sleep(Duration::from_millis(fastrand::u64(1..=PAUSE)))?;
                }
                Err(Stopped::Broken(error)) => {
                    // Others of the same age are probably broken too.
                    connections.close_all(self.id);
                    reconnections += 1;
                    if reconnections > RECONNECTIONS {
                        return Err(error.into());
                    }
                }
            }
        }
    }
}

/// Runs a statement with parameters. Returns how many rows it changed.
async fn execute(
    client: &Client,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<u64, tokio_postgres::Error> {
    let typed: Vec<_> = parameters.iter().map(typed).collect();
    client.execute_typed(sql, &typed).await
}

/// The outcomes of statements that are sent one after the other, without waiting for the answers in
/// between.
async fn all<T, F>(statements: impl Iterator<Item = F>) -> Result<Vec<T>, tokio_postgres::Error>
where
    F: Future<Output = Result<T, tokio_postgres::Error>>,
{
    let mut answers: VecDeque<_> = statements.map(Box::pin).collect();
    // Each is sent when it is polled first.
    let mut early = Vec::with_capacity(answers.len());
    poll_fn(|context| {
        for answer in &mut answers {
            early.push(answer.as_mut().poll(context));
        }
        Poll::Ready(())
    })
    .await;
    let mut outcomes = Vec::with_capacity(early.len());
    for (answer, early) in answers.into_iter().zip(early) {
        outcomes.push(match early {
            Poll::Ready(outcome) => outcome?,
            Poll::Pending => answer.await?,
        });
    }
    Ok(outcomes)
}

/// A parameter as `tokio-postgres` takes it, with its type.
fn typed<'a>(parameter: &'a Parameter<'a>) -> (&'a (dyn ToSql + Sync), Type) {
    match parameter {
        // The server finds out what it has to be.
        Parameter::Null => (&None::<&str>, Type::UNKNOWN),
        Parameter::Integer(value) => (value, Type::INT8),
        Parameter::Text(value) => (value, Type::TEXT),
        Parameter::Blob(value) => (value, Type::BYTEA),
    }
}

struct UnderWay<'a> {
    store: &'a Postgres,
    connection: &'a mut PostgresConnection,
    call: &'a CallContext,
    now: i64,
    process: i64,
    /// What stopped it, which an error of the store cannot say.
    failure: Option<Stopped>,
}

impl UnderWay<'_> {
    /// Keeps why a statement failed. After that the transaction cannot go on.
    fn note(&mut self, failure: Failure) -> StoreError {
        let stopped = self.store.stopped(failure);
        let error = match &stopped {
            Stopped::Broken(error) | Stopped::Error(LockError::Storage(error)) => error.clone(),
            _ => self.store.error("was interrupted").that_passes(),
        };
        self.failure.get_or_insert(stopped);
        error
    }
}

impl Transaction for UnderWay<'_> {
    fn execute(
        &mut self,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<usize, StoreError> {
        let sql = postgres_functions::translated(sql);
        let changed = self
            .connection
            .run(self.call, |client| execute(client, &sql, parameters))
            .map_err(|failure| self.note(failure))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    fn query(
        &mut self,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let sql = postgres_functions::translated(sql);
        let rows = self
            .connection
            .run(self.call, |client| async move {
                let typed: Vec<_> = parameters.iter().map(typed).collect();
                client.query_typed(&sql, &typed).await
            })
            .map_err(|failure| self.note(failure))?;
        rows.iter()
            .map(|row| self.store.read(row))
            .collect::<Result<_, _>>()
    }

    fn execute_many(
        &mut self,
        sql: &'static str,
        rows: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<usize>, StoreError> {
        let sql = postgres_functions::translated(sql);
        let changed = self
            .connection
            .run(self.call, |client| {
                all(rows.iter().map(|row| execute(client, &sql, row)))
            })
            .map_err(|failure| self.note(failure))?;
        Ok(changed
            .into_iter()
            .map(|changed| usize::try_from(changed).unwrap_or(usize::MAX))
            .collect())
    }

    fn lock(&mut self, name: &str) -> Result<(), StoreError> {
        self.query(
            "SELECT pg_advisory_xact_lock(1647457389, hashtext($1))",
            &[name.into()],
        )
        .map(drop)
    }

    fn may_sleep(&mut self, member_id: &str) -> Result<bool, StoreError> {
        let rows = self.query(postgres_functions::NOBODY_REPORTS, &[member_id.into()])?;
        Ok(rows.first().is_some_and(|row| row.integer(0) != 0))
    }

    fn has_functions(&self) -> bool {
        true
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn process(&self) -> i64 {
        self.process
    }
}

impl Postgres {
    fn read(&self, row: &tokio_postgres::Row) -> Result<Row, StoreError> {
        let mut values = Vec::with_capacity(row.len());
        for (at, column) in row.columns().iter().enumerate() {
            let value = match *column.type_() {
                Type::INT8 => row
                    .try_get::<_, Option<i64>>(at)
                    .map(|n| n.map(Value::Integer)),
                Type::INT4 => row
                    .try_get::<_, Option<i32>>(at)
                    .map(|n| n.map(|n| Value::Integer(n.into()))),
                Type::BOOL => row
                    .try_get::<_, Option<bool>>(at)
                    .map(|b| b.map(|b| Value::Integer(b.into()))),
                Type::TEXT => row
                    .try_get::<_, Option<String>>(at)
                    .map(|t| t.map(Value::Text)),
                Type::BYTEA => row
                    .try_get::<_, Option<Vec<u8>>>(at)
                    .map(|b| b.map(Value::Blob)),
                // The result of a function that has none.
                _ => Ok(None),
            };
            let value = value.map_err(|e| self.error(&format!("cannot be read: {e}")))?;
            values.push(value.unwrap_or(Value::Null));
        }
        Ok(Row(values))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let process = Process::current();
        let _active = process.enter();
        CONNECTIONS.of(&process).close_all(self.id);
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.name)
    }
}
