//! What a provider's store asks of a database: transactions with statements in SQL that SQLite and
//! PostgreSQL have in common. Parameters are `$1`, `$2` and so on. `/*LOCKED*/` after a query keeps
//! others from changing its rows until the transaction ends; `/*FREE*/` does so too, and leaves out
//! rows that somebody else is changing.

use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A parameter of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Parameter<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl From<i64> for Parameter<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl<'a> From<&'a str> for Parameter<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Parameter<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Parameter<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Parameter<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<'a, T: Into<Parameter<'a>>> From<Option<T>> for Parameter<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement, each converted.
macro_rules! parameters {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::database::Parameter::from($value)),*]
    };
}
pub(crate) use parameters;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row of a result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    /// A number; 0 for what is none.
    pub(crate) fn integer(&self, column: usize) -> i64 {
        self.integer_or_none(column).unwrap_or_default()
    }

    pub(crate) fn integer_or_none(&self, column: usize) -> Option<i64> {
        match self.0.get(column) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// A text; empty for what is none.
    pub(crate) fn text(&self, column: usize) -> &str {
        match self.0.get(column) {
            Some(Value::Text(value)) => value,
            _ => "",
        }
    }

    pub(crate) fn blob(&self, column: usize) -> Option<&[u8]> {
        match self.0.get(column) {
            Some(Value::Blob(value)) => Some(value),
            _ => None,
        }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Use,
    /// To move what it holds, or to be filled with that.
    Move,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Of what is in the store already. It is allowed when the disk is nearly full.
    Write,
    /// Of something new, for which there must be room.
    Add,
}

/// A transaction under way. It is rolled back if its work fails.
pub(crate) trait Transaction {
    /// Runs a statement, and returns how many rows it changed.
    fn execute(
        &mut self,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<usize, StoreError>;

    /// Runs a statement once with each of these parameters, and returns how many rows each changed.
    fn execute_many(
        &mut self,
        sql: &'static str,
        rows: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<usize>, StoreError> {
        rows.iter().map(|row| self.execute(sql, row)).collect()
    }

    /// Runs a query, and returns its rows.
    fn query(
        &mut self,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError>;

    /// Makes others that lock the same name wait until this transaction ends, for rows that may not be
    /// there yet. Where transactions that write follow each other, that is so anyway.
    fn lock(&mut self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether nobody is storing a receipt of this portal, so that its lane may go to sleep if there is
    /// none. If so, whoever stores one next waits until this transaction ends, and then wakes the lane.
    fn may_sleep(&mut self, _member_id: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Whether the database has the function `b24_put`, which does what [`put`](super::receipts::put)
    /// does.
    fn has_functions(&self) -> bool {
        false
    }

    /// The time by the clock of the store, in milliseconds, about those since 1970. Everybody who
    /// uses the store has the same one, and it does not jump while the machine runs.
    fn now(&self) -> i64;

    /// Stands for this process in leases.
    fn process(&self) -> i64;
}

/// The work of a transaction.
pub(crate) type Work<'w> = dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError> + 'w;

/// A database.
pub(crate) trait Database: fmt::Debug + Send + Sync {
    /// Where it is, which tells it from others.
    fn path(&self) -> &Path;

    /// Does the work in a transaction. When this returns `Ok`, it was committed once, and is kept as
    /// the option `durability` says. The work is repeated if another transaction was in its way.
    fn transact(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
        access: Access,
        work: &mut Work<'_>,
    ) -> Result<(), LockError>;

    /// Evaluates an expression with functions of the database, as a transaction of its own and in one
    /// statement. In it, `/*COMMIT*/` stands for the arguments that say how durable that is to be, and
    /// how long it may wait. None if the database has no functions.
    fn alone(
        &self,
        _process: &Arc<Process>,
        _call: &CallContext,
        _expression: &'static str,
        _parameters: &[Parameter<'_>],
    ) -> Option<Result<(), LockError>> {
        None
    }

    /// Whether a process that has leases is known to have ended.
    fn has_ended(&self, process: i64) -> bool;

    /// An error of the content of the store.
    fn error(&self, what: &str) -> StoreError {
        StoreError::of_database(self.path(), what)
    }
}

impl dyn Database {
    /// [`Database::transact`] with a result.
    pub(crate) fn run<T>(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
        access: Access,
        mut work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, LockError> {
        let mut result = None;
        self.transact(process, call, access, &mut |transaction| {
            result = Some(work(transaction)?);
            Ok(())
        })?;
        result.ok_or_else(|| LockError::Storage(self.error("did not do its work")))
    }
}

/// A number that no other lease has.
pub(super) fn new_lease_id() -> i64 {
    fastrand::i64(1..)
}
