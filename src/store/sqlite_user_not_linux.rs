//! Who uses a SQLite store: each process locks a file whose name has its number. Only Linux has locks of
//! single bytes that belong to an open file and not to the process.

use super::sqlite_file::{beside, system_error};
use super::system::{Use, has_name, open};
use super::token_store::StoreError;
use crate::process::per_process::Process;
use crate::values::tokens::fingerprint;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// The one user of the store in this process. Others can see that the process lives.
#[derive(Debug)]
pub(super) struct User {
    /// None while it is being dropped.
    file: Option<File>,
    path: PathBuf,
    number: i64,
    process: Arc<Process>,
}

/// How the names of these files go on after that of the store.
const USER: &str = "-user-";

impl User {
    /// A second copy of this library is refused, as on Linux: two copies of SQLite in one process do
    /// not know of each other's locks everywhere.
    pub(super) fn enter(store: &Path) -> Result<Self, StoreError> {
        const PAUSE: Duration = Duration::from_millis(5);
        // Others take the lock for a moment, to see whether the file was left.
        let mut pauses = 100;
        let failed = |e: io::Error| system_error(store, "cannot be locked for this process", &e);
        remove_left(store);
        let number = process_number().map_err(failed)?;
        let path = beside(store, &format!("{USER}{number:x}"));
        loop {
            let file = open(&path, Use::Lock).map_err(failed)?;
            if !try_lock(&file).map_err(failed)? {
                if pauses > 0 {
                    pauses -= 1;
                    sleep(PAUSE);
                    continue;
                }
                return Err(StoreError::of_database(
                    store,
                    "is open in this process already, by another copy of this library; use one copy",
                ));
            }
            // Another process may have removed it before it was locked.
            if has_name(&file, &path).map_err(failed)? {
                return Ok(Self {
                    file: Some(file),
                    path,
                    number,
                    process: Process::current(),
                });
            }
        }
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Whether others see the lock, because the file has not been removed.
    pub(super) fn is_seen(&self, _: &Path) -> bool {
        self.file
            .as_ref()
            .is_some_and(|file| matches!(has_name(file, &self.path), Ok(true)))
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
        // A forked child leaves its parent's file. And it may be another file that has the name now, after
        // this one was removed.
        let is_mine = |file: &File| {
            self.process.is_current() && matches!(has_name(file, &self.path), Ok(true))
        };
        if !self.file.as_ref().is_some_and(is_mine) {
            return;
        }
        // Windows removes no file that is open. Elsewhere it is removed while it is locked, as another
        // process does it. If it cannot be removed, the next process does it.
        if cfg!(windows) {
            self.file = None;
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the files of processes that have ended: those that can be locked.
fn remove_left(store: &Path) {
    let name = beside(store, USER);
    let (Some(directory), Some(name)) = (store.parent(), name.file_name()) else {
        return;
    };
    let name = name.to_string_lossy();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            remove_if_left(&entry.path());
        }
    }
}

/// Windows removes no file that is open, so its user has ended if it can be removed.
#[cfg(windows)]
fn remove_if_left(path: &Path) {
    let _ = std::fs::remove_file(path);
}

#[cfg(not(windows))]
fn remove_if_left(path: &Path) {
    if let Ok(file) = File::open(path)
        && matches!(try_lock(&file), Ok(true))
    {
        let _ = std::fs::remove_file(path);
    }
}

/// A number that no other process of this machine has or had.
#[cfg(windows)]
fn process_number() -> io::Result<i64> {
    let failed = |e: winsafe::co::ERROR| io::Error::from_raw_os_error(e.raw().cast_signed());
    let (started, ..) = winsafe::HPROCESS::GetCurrentProcess()
        .GetProcessTimes()
        .map_err(failed)?;
    let started = format!("{}.{}", started.dwHighDateTime, started.dwLowDateTime);
    let number = fingerprint(&std::process::id().to_string(), &started) >> 2;
    Ok(number.cast_signed().max(1))
}

/// A number that no other process of this machine has. One that comes later may have it again: what the
/// former one held then ends when its lease does.
#[cfg(not(windows))]
#[allow(clippy::unnecessary_wraps, reason = "it can fail on Windows")]
fn process_number() -> io::Result<i64> {
    let number = fingerprint(&std::process::id().to_string(), "") >> 2;
    Ok(number.cast_signed().max(1))
}

/// Whether the lock of the whole file was obtained.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path of a store in a directory of its own, which is removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("b24-{name}-{}", std::process::id()));
            std::fs::create_dir(&place).expect("a directory");
            Self(place.join("store.db"))
        }

        /// The files of users.
        fn files(&self) -> Vec<PathBuf> {
            let files = std::fs::read_dir(self.0.parent().expect("a directory")).expect("files");
            files.map(|file| file.expect("a file").path()).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().expect("a directory"));
        }
    }

    #[test]
    fn a_second_copy_in_the_process_is_refused() {
        let place = Place::new("second-copy");
        let user = User::enter(&place.0).expect("the first one");
        let refused = User::enter(&place.0).expect_err("another one").to_string();
        assert!(
            refused.contains("another copy of this library"),
            "{refused}"
        );
        assert!(user.is_seen(&place.0));
        drop(user);
        assert_eq!(place.files(), Vec::<PathBuf>::new());
        User::enter(&place.0).expect("a later one");
    }

    /// Where a file can be removed that is open.
    #[cfg(not(windows))]
    #[test]
    fn who_enters_again_is_seen_after_the_former_user_is_gone() {
        let place = Place::new("again");
        let former = User::enter(&place.0).expect("a user");
        std::fs::remove_file(&former.path).expect("its file");
        assert!(!former.is_seen(&place.0));
        let user = User::enter(&place.0).expect("another one");
        drop(former);
        assert!(user.is_seen(&place.0));
    }

    #[test]
    fn who_looks_whether_a_file_was_left_refuses_nobody() {
        let place = Place::new("left");
        let path = {
            let user = User::enter(&place.0).expect("a user");
            user.path.clone()
        };
        let looked_at = open(&path, Use::Lock).expect("its file");
        assert!(try_lock(&looked_at).expect("a lock"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Nothing tells when the other one has met the lock.
                sleep(Duration::from_millis(20));
                drop(looked_at);
            });
            User::enter(&place.0).expect("it may use the store");
        });
    }

    #[test]
    fn a_process_has_ended_whose_file_is_gone_or_unlocked() {
        let place = Place::new("ended");
        let user = User::enter(&place.0).expect("a user");
        let other = user.number() ^ 1;
        assert!(!user.has_ended(&place.0, user.number()));
        assert!(user.has_ended(&place.0, other));
        let path = beside(&place.0, &format!("{USER}{other:x}"));
        let file = open(&path, Use::Lock).expect("a file");
        assert!(try_lock(&file).expect("a lock"));
        assert!(!user.has_ended(&place.0, other));
        drop(file);
        assert!(user.has_ended(&place.0, other));
    }
}
