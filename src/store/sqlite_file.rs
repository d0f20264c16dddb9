//! The file of a SQLite store: who may use it, that it is still the same one, and locks beside it.
//!
//! SQLite's own locks are lost when any descriptor of the file is closed in the process. So nothing
//! here opens the file itself: it is looked at by its name.

use super::state_dir::{network_of, passes};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::{CallContext, Event, Interrupt};
use crate::values::tokens::fingerprint;
use nix::errno::Errno as FcntlErrno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs as sys;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So much of the disk stays free for sending what is in the store, and for others.
const MIN_FREE: u64 = 64 << 20;

/// A file that may be replaced by another of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// The path of a file beside the store.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An error that the system reported.
pub(super) fn system_error(path: &Path, what: &str, error: &io::Error) -> StoreError {
    let store_error = StoreError::of_database(path, format!("{what}: {error}"));
    match Errno::from_io_error(error) {
        Some(errno) if passes(errno) => store_error.that_passes(),
        _ => store_error,
    }
}

/// Makes an empty file if there is none, which only this user may use. Only one process at a time may
/// call this.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let failed = |e: &io::Error| system_error(path, "cannot be made", e);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    // Under another name first. If another thread has made the file in the meantime, it has it open
    // perhaps, and its descriptor must not be the one that is closed here.
    let made = beside(path, &format!("-new-{}", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&made);
    drop(file.map_err(|e| failed(&e))?);
    // What a file that was removed has left behind would be taken for a part of the new one.
    for left in ["-wal", "-shm"].map(|suffix| beside(path, suffix)) {
        match std::fs::remove_file(left) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&e)),
            _ => {}
        }
    }
    let linked = std::fs::hard_link(&made, path);
    // If this fails, an empty file is left, which does no harm.
    let _ = std::fs::remove_file(&made);
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&e)),
        _ => {}
    }
    // Otherwise the whole file could be gone after the machine has failed.
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| failed(&e))
}

/// What is looked at before and after each use.
struct Look {
    id: FileId,
    mode: u32,
    user: u32,
    size: u64,
}

/// The kind of a file in its mode, and that of a plain one.
const KIND: u32 = 0o170_000;
const PLAIN: u32 = 0o100_000;

/// Looks at a file without asking for its times. If somebody has asked for them, the kernel notes an
/// exact one at the next write, and has to write the inode as well whenever the log is synced.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn look(path: &Path) -> io::Result<Look> {
    use rustix::fs::{AtFlags, CWD, StatxFlags};
    let wanted =
        StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID | StatxFlags::INO | StatxFlags::SIZE;
    match sys::statx(CWD, path, AtFlags::empty(), wanted) {
        Ok(file) => Ok(Look {
            id: FileId {
                device: sys::makedev(file.stx_dev_major, file.stx_dev_minor),
                inode: file.stx_ino,
            },
            mode: file.stx_mode.into(),
            user: file.stx_uid,
            size: file.stx_size,
        }),
        // Sandboxes that do not know the system call.
        Err(Errno::NOSYS | Errno::PERM) => look_by_stat(path),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn look(path: &Path) -> io::Result<Look> {
    look_by_stat(path)
}

fn look_by_stat(path: &Path) -> io::Result<Look> {
    let file = std::fs::metadata(path)?;
    Ok(Look {
        id: FileId {
            device: file.dev(),
            inode: file.ino(),
        },
        mode: file.mode(),
        user: file.uid(),
        size: file.len(),
    })
}

/// Checks that the file is a plain one that only this user may use.
pub(super) fn check(path: &Path) -> Result<FileId, StoreError> {
    let wrong = |what: String| StoreError::of_database(path, what);
    let file = match look(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(wrong(
                "was removed: restore it, or open a new provider, which makes it anew".to_owned(),
            ));
        }
        Err(e) => return Err(system_error(path, "cannot be used", &e)),
    };
    if file.mode & KIND != PLAIN {
        return Err(wrong(
            "is not a plain file; give the path of a file".to_owned(),
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    if file.user != user {
        return Err(wrong(format!(
            "belongs to user {}, and this process runs as user {user}; use a file of its own",
            file.user
        )));
    }
    if file.mode & 0o077 != 0 {
        return Err(wrong(format!(
            "may be used by others (mode {:o}), and has tokens in it; give it mode 0600 (chmod 600)",
            file.mode & 0o7777
        )));
    }
    Ok(file.id)
}

/// Which file has this name, if any.
pub(super) fn id_of(path: &Path) -> Option<FileId> {
    look(path).ok().map(|file| file.id)
}

pub(super) fn refuse_network(path: &Path) -> Result<(), StoreError> {
    match network_of(path).map_err(|e| system_error(path, "cannot be used", &e.into()))? {
        None => Ok(()),
        Some(kind) => Err(StoreError::of_database(
            path,
            format!("is on {kind}, where locks do not hold; use a local file system"),
        )),
    }
}

/// Checks that there is room for something new.
pub(super) fn check_room(path: &Path, max_megabytes: Option<u32>) -> Result<(), StoreError> {
    let full = |what: String| StoreError::of_database(path, what).that_passes();
    let disk =
        sys::statvfs(path).map_err(|e| system_error(path, "cannot be measured", &e.into()))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < MIN_FREE {
        return Err(full(format!(
            "less than {} MB of its disk are free: free some, or let a drain send what is in it",
            MIN_FREE >> 20
        )));
    }
    let Some(max) = max_megabytes else {
        return Ok(());
    };
    let size_of = |path: &Path| look(path).map_or(0, |file| file.size);
    let size = size_of(path) + size_of(&beside(path, "-wal"));
    if size >= u64::from(max) << 20 {
        return Err(full(format!(
            "is as large as store_max_mb allows ({max} MB): let a drain send what is in it and \
             prune it, or raise store_max_mb"
        )));
    }
    Ok(())
}

/// Opens a file that has nothing but locks.
fn lock_file(store: &Path, suffix: &str) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(store, suffix))
        .map_err(|e| system_error(store, "has a lock file that cannot be opened", &e))
}

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
        let metadata = file
            .metadata()
            .map_err(|e| system_error(store, "has a lock file that cannot be used", &e))?;
        let user = Self {
            file,
            id: FileId {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
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
    pub(super) fn has_ended(&self, number: i64) -> bool {
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

/// Short pauses while another process writes. The kernel cannot wait for a lock with a time limit,
/// so it is tried again.
#[derive(Debug)]
pub(super) struct Pauses {
    event: Option<std::sync::Arc<Event>>,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { event: None }
    }

    pub(super) fn next(&mut self, call: &CallContext) -> Result<(), Interrupt> {
        self.pause(call, fastrand::u64(50..300))
    }

    /// For who has this place in a queue: the first looks most often.
    fn next_at(&mut self, call: &CallContext, place: i64) -> Result<(), Interrupt> {
        self.pause(call, 50 * place.unsigned_abs())
    }

    fn pause(&mut self, call: &CallContext, micros: u64) -> Result<(), Interrupt> {
        let event = match &self.event {
            Some(event) => event,
            None => self
                .event
                .insert(Event::new().map_err(|_| Interrupt::NoDescriptor)?),
        };
        call.wait(event, Instant::now() + Duration::from_micros(micros))
            .map(drop)
    }
}
