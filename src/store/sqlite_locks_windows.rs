//! Locks beside a SQLite store: of whole files, since std has none of single bytes.

use super::sqlite_file::{Pauses, beside, lock_file, system_error};
use super::system::{Use, open};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::values::tokens::fingerprint;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The one user of the store in this process: it has locked a file whose name has its number. Others can
/// see that the process lives.
#[derive(Debug)]
pub(super) struct User {
    /// None while it is being dropped.
    file: Option<File>,
    path: PathBuf,
    number: i64,
}

/// How the names of these files go on after that of the store.
const USER: &str = "-user-";

impl User {
    /// A second copy of this library is refused, as on other systems: two copies of SQLite in one
    /// process do not know of each other's locks everywhere.
    pub(super) fn enter(store: &Path) -> Result<Self, StoreError> {
        let failed = |e: io::Error| system_error(store, "cannot be locked for this process", &e);
        remove_left(store);
        let number = process_number().map_err(failed)?;
        let path = beside(store, &format!("{USER}{number:x}"));
        let file = open(&path, Use::Lock).map_err(failed)?;
        match try_lock(&file) {
            Ok(true) => Ok(Self {
                file: Some(file),
                path,
                number,
            }),
            Ok(false) => Err(StoreError::of_database(
                store,
                "is open in this process already, by another copy of this library; use one copy",
            )),
            Err(e) => Err(failed(e)),
        }
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Whether others see the lock. The file cannot be removed while it is open.
    #[allow(clippy::unused_self, reason = "on other systems it can be replaced")]
    pub(super) fn is_seen(&self, _: &Path) -> bool {
        true
    }

    /// Whether the process with this number has ended.
    pub(super) fn has_ended(&self, store: &Path, number: i64) -> bool {
        if number == self.number || number <= 0 {
            return false;
        }
        let path = beside(store, &format!("{USER}{number:x}"));
        match File::open(path) {
            Ok(file) => matches!(try_lock(&file), Ok(true)),
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.file = None;
        // If it cannot be removed, the next process does it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the files of processes that have ended. The file of a process that lives is open, and so
/// cannot be removed.
fn remove_left(store: &Path) {
    let name = beside(store, USER);
    let (Some(directory), Some(name)) = (store.parent(), name.file_name()) else {
        return;
    };
    let name = name.to_string_lossy();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A number that no other process of this machine has or had.
fn process_number() -> io::Result<i64> {
    let failed = |e: winsafe::co::ERROR| io::Error::from_raw_os_error(e.raw().cast_signed());
    let (started, ..) = winsafe::HPROCESS::GetCurrentProcess()
        .GetProcessTimes()
        .map_err(failed)?;
    let started = format!("{}.{}", started.dwHighDateTime, started.dwLowDateTime);
    let number = fingerprint(&std::process::id().to_string(), &started) >> 2;
    Ok(number.cast_signed().max(1))
}

/// A lock that one process at a time has while it writes. SQLite excludes the others anyway; this is so
/// that they do not disturb it. Who comes next is by chance.
#[derive(Debug)]
pub(super) struct Turnstile(File);

impl Turnstile {
    pub(super) fn open(store: &Path) -> Result<Self, StoreError> {
        lock_file(store, "-turn").map(Self)
    }

    /// Waits for the lock.
    pub(super) fn pass(&self, store: &Path, call: &CallContext) -> Result<Passed<'_>, LockError> {
        let mut pauses = Pauses::new();
        while !try_lock(&self.0).map_err(|e| system_error(store, "cannot be locked", &e))? {
            pauses.next(call)?;
        }
        Ok(Passed(self))
    }
}

/// The lock of a turnstile, until this is dropped.
#[derive(Debug)]
pub(super) struct Passed<'a>(&'a Turnstile);

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        // If this fails, the lock ends with the process, and the others go on without it.
        let _ = self.0.0.unlock();
    }
}

/// Whether the lock was obtained.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
