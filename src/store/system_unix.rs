//! What a store asks of the system: files that only this user may use, and the clock of the machine.

use rustix::fs::{self as sys, Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "provider")]
pub(super) use of_a_database::*;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be read.
    Read,
    /// To be locked, read and written; it is made if there is none.
    Lock,
    /// To be made and written.
    Make,
}

/// What to do if there is no directory, and none can be made.
pub(super) const MAKE_A_DIRECTORY: &str =
    "make a directory there that only this user may write, with mode 0700";

/// Makes a directory for this user alone.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// What is wrong with a directory.
pub(super) fn check_directory(path: &Path) -> io::Result<Result<(), &'static str>> {
    let stat = sys::stat(path)?;
    if sys::FileType::from_raw_mode(stat.st_mode) != sys::FileType::Directory {
        return Ok(Err("is not a directory"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(Err(
            "belongs to another user, who could take the tokens; use a directory of this user's \
             with mode 0700",
        ));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Ok(Err(
            "can be written by other users, who could take the tokens or undo the locks; use a \
             directory of this user's with mode 0700",
        ));
    }
    Ok(Ok(()))
}

/// The one name of a directory.
pub(super) fn full_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// Opens a file, and follows no link.
pub(super) fn open(path: &Path, how: Use) -> io::Result<File> {
    let flags = match how {
        Use::Read => OFlags::RDONLY,
        Use::Lock => OFlags::RDWR | OFlags::CREATE,
        Use::Make => OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
    };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(sys::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// What is wrong with a file.
pub(super) fn check_file(file: &File) -> io::Result<Result<(), &'static str>> {
    let stat = sys::fstat(file)?;
    if sys::FileType::from_raw_mode(stat.st_mode) != sys::FileType::RegularFile {
        return Ok(Err("is not a plain file; remove it"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(Err(
            "belongs to another user; run all processes that share it as one user",
        ));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return Ok(Err(
            "may be read or written by others; give it the mode 0600 if its content is right",
        ));
    }
    Ok(Ok(()))
}

/// What an error says about a file itself.
pub(super) fn meaning(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::LOOP => Some("is a symbolic link, which is not followed; remove it"),
        Errno::NXIO | Errno::ISDIR => Some("is not a plain file; remove it"),
        _ => None,
    }
}

/// Whether an error may disappear without anybody changing the directory, and what to do.
pub(super) fn passes(error: &io::Error) -> Option<&'static str> {
    let passing = [
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
    .contains(&Errno::from_io_error(error)?);
    passing.then_some("free disk space, or raise the limit that was reached, and try again")
}

pub(super) fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    file.read_at(into, at)
}

/// Writes all of it.
pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

/// Gives a file the name of another, which it replaces.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Makes sure that a new name of a file is on the disk.
pub(super) fn sync_name(_: &File, directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether it is this file that has a name.
pub(super) fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let mine = sys::fstat(file)?;
    match sys::stat(path) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The kind of file system that a path is on, if several machines may share it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn network_of(path: &Path) -> io::Result<Option<&'static str>> {
    let stat = sys::statfs(path)?;
    // Some systems extend the sign.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the magic numbers have 32 bits"
    )]
    Ok(network_name(stat.f_type as u32))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn network_of(_: &Path) -> io::Result<Option<&'static str>> {
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

/// The time since the machine was started, without that in which it slept.
pub(super) fn uptime() -> Duration {
    read_clock(ClockId::Monotonic)
}

fn read_clock(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// What only the store of a provider asks.
#[cfg(feature = "provider")]
mod of_a_database {
    use super::read_clock;
    use rustix::fs as sys;
    use rustix::time::ClockId;
    use std::fs::OpenOptions;
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// A file that is always there, and of which nothing but a limit keeps anybody.
    pub(in crate::store) const NOTHING: &str = "/dev/null";

    /// A file that may be replaced by another of the same name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::store) struct FileId {
        device: u64,
        inode: u64,
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    impl FileId {
        pub(in crate::store) fn of(file: &std::fs::File) -> io::Result<Self> {
            let metadata = file.metadata()?;
            Ok(Self {
                device: metadata.dev(),
                inode: metadata.ino(),
            })
        }
    }

    /// What is looked at before and after each use.
    pub(in crate::store) struct Look {
        pub(in crate::store) id: FileId,
        pub(in crate::store) size: u64,
        mode: u32,
        user: u32,
    }

    /// The kind of a file in its mode, and that of a plain one.
    const KIND: u32 = 0o170_000;
    const PLAIN: u32 = 0o100_000;

    impl Look {
        /// Checks that the file is a plain one that only this user may use.
        pub(in crate::store) fn check(&self) -> Result<(), String> {
            if self.mode & KIND != PLAIN {
                return Err("is not a plain file; give the path of a file".to_owned());
            }
            let user = rustix::process::geteuid().as_raw();
            if self.user != user {
                return Err(format!(
                    "belongs to user {}, and this process runs as user {user}; use a file of its own",
                    self.user
                ));
            }
            if self.mode & 0o077 != 0 {
                return Err(format!(
                    "may be used by others (mode {:o}), and has tokens in it; give it mode 0600 \
                     (chmod 600)",
                    self.mode & 0o7777
                ));
            }
            Ok(())
        }
    }

    /// Looks at a file without asking for its times. If somebody has asked for them, the kernel notes
    /// an exact one at the next write, and has to write the inode as well whenever the log is synced.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in crate::store) fn look(path: &Path) -> io::Result<Look> {
        use rustix::fs::{AtFlags, CWD, StatxFlags};
        use rustix::io::Errno;
        let wanted = StatxFlags::TYPE
            | StatxFlags::MODE
            | StatxFlags::UID
            | StatxFlags::INO
            | StatxFlags::SIZE;
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
    pub(in crate::store) fn look(path: &Path) -> io::Result<Look> {
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

    /// The one name of a file or directory, as SQLite reads it.
    pub(in crate::store) fn full_name(path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    /// Makes files that only this user may use.
    pub(in crate::store) fn private() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.mode(0o600);
        options
    }

    /// Makes sure that the names in a directory are on the disk.
    pub(in crate::store) fn sync_directory(directory: &Path) -> io::Result<()> {
        std::fs::File::open(directory)?.sync_all()
    }

    /// How much of the disk is free for this user.
    pub(in crate::store) fn free_space(path: &Path) -> io::Result<u64> {
        let disk = sys::statvfs(path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Names the present start of the machine; `-` on systems that have no such name.
    pub(in crate::store) fn boot_id() -> io::Result<String> {
        match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok("-".to_owned()),
        }
    }

    /// Whether two names are of the same start of the machine.
    pub(in crate::store) fn is_same_boot(stored: &str, present: &str) -> bool {
        stored == present
    }

    /// The time since the machine was started, sleep included.
    pub(in crate::store) fn since_boot() -> Duration {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::Monotonic;
        read_clock(CLOCK)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known() {
        use super::network_name;
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xEF53), None, "ext4");
        assert_eq!(network_name(0x0102_1994), None, "tmpfs");
    }
}
