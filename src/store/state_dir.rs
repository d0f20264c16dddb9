//! The files of a state directory: read without trusting them, replaced as a whole and synced.
//!
//! The format of files and locks has a version, which is in a file of its own.

use super::token_store::StoreError;
use crate::protocol::form::percent_encode_file_name;
use crate::values::address::Origin;
use crate::values::tokens::fingerprint;
use rustix::fs::{self as sys, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

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
        use std::os::unix::fs::DirBuilderExt;
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(io_error(path, "cannot be made", &e));
            }
            _ => {}
        }
        let stat = sys::stat(path).map_err(|e| io_error(path, "cannot be used", &e.into()))?;
        if sys::FileType::from_raw_mode(stat.st_mode) != sys::FileType::Directory {
            return Err(StoreError::new(path, "is not a directory"));
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(StoreError::new(
                path,
                "belongs to another user, who could take the tokens; use a directory of this \
                 user's with mode 0700",
            ));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(StoreError::new(
                path,
                "can be written by other users, who could take the tokens or undo the locks; use a \
                 directory of this user's with mode 0700",
            ));
        }
        refuse_network(path)?;
        // So that one directory has one name, even after the working directory has changed.
        let path = std::fs::canonicalize(path).map_err(|e| io_error(path, "cannot be used", &e))?;
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
        match self.open_file(name, OFlags::RDONLY) {
            Err(Errno::NOENT) => {}
            Err(e) => return Err(self.file_error(name, e)),
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

    pub(super) fn open_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        sys::open(self.path.join(name), flags, Mode::RUSR | Mode::WUSR)
    }

    /// The content of a file; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.open_file(name, OFlags::RDONLY) {
            Ok(file) => Ok(Some(self.read_all(name, &file)?)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.file_error(name, e)),
        }
    }

    pub(super) fn read_all(&self, name: &str, file: &OwnedFd) -> Result<Vec<u8>, StoreError> {
        /// More than any file of ours can have: an answer of 1 MiB, whose bytes may each become
        /// three, and the tokens that its pair replaced.
        const MAX: usize = 4 * 1024 * 1024;
        self.check_owner(name, file)?;
        let mut bytes = vec![0; 4096];
        let mut filled = 0;
        loop {
            if filled == bytes.len() {
                bytes.resize(filled * 2, 0);
            }
            match rustix::io::pread(
                file,
                bytes.get_mut(filled..).unwrap_or_default(),
                filled as u64,
            ) {
                Ok(0) => break,
                Ok(amount) if filled + amount <= MAX => filled += amount,
                Ok(_) => return Err(StoreError::new(&self.path.join(name), "is too large")),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.file_error(name, e)),
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
        let write = || -> std::io::Result<std::fs::File> {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut file = std::fs::File::from(self.open_file(new, flags)?);
            std::io::Write::write_all(&mut file, &vec![0; size])?;
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
    pub(super) fn check_owner(&self, name: &str, file: &OwnedFd) -> Result<(), StoreError> {
        let stat = sys::fstat(file).map_err(|e| self.file_error(name, e))?;
        let path = self.path.join(name);
        if sys::FileType::from_raw_mode(stat.st_mode) != sys::FileType::RegularFile {
            return Err(StoreError::new(&path, "is not a plain file; remove it"));
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(StoreError::new(
                &path,
                "belongs to another user; run all processes that share it as one user",
            ));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            return Err(StoreError::new(
                &path,
                "may be read or written by others; give it the mode 0600 if its content is right",
            ));
        }
        Ok(())
    }

    pub(super) fn file_error(&self, name: &str, error: Errno) -> StoreError {
        let path = self.path.join(name);
        match error {
            Errno::LOOP => StoreError::new(
                &path,
                "is a symbolic link, which is not followed; remove it",
            ),
            Errno::NXIO | Errno::ISDIR => StoreError::new(&path, "is not a plain file; remove it"),
            other => io_error(&path, "cannot be used", &other.into()),
        }
    }
}

/// A file of a certain size without content. It is removed if it is not used.
#[derive(Debug)]
pub(super) struct ReservedFile<'a> {
    directory: &'a StateDir,
    file: std::io::Result<std::fs::File>,
    path: PathBuf,
}

impl ReservedFile<'_> {
    /// Writes its content, and gives it its name.
    pub(super) fn fill(mut self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        use std::os::unix::fs::FileExt;
        let target = self.directory.path.join(name);
        let file = std::mem::replace(
            &mut self.file,
            Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        );
        let write = || -> std::io::Result<()> {
            let file = file?;
            file.write_all_at(content, 0)?;
            file.set_len(content.len() as u64)?;
            file.sync_all()?;
            std::fs::rename(&self.path, &target)?;
            std::fs::File::open(&self.directory.path)?.sync_all()
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

/// Whether an error may disappear without anybody changing the directory.
pub(super) fn passes(errno: Errno) -> bool {
    [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::FBIG,
        Errno::IO,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::AGAIN,
        Errno::NOLCK,
    ]
    .contains(&errno)
}

/// An error that the system reported.
pub(super) fn io_error(path: &Path, what: &str, error: &std::io::Error) -> StoreError {
    let passing = Errno::from_io_error(error).is_some_and(passes);
    let removed = error.kind() == std::io::ErrorKind::NotFound;
    let advice = if passing {
        "free disk space, or raise the limit that was reached, and try again"
    } else if removed {
        "make a directory there that only this user may write, with mode 0700"
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
    match network_of(path).map_err(|e| io_error(path, "cannot be used", &e.into()))? {
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

/// The kind of file system that a path is on, if several machines may share it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn network_of(path: &Path) -> rustix::io::Result<Option<&'static str>> {
    let stat = sys::statfs(path)?;
    // Some systems extend the sign.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the magic numbers have 32 bits"
    )]
    Ok(network_name(stat.f_type as u32))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
pub(super) fn network_of(_: &Path) -> rustix::io::Result<Option<&'static str>> {
    Ok(None)
}

/// The file systems of Linux that are, or may be, a network's (`linux/magic.h` and their sources).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        0x0102_1997 => "9P",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x00C3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x564C => "NCP",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
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

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xEF53), None, "ext4");
        assert_eq!(network_name(0x0102_1994), None, "tmpfs");
    }
}
