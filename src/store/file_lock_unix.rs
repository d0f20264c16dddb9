//! Locks between processes, and between two copies of this library in one process.
//!
//! The kernel's record locks belong to a process: they are released when it is killed, and a forked
//! child does not hold them. But two copies of the library in one process (the Python module beside
//! the C library) hold the same ones, and when one of them closes the file, both lose them. So a
//! lock is taken in two steps. First a file with the name of the lock and of this process is locked
//! by `flock`, which separates the copies. Only its holder opens the shared file and takes the
//! record lock. A forked child may keep holding the lock of the first file, which does no harm,
//! because its own file has another name.

use super::state_dir::{StateDir, io_error};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use rustix::fs::{self as sys, FlockOperation};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A lock that is held until this is dropped. A forked child that drops it unlocks nothing.
#[derive(Debug)]
pub(super) struct FileLock {
    process: Arc<Process>,
    shared: Option<File>,
    own: File,
    own_path: PathBuf,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // First the shared file, because only the holder of the other lock may open or close it.
        self.shared = None;
        if self.process.is_current() {
            // Closing is not enough if a forked child has the descriptor too. If either fails,
            // nothing can be done about it, and the lock ends with the process.
            let _ = std::fs::remove_file(&self.own_path);
            let _ = sys::flock(&self.own, FlockOperation::Unlock);
        }
    }
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
        let own_name = format!("{name}.{}.lock", process_name(self)?);
        let own = self.lock_file(&own_name, call, go_on, |file| {
            taken(sys::flock(file, FlockOperation::NonBlockingLockExclusive))
        })?;
        let mut lock = FileLock {
            process: Process::current(),
            shared: None,
            own,
            own_path: self.path.join(&own_name),
        };
        lock.shared = Some(self.lock_record(&format!("{name}.lock"), call, go_on)?);
        Ok(lock)
    }

    /// Takes the record lock of a file: one process at a time.
    pub(super) fn lock_record(
        &self,
        name: &str,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<File, LockError> {
        self.lock_file(name, call, go_on, |file| {
            taken(sys::fcntl_lock(
                file,
                FlockOperation::NonBlockingLockExclusive,
            ))
        })
    }
}

/// Whether a lock was obtained that was tried.
fn taken(tried: rustix::io::Result<()>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// A name that no other process has or had: its id, and when it was started. Copies of this library
/// in one process must use the same name, or they are not separated. So the time is left out only
/// if no copy can find it, because there is no `/proc`.
fn process_name(directory: &StateDir) -> Result<String, StoreError> {
    const STAT: &str = "/proc/self/stat";
    let id = std::process::id();
    let stat = match std::fs::read_to_string(STAT) {
        Ok(stat) => stat,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(id.to_string()),
        Err(e) => {
            let what = format!("cannot be locked, as {STAT} cannot be read");
            return Err(io_error(&directory.path, &what, &e));
        }
    };
    // The 22nd field. The second is the program's name in brackets, which may contain anything.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19));
    match started {
        Some(started) => Ok(format!("{id}-{started}")),
        None => Ok(id.to_string()),
    }
}
