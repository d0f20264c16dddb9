//! Locks between processes, and between two copies of this library in one process.
//!
//! A lock of Windows belongs to the handle of a file, and ends with it. So one file is enough for
//! both.

use super::state_dir::StateDir;
use super::token_store::LockError;
use crate::process::cancellation::CallContext;
use std::fs::{File, TryLockError};
use std::io;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl StateDir {
    /// Locks a name against other processes and other copies of this library. `go_on` is called
    /// from time to time and says whether the lock is still wanted.
    pub(super) fn lock_name(
        &self,
        name: &str,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<FileLock, LockError> {
        let file = self.lock_record(&format!("{name}.lock"), call, go_on)?;
        Ok(FileLock { _file: file })
    }

    /// Locks a file: one handle at a time.
    pub(super) fn lock_record(
        &self,
        name: &str,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<File, LockError> {
        self.lock_file(name, call, go_on, try_lock)
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
