//! Who uses a SQLite store: each process locks a byte of one file, by a lock that belongs to the open
//! file and not to the process. Only Linux has such locks.

use super::sqlite_file::{beside, id_of, lock_file, system_error};
use super::sqlite_turn::bytes;
use super::system::FileId;
use super::token_store::StoreError;
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
