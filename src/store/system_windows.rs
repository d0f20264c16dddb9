//! What a store asks of the system: its files, and the clock of the machine.
//!
//! Who may read and write a file is what its directory says (its access control list, which new files
//! inherit). This is not looked at: the directory of a user's profile is closed to other users, and
//! for others whoever makes them decides.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf, Prefix};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[cfg(feature = "provider")]
pub(super) use of_a_database::*;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be read.
    Read,
    /// To be locked, read and written; it is made if there is none. While it is open, it can be neither
    /// removed nor replaced.
    Lock,
    /// To be made and written.
    Make,
}

/// What to do if there is no directory, and none can be made.
pub(super) const MAKE_A_DIRECTORY: &str =
    "make a directory there that only this user may read and write";

const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;
const LOCK_VIOLATION: i32 = 33;
const HANDLE_DISK_FULL: i32 = 39;
const DISK_FULL: i32 = 112;
const TOO_MANY_OPEN_FILES: i32 = 4;
const NO_SYSTEM_RESOURCES: i32 = 1450;

/// Makes a directory. It has the rights of the one that it is in.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

/// What is wrong with a directory.
pub(super) fn check_directory(path: &Path) -> io::Result<Result<(), &'static str>> {
    if std::fs::metadata(path)?.is_dir() {
        Ok(Ok(()))
    } else {
        Ok(Err("is not a directory"))
    }
}

/// The one name of a directory. It is a verbatim one (`\\?\C:\…`), in which a portal's name may be that
/// of a device, such as `con`.
pub(super) fn full_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// Opens a file, and follows no link. A virus scanner or a backup may have it open for a moment, and
/// let nobody else in.
pub(super) fn open(path: &Path, how: Use) -> io::Result<File> {
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    const SHARE_READ: u32 = 1;
    const SHARE_WRITE: u32 = 2;
    let mut options = OpenOptions::new();
    options.custom_flags(OPEN_REPARSE_POINT);
    match how {
        Use::Read => options.read(true),
        Use::Lock => options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .share_mode(SHARE_READ | SHARE_WRITE),
        Use::Make => options.write(true).create_new(true),
    };
    patiently(|| options.open(path))
}

/// Tries again for a moment what another program is in the way of.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const PATIENCE: Duration = Duration::from_secs(2);
    // It is also the answer for a file that is just being removed, but more often it is for good.
    const FOR_DENIED: Duration = Duration::from_millis(300);
    const PAUSE: Duration = Duration::from_millis(5);
    let began = Instant::now();
    loop {
        let outcome = attempt();
        let patience = match outcome.as_ref().err().and_then(io::Error::raw_os_error) {
            Some(SHARING_VIOLATION | LOCK_VIOLATION) => PATIENCE,
            Some(ACCESS_DENIED) => FOR_DENIED,
            _ => return outcome,
        };
        if began.elapsed() >= patience {
            return outcome;
        }
        sleep(PAUSE);
    }
}

/// What is wrong with a file.
pub(super) fn check_file(file: &File) -> io::Result<Result<(), &'static str>> {
    let kind = file.metadata()?.file_type();
    if kind.is_symlink() {
        return Ok(Err("is a symbolic link, which is not followed; remove it"));
    }
    if !kind.is_file() {
        return Ok(Err("is not a plain file; remove it"));
    }
    Ok(Ok(()))
}

/// What an error says about a file itself.
pub(super) fn meaning(_: &io::Error) -> Option<&'static str> {
    None
}

/// Whether an error may disappear without anybody changing the directory, and what to do.
pub(super) fn passes(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        SHARING_VIOLATION | LOCK_VIOLATION => Some(
            "another program has it open and lets nobody else in: close that one, or except this \
             directory from the scans of virus scanners and backups, and try again",
        ),
        HANDLE_DISK_FULL | DISK_FULL | TOO_MANY_OPEN_FILES | NO_SYSTEM_RESOURCES => {
            Some("free disk space, or raise the limit that was reached, and try again")
        }
        _ => None,
    }
}

pub(super) fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    file.seek_read(into, at)
}

/// Writes all of it.
pub(super) fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = bytes.get(written..).unwrap_or_default();
                at += written as u64;
            }
        }
    }
    Ok(())
}

/// Gives a file the name of another, which it replaces.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    patiently(|| std::fs::rename(from, to))
}

/// Makes sure that a new name of a file is on the disk: to flush the file writes the log of the file
/// system too, up to that name.
pub(super) fn sync_name(file: &File, _: &Path) -> io::Result<()> {
    file.sync_all()
}

/// Whether it is this file that has a name. What was opened to be locked keeps its name.
#[allow(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(super) fn has_name(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// The kind of file system that a path is on, if several machines may share it. Letters of drives lead to
/// the network's name.
pub(super) fn network_of(path: &Path) -> io::Result<Option<&'static str>> {
    let full = std::fs::canonicalize(path)?;
    let is_network = matches!(
        full.components().next(),
        Some(Component::Prefix(prefix))
            if matches!(prefix.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..))
    );
    Ok(is_network.then_some("a network's share"))
}

/// The time since the machine was started.
pub(super) fn uptime() -> Duration {
    Duration::from_millis(winsafe::GetTickCount64())
}

/// What only the store of a provider asks.
#[cfg(feature = "provider")]
mod of_a_database {
    use std::fs::{FileType, OpenOptions};
    use std::io;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    /// A file that is always there, and of which nothing but a limit keeps anybody.
    pub(in crate::store) const NOTHING: &str = "NUL";

    /// While a store is open, none of its files can be replaced: SQLite opens them so.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::store) struct FileId;

    /// What is looked at before and after each use.
    pub(in crate::store) struct Look {
        pub(in crate::store) id: FileId,
        pub(in crate::store) size: u64,
        kind: FileType,
    }

    impl Look {
        /// Checks that the file is a plain one.
        pub(in crate::store) fn check(&self) -> Result<(), String> {
            if self.kind.is_file() {
                Ok(())
            } else {
                Err("is not a plain file; give the path of a file".to_owned())
            }
        }
    }

    pub(in crate::store) fn look(path: &Path) -> io::Result<Look> {
        let file = std::fs::metadata(path)?;
        Ok(Look {
            id: FileId,
            size: file.len(),
            kind: file.file_type(),
        })
    }

    /// The one name of a file or directory, as SQLite reads it: not a verbatim one (`\\?\C:\…`) if
    /// it has another.
    pub(in crate::store) fn full_name(path: &Path) -> io::Result<PathBuf> {
        let full = std::fs::canonicalize(path)?;
        let plain = full.to_str().and_then(|text| text.strip_prefix(r"\\?\"));
        match plain.filter(|text| text.as_bytes().get(1) == Some(&b':')) {
            Some(plain) => Ok(PathBuf::from(plain)),
            None => Ok(full),
        }
    }

    /// Makes files. They have the rights of the directory.
    pub(in crate::store) fn private() -> OpenOptions {
        OpenOptions::new()
    }

    /// The names in a directory are in the log of the file system, which every sync of a file writes.
    #[allow(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
    pub(in crate::store) fn sync_directory(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// How much of the disk is free for this user.
    pub(in crate::store) fn free_space(path: &Path) -> io::Result<u64> {
        let directory = path.parent().unwrap_or(path).to_string_lossy();
        let mut free = 0;
        winsafe::GetDiskFreeSpaceEx(Some(&directory), Some(&mut free), None, None)
            .map_err(|e| io::Error::from_raw_os_error(e.raw().cast_signed()))?;
        Ok(free)
    }

    /// Names the present start of the machine, by its time in seconds as the clock has it now. (Windows
    /// has no name for it that every user can read.)
    #[allow(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
    pub(in crate::store) fn boot_id() -> io::Result<String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let started = now.saturating_sub(since_boot());
        Ok(started.as_secs().to_string())
    }

    /// Whether two names are of the same start of the machine. The two clocks, of which the difference
    /// is taken, drift apart by a few minutes in months; and a machine that is started twice in so short
    /// a time may take the first start for the second, and have waits that much longer.
    pub(in crate::store) fn is_same_boot(stored: &str, present: &str) -> bool {
        const DRIFT: u64 = 300;
        let (Ok(stored), Ok(present)) = (stored.parse::<u64>(), present.parse::<u64>()) else {
            return false;
        };
        stored.abs_diff(present) <= DRIFT
    }

    /// The time since the machine was started, sleep included.
    pub(in crate::store) fn since_boot() -> Duration {
        super::uptime()
    }
}
