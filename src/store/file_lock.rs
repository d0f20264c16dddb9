//! Locks between processes, and between two copies of this library in one process.
//!
//! The kernel's record locks belong to a process: they vanish when it is killed and no forked child
//! holds them. But two copies of the library in one process (the Python module beside the C
//! library) hold the same ones, and whoever closes the file drops them for both. So each lock
//! comes in two steps: first a file named after the lock and this process, locked by `flock`, which
//! separates the copies; only its holder opens the shared file and takes the record lock. The
//! first file's lock may live on in a forked child, which harms nobody: the child has another name.

use super::state_dir::{StateDir, io_error};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::{CallContext, Interrupt};
use crate::process::per_process::Process;
use rustix::fs::{self as sys, FlockOperation, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A lock that is held until this is dropped. A forked child that drops it unlocks nothing.
#[derive(Debug)]
pub(super) struct FileLock {
    process: Arc<Process>,
    shared: Option<OwnedFd>,
    own: OwnedFd,
    own_path: PathBuf,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // First the shared file: only the holder of the other may open or close it.
        self.shared = None;
        if self.process.is_current() {
            // Closing is not enough where a forked child has the descriptor as well. Neither can
            // fail in a way that something could be done about; the lock ends with the process.
            let _ = std::fs::remove_file(&self.own_path);
            let _ = sys::flock(&self.own, FlockOperation::Unlock);
        }
    }
}

impl StateDir {
    /// Locks a name against other processes and other copies of this library. `go_on` is asked
    /// from time to time whether anybody still wants it.
    pub(super) fn lock_name(
        &self,
        name: &str,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<FileLock, LockError> {
        let own_name = format!("{name}.{}.lock", process_name(self)?);
        let own = self.lock_file(&own_name, call, go_on, |file| {
            sys::flock(file, FlockOperation::NonBlockingLockExclusive)
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
    ) -> Result<OwnedFd, LockError> {
        self.lock_file(name, call, go_on, |file| {
            sys::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
        })
    }

    /// Locks a file that is still the one under its name when it is locked. The kernel has no lock
    /// that is waited for with a time limit, and a thread left waiting could take it for a call
    /// that is gone: so it is tried again at short intervals.
    fn lock_file(
        &self,
        name: &str,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
        try_lock: impl Fn(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Result<OwnedFd, LockError> {
        const FIRST: Duration = Duration::from_micros(500);
        const LAST: Duration = Duration::from_millis(20);
        let mut pause = FIRST;
        loop {
            let file = self
                .open_file(name, OFlags::RDWR | OFlags::CREATE)
                .map_err(|e| self.file_error(name, e))?;
            self.check_owner(name, &file)?;
            match try_lock(&file) {
                Ok(()) if self.is_under_its_name(name, &file)? => return Ok(file),
                // Somebody removed it meanwhile, as holders of the first step's files do.
                Ok(()) => continue,
                Err(Errno::AGAIN | Errno::ACCESS) => {}
                Err(e) => return Err(self.file_error(name, e).into()),
            }
            drop(file);
            if !go_on() {
                return Err(Interrupt::Cancelled.into());
            }
            call.sleep(pause)?;
            pause = (pause * 2).min(LAST);
        }
    }

    fn is_under_its_name(&self, name: &str, file: &OwnedFd) -> Result<bool, StoreError> {
        let error_at = |e| self.file_error(name, e);
        let mine = sys::fstat(file).map_err(error_at)?;
        match sys::stat(self.path.join(name)) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(error_at(e)),
        }
    }
}

/// A name that no other process has or had: its id, and when it was started. Copies of this library
/// in one process must come to the same name, or they are not separated: so without the time only
/// where no copy can have it, as there is no `/proc`.
fn process_name(directory: &StateDir) -> Result<String, StoreError> {
    const STAT: &str = "/proc/self/stat";
    let id = std::process::id();
    let stat = match std::fs::read_to_string(STAT) {
        Ok(stat) => stat,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(id.to_string()),
        Err(e) => {
            let what = format!("cannot be locked, as {STAT} cannot be read");
            return Err(io_error(&directory.path, &what, &e));
        }
    };
    // The 22nd field; the second is the program's name in brackets and may hold anything.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19));
    match started {
        Some(started) => Ok(format!("{id}-{started}")),
        None => Ok(id.to_string()),
    }
}
