//! Locks beside a SQLite store: of single bytes of files.

use super::sqlite_file::{Pauses, beside, id_of, lock_file, system_error};
use super::system::FileId;
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::values::tokens::fingerprint;
use nix::errno::Errno as FcntlErrno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;
use std::path::Path;

/// The one user of the store in this process. Others can see that the process lives.
#[derive(Debug)]
pub(super) struct User {
    file: File,
    id: FileId,
    number: i64,
}

impl User {
    /// Two copies of SQLite in one process would lose each other's locks. So a second copy of this
    /// library is refused.
    pub(super) fn enter(store: &Path) -> Result<Self, StoreError> {
        let file = lock_file(store, "-users")?;
        let id = FileId::of(&file)
            .map_err(|e| system_error(store, "has a lock file that cannot be used", &e))?;
        let user = Self {
            file,
            id,
            number: process_number()
                .map_err(|e| system_error(store, "cannot be locked for this process", &e))?,
        };
        match fcntl(&user.file, FcntlArg::F_OFD_SETLK(&write_lock(user.number))) {
            Ok(_) => Ok(user),
            Err(FcntlErrno::EAGAIN | FcntlErrno::EACCES) => Err(StoreError::of_database(
                store,
                "is open in this process already, by another copy of this library, and the two \
                 would lose each other's locks; use one copy",
            )),
            Err(e) => Err(system_error(store, "cannot be locked", &e.into())),
        }
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Whether others see the lock, because the file has not been replaced.
    pub(super) fn is_seen(&self, store: &Path) -> bool {
        id_of(&beside(store, "-users")) == Some(self.id)
    }

    /// Whether the process with this number has ended.
    pub(super) fn has_ended(&self, _: &Path, number: i64) -> bool {
        if number == self.number || number <= 0 {
            return false;
        }
        let mut lock = write_lock(number);
        let asked = fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock));
        asked.is_ok() && i32::from(lock.l_type) == libc::F_UNLCK
    }
}

/// A lock of one byte.
fn write_lock(at: i64) -> libc::flock {
    bytes(libc::F_WRLCK, at, 1)
}

/// A lock of some bytes, or its end.
fn bytes(kind: i32, at: i64, length: i64) -> libc::flock {
    #[allow(clippy::cast_possible_truncation, reason = "both are small constants")]
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: length,
        l_pid: 0,
    }
}

/// A number that no other process of this machine has or had, containers included.
fn process_number() -> io::Result<i64> {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let stat = match std::fs::read_to_string("/proc/self/stat") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        stat => stat.unwrap_or_default(),
    };
    // The 22nd field is the time of its start. The second is the program's name in brackets, which
    // may contain anything.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19))
        .unwrap_or_default();
    let who = format!("{}\0{}", namespace.display(), std::process::id());
    #[allow(clippy::cast_possible_wrap, reason = "two bits are cut off")]
    let number = (fingerprint(&who, started) >> 2) as i64;
    Ok(number.max(1))
}

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
