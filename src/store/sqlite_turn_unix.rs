//! The turn to write a SQLite store: locks of single bytes of a file.

use super::sqlite_file::{Pauses, lock_file, system_error};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use nix::errno::Errno as FcntlErrno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::path::Path;

/// A lock that one process at a time has while it writes, and a queue for it. SQLite excludes the others
/// anyway; this is so that they do not disturb it, and each waits only for those who came before it.
///
/// Whoever has the lock of byte 0 writes. The bytes behind it are places in the queue: who waits has
/// one of them, and goes on to the next lower one as soon as that is free. All these locks end with
/// their process.
#[derive(Debug)]
pub(super) struct Turnstile(File);

/// With more processes than this, the order in which the last ones come to a place is by chance.
const PLACES: i64 = 16;

impl Turnstile {
    pub(super) fn open(store: &Path) -> Result<Self, StoreError> {
        lock_file(store, "-turn").map(Self)
    }

    /// Waits for the lock.
    pub(super) fn pass(&self, store: &Path, call: &CallContext) -> Result<Passed<'_>, LockError> {
        let failed = |e: FcntlErrno| system_error(store, "cannot be locked", &e.into());
        if self.try_lock(0, PLACES + 1).map_err(failed)? {
            // Nobody writes or waits. The queue is for others.
            self.unlock(1, PLACES);
            return Ok(Passed { of: self, at: 0 });
        }
        let mut pauses = Pauses::new();
        while !self.try_lock(PLACES, 1).map_err(failed)? {
            pauses.next(call)?;
        }
        let mut passed = Passed {
            of: self,
            at: PLACES,
        };
        while passed.at > 0 {
            while !self.try_lock(passed.at - 1, 1).map_err(failed)? {
                pauses.next_at(call, passed.at)?;
            }
            self.unlock(passed.at, 1);
            passed.at -= 1;
        }
        Ok(passed)
    }

    fn try_lock(&self, at: i64, length: i64) -> Result<bool, FcntlErrno> {
        let lock = bytes(libc::F_WRLCK, at, length);
        match fcntl(&self.0, FcntlArg::F_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(FcntlErrno::EAGAIN | FcntlErrno::EACCES) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// If this fails, the lock ends with the process, and the others go on without it.
    fn unlock(&self, at: i64, length: i64) {
        let lock = bytes(libc::F_UNLCK, at, length);
        let _ = fcntl(&self.0, FcntlArg::F_SETLK(&lock));
    }
}

/// The lock of a turnstile, or a place in its queue, until this is dropped.
#[derive(Debug)]
pub(super) struct Passed<'a> {
    of: &'a Turnstile,
    at: i64,
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        self.of.unlock(self.at, 1);
    }
}

/// A lock of some bytes, or its end.
pub(super) fn bytes(kind: impl Into<i32>, at: i64, length: i64) -> libc::flock {
    #[allow(clippy::cast_possible_truncation, reason = "both are small constants")]
    libc::flock {
        l_type: kind.into() as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: length,
        l_pid: 0,
    }
}
