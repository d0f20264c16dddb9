//! The files of a state directory: read without trusting them, replaced as a whole and synced.
//!
//! The format of files and locks has a version, which is in a file of its own.

use super::system::{self, Use};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::{CallContext, Interrupt};
use crate::protocol::form::percent_encode_file_name;
use crate::values::address::Origin;
use crate::values::tokens::fingerprint;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of files, names and locks. Processes that share a directory must agree on it.
const VERSION: &str = "2";

/// A state directory that exists and can be trusted.
#[derive(Debug)]
pub(super) struct StateDir {
    pub(super) path: PathBuf,
}

impl StateDir {
    /// Opens the directory, and makes it if its parent exists.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        match system::make_directory(path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(io_error(path, "cannot be made", &e));
            }
            _ => {}
        }
        system::check_directory(path)
            .map_err(|e| io_error(path, "cannot be used", &e))?
            .map_err(|what| StoreError::new(path, what))?;
        refuse_network(path)?;
        // So that one directory has one name, even after the working directory has changed.
        let path = system::full_path(path).map_err(|e| io_error(path, "cannot be used", &e))?;
        let directory = Self { path };
        directory.check_version()?;
        Ok(directory)
    }

    /// Opens the directory if it is there.
    #[cfg(feature = "provider")]
    pub(super) fn open_present(path: &Path) -> Result<Self, StoreError> {
        if path.is_dir() {
            Self::open(path)
        } else {
            Err(StoreError::new(path, "is not a directory"))
        }
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let name = "version";
        let path = self.path.join(name);
        match self.open_file(name, Use::Read) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(self.file_error(name, &e)),
            Ok(file) => {
                let text = self.read_all(name, &file)?;
                if text.trim_ascii() == VERSION.as_bytes() {
                    return Ok(());
                }
                return Err(StoreError::new(
                    &path,
                    format!(
                        "is not version {VERSION}: the directory is of another version of this \
                         library; let all processes that share it use one, or give another \
                         directory"
                    ),
                ));
            }
        }
        self.replace_any_time(name, format!("{VERSION}\n").as_bytes())
    }

    pub(super) fn open_file(&self, name: &str, how: Use) -> io::Result<File> {
        system::open(&self.path.join(name), how)
    }

    /// The content of a file; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.open_file(name, Use::Read) {
            Ok(file) => Ok(Some(self.read_all(name, &file)?)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.file_error(name, &e)),
        }
    }

    pub(super) fn read_all(&self, name: &str, file: &File) -> Result<Vec<u8>, StoreError> {
        /// More than any file of ours can have: an answer of 1 MiB, whose bytes may each become
        /// three, and the tokens that its pair replaced.
        const MAX: usize = 4 * 1024 * 1024;
        self.check_file(name, file)?;
        let mut bytes = vec![0; 4096];
        let mut filled = 0;
        loop {
            if filled == bytes.len() {
                bytes.resize(filled * 2, 0);
            }
            let room = bytes.get_mut(filled..).unwrap_or_default();
            match system::read_at(file, room, filled as u64) {
                Ok(0) => break,
                Ok(amount) if filled + amount <= MAX => filled += amount,
                Ok(_) => return Err(StoreError::new(&self.path.join(name), "is too large")),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.file_error(name, &e)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Replaces the file of a name, while nobody else does so. When this returns, the file is on
    /// the disk. If the process is killed before, the former file stays.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.make_room(&format!("{name}.new"), content.len())?
            .fill(name, content)
    }

    /// The same if others may do so at the same time: the last one stands.
    pub(super) fn replace_any_time(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let new = format!("{name}.{:016x}.new", fastrand::u64(..));
        self.make_room(&new, content.len())?.fill(name, content)
    }

    /// Reserves space, so that a file of this size can be written later even if the disk becomes
    /// full.
    pub(super) fn make_room(&self, new: &str, size: usize) -> Result<ReservedFile<'_>, StoreError> {
        let path = self.path.join(new);
        let write = || -> io::Result<File> {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = self.open_file(new, Use::Make)?;
            file.write_all(&vec![0; size])?;
            file.sync_all()?;
            Ok(file)
        };
        let room = ReservedFile {
            directory: self,
            file: write(),
            path,
        };
        match &room.file {
            Ok(_) => Ok(room),
            Err(e) => Err(io_error(&room.path, "cannot be written", e)),
        }
    }

    /// A file that another user could have written, or can read, must not be trusted.
    fn check_file(&self, name: &str, file: &File) -> Result<(), StoreError> {
        system::check_file(file)
            .map_err(|e| self.file_error(name, &e))?
            .map_err(|what| StoreError::new(&self.path.join(name), what))
    }

    pub(super) fn file_error(&self, name: &str, error: &io::Error) -> StoreError {
        let path = self.path.join(name);
        match system::meaning(error) {
            Some(what) => StoreError::new(&path, what),
            None => io_error(&path, "cannot be used", error),
        }
    }

    /// Locks a file, and checks that it is still the one of this name. The kernel cannot wait for a
    /// lock with a time limit, and a thread that waits without one could get the lock after its
    /// call has ended. So the lock is tried again at short intervals.
    pub(super) fn lock_file(
        &self,
        name: &str,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
        try_lock: impl Fn(&File) -> io::Result<bool>,
    ) -> Result<File, LockError> {
        const FIRST: Duration = Duration::from_micros(500);
        const LAST: Duration = Duration::from_millis(20);
        let error_at = |e: io::Error| self.file_error(name, &e);
        let mut pause = FIRST;
        loop {
            let file = self.open_file(name, Use::Lock).map_err(error_at)?;
            self.check_file(name, &file)?;
            if try_lock(&file).map_err(error_at)? {
                if system::has_name(&file, &self.path.join(name)).map_err(error_at)? {
                    return Ok(file);
                }
                // It was removed in the meantime, as holders of the first file do.
                continue;
            }
            drop(file);
            if !go_on() {
                return Err(Interrupt::Cancelled.into());
            }
            call.sleep(pause)?;
            pause = (pause * 2).min(LAST);
        }
    }
}

/// A file of a certain size without content. It is removed if it is not used.
#[derive(Debug)]
pub(super) struct ReservedFile<'a> {
    directory: &'a StateDir,
    file: io::Result<File>,
    path: PathBuf,
}

impl ReservedFile<'_> {
    /// Writes its content, and gives it its name.
    pub(super) fn fill(mut self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let target = self.directory.path.join(name);
        let file = std::mem::replace(&mut self.file, Err(io::Error::from(ErrorKind::NotFound)));
        let write = || -> io::Result<()> {
            let file = file?;
            system::write_at(&file, content, 0)?;
            file.set_len(content.len() as u64)?;
            file.sync_all()?;
            system::rename(&self.path, &target)?;
            system::sync_name(&file, &self.directory.path)
        };
        write().map_err(|e| io_error(&target, "cannot be written", &e))
    }
}

impl Drop for ReservedFile<'_> {
    fn drop(&mut self) {
        // It has its name already, or a file without content is left, which does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An error that the system reported.
pub(super) fn io_error(path: &Path, what: &str, error: &io::Error) -> StoreError {
    let advice = system::passes(error);
    let passing = advice.is_some();
    let removed = error.kind() == ErrorKind::NotFound;
    let advice = if let Some(advice) = advice {
        advice
    } else if removed {
        system::MAKE_A_DIRECTORY
    } else {
        "use a directory that this process may write to"
    };
    StoreError {
        option: "state_dir",
        path: path.to_owned(),
        what: format!("{what}: {error}; {advice}"),
        passing,
    }
}

/// On a file system that several machines share, locks and renames do not work as on a local one.
fn refuse_network(path: &Path) -> Result<(), StoreError> {
    match system::network_of(path).map_err(|e| io_error(path, "cannot be used", &e))? {
        None => Ok(()),
        Some(kind) => Err(StoreError::new(
            path,
            format!(
                "is on {kind}, where locks do not hold between machines; use a local directory, \
                 and one machine for each installation"
            ),
        )),
    }
}

/// A portal's address as part of a file's name.
pub(super) fn file_name(portal: &Origin) -> String {
    let address = portal.to_string();
    escaped(address.strip_prefix("https://").unwrap_or(&address))
}

/// Text as part of a file's name: special characters are percent-encoded, and a long text is
/// replaced by its fingerprint.
pub(super) fn escaped(text: &str) -> String {
    const LONGEST: usize = 80;
    let name = percent_encode_file_name(text);
    if name.len() > LONGEST {
        format!("%%{:016x}", fingerprint("", text))
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_distinct() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        for (text, name) in [
            ("app.1", "app.1"),
            ("B24.test:8443", "B24.test%3a8443"),
            ("a/b~c", "a%2fb%7ec"),
            ("%2F", "%252F"),
            ("ü", "%c3%bc"),
        ] {
            assert_eq!(escaped(text), name);
        }
        assert!(escaped(&long).len() < 80);
        assert_ne!(escaped(&long), escaped(&longer));
    }
}
