//! The state directory: what the processes of one machine share.
//!
//! Per installation a file of tokens (`HOST~CLIENT.tokens`), replaced as a whole and synced, and
//! a file that is locked while they are renewed; per portal a file with the level of its bucket.
//! Locks are the kernel's, of the kind that belongs to a process: a killed process leaves none
//! behind, and a forked child inherits none. The kernel holds such a lock for the process and not
//! for a thread, so that threads take turns in [`Order`](crate::order::Order) first.

use crate::address::Origin;
use crate::bucket::Level;
use crate::config::{Rate, invalid};
use crate::tokens::Credentials;
use crate::wait::Call;
use crate::{Error, LOG};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(unix)]
use rustix::fs::{self as sys, FlockOperation, Mode, OFlags};
#[cfg(unix)]
use std::os::fd::OwnedFd;

/// A state directory that exists and may be trusted.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// What a file of tokens holds.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    version: u32,
    pub(crate) credentials: Credentials,
    /// The tokens that were replaced, oldest first: who still has one of them is behind.
    superseded: Vec<String>,
}

impl Stored {
    const VERSION: u32 = 1;
    /// What settings were written with long ago matters as much as what was replaced just now.
    const OLDEST_KEPT: usize = 64;
    const MAX_SUPERSEDED: usize = 512;

    /// Whether these credentials have been replaced by the stored ones.
    pub(crate) fn replaces(&self, credentials: &Credentials) -> bool {
        let mine = &credentials.tokens;
        let behind = |token: &String| !token.is_empty() && self.superseded.contains(token);
        if mine.refresh_token.is_empty() {
            mine.access_token.is_empty() || behind(&mine.access_token)
        } else {
            behind(&mine.refresh_token)
        }
    }

    /// The state after a renewal.
    pub(crate) fn renewed(mut self, old: &Credentials, new: &Credentials) -> Self {
        for token in [&old.tokens.access_token, &old.tokens.refresh_token] {
            let kept = [&new.tokens.access_token, &new.tokens.refresh_token].contains(&token);
            if !token.is_empty() && !kept && !self.superseded.contains(token) {
                self.superseded.push(token.clone());
            }
        }
        while self.superseded.len() > Self::MAX_SUPERSEDED {
            self.superseded.remove(Self::OLDEST_KEPT);
        }
        self.version = Self::VERSION;
        self.credentials = new.clone();
        self
    }
}

fn fault(path: &Path, what: &str) -> Error {
    invalid("state_dir", &format!("{}: {what}", path.display()))
}

#[cfg(not(unix))]
impl StateDir {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Err(fault(
            path,
            "sharing state is not available on this system yet; leave the option out",
        ))
    }

    pub(crate) fn read_tokens(&self, _: &Origin, _: &str) -> Result<Option<Stored>, Error> {
        Ok(None)
    }

    pub(crate) fn write_tokens(&self, _: &Origin, _: &str, _: &Stored) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn lock_tokens(&self, _: &Origin, _: &str, _: &Call) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn change_level<R>(
        &self,
        _: &Origin,
        _: Rate,
        _: &Call,
        change: impl FnOnce(&mut Level) -> R,
    ) -> Result<R, Error> {
        Ok(change(&mut Level::default()))
    }
}

/// A file that no other process has locked, until this is dropped: closing it unlocks it.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Locked(OwnedFd);

#[cfg(unix)]
impl StateDir {
    /// Opens the directory, and makes it where its parent exists.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(fault(
                    path,
                    &format!(
                        "cannot be made: {e}; it takes a directory that this process may write"
                    ),
                ));
            }
            _ => {}
        }
        let stat = sys::stat(path).map_err(|e| {
            fault(
                path,
                &format!("cannot be used: {e}; it takes a directory that this process may write"),
            )
        })?;
        if sys::FileType::from_raw_mode(stat.st_mode) != sys::FileType::Directory {
            return Err(fault(path, "is not a directory"));
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.contains(Mode::WOTH) {
            return Err(fault(
                path,
                "anybody on this machine may write there; use a directory of this user's with mode \
                 0700",
            ));
        }
        // One name for one directory, also after a change of the working directory.
        let path = std::fs::canonicalize(path).map_err(|e| fault(path, &e.to_string()))?;
        Ok(Self { path })
    }

    /// The tokens of an installation, if any process has stored them.
    pub(crate) fn read_tokens(
        &self,
        portal: &Origin,
        client_id: &str,
    ) -> Result<Option<Stored>, Error> {
        let name = tokens_name(portal, client_id);
        let text = match self.open_file(&name, OFlags::RDONLY) {
            Ok(file) => self.read_all(&name, &file)?,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.file_fault(&name, e)),
        };
        let stored: Stored = serde_json::from_str(&text)
            .ok()
            .filter(|stored: &Stored| stored.version == Stored::VERSION)
            .ok_or_else(|| {
                fault(
                    &self.path.join(&name),
                    "is not a file of this library's, or was damaged; if the tokens in your \
                     settings are the newest there are, remove the file",
                )
            })?;
        Ok(Some(stored))
    }

    /// Replaces the tokens of an installation. When this returns they are on the disk; a process
    /// killed before leaves the former ones.
    pub(crate) fn write_tokens(
        &self,
        portal: &Origin,
        client_id: &str,
        stored: &Stored,
    ) -> Result<(), Error> {
        let name = tokens_name(portal, client_id);
        // One name is enough: whoever writes holds the lock.
        let new = format!("{name}.new");
        let write = || -> std::io::Result<()> {
            let text = serde_json::to_vec(stored)?;
            match std::fs::remove_file(self.path.join(&new)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let file = self.open_file(&new, flags)?;
            let mut file = std::fs::File::from(file);
            std::io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            std::fs::rename(self.path.join(&new), self.path.join(&name))?;
            std::fs::File::open(&self.path)?.sync_all()
        };
        write().map_err(|e| fault(&self.path.join(&name), &format!("cannot be written: {e}")))
    }

    /// Waits until no other process renews the tokens of this installation.
    pub(crate) fn lock_tokens(
        &self,
        portal: &Origin,
        client_id: &str,
        call: &Call,
    ) -> Result<Locked, Error> {
        let name = format!("{}.lock", tokens_name(portal, client_id));
        self.lock(
            &name,
            call,
            "waiting for another process to renew the token",
        )
    }

    /// Changes the level of a portal's bucket, drained up to now.
    pub(crate) fn change_level<R>(
        &self,
        portal: &Origin,
        rate: Rate,
        call: &Call,
        change: impl FnOnce(&mut Level) -> R,
    ) -> Result<R, Error> {
        let name = format!("{}.bucket", file_name(portal));
        let doing = "waiting for the state that processes share";
        let order = &call.process.order;
        let turn = order.queue_up(order.key((&self.path, &name)));
        turn.wait(call).map_err(|stop| stop.error(doing))?;
        let file = self.lock(&name, call, doing)?;
        let text = self.read_all(&name, &file.0)?;
        let now = boot_seconds();
        let mut level = match read_level(&text) {
            // A time in the future is of before the machine started anew.
            Some((level, at)) if at <= now => {
                Level(level).drained(rate, Duration::from_secs_f64(now - at))
            }
            Some(_) => Level::default(),
            None if text.is_empty() => Level::default(),
            None => {
                log::warn!(target: LOG, "{}: damaged; the bucket is taken to be full", self.path.join(&name).display());
                Level(rate.burst)
            }
        };
        let outcome = change(&mut level);
        let text = format!("{} {now}\n", level.0);
        rustix::io::pwrite(&file.0, text.as_bytes(), 0)
            .and_then(|written| sys::ftruncate(&file.0, written as u64))
            .map_err(|e| self.file_fault(&name, e))?;
        Ok(outcome)
    }

    /// Locks a file against other processes. The kernel has no lock that is waited for with a time
    /// limit, and a thread left waiting could take it for a call that is gone: so it is tried
    /// again at short intervals.
    fn lock(&self, name: &str, call: &Call, doing: &str) -> Result<Locked, Error> {
        const FIRST: Duration = Duration::from_micros(500);
        const LAST: Duration = Duration::from_millis(20);
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = self
            .open_file(name, flags)
            .map_err(|e| self.file_fault(name, e))?;
        self.check_owner(name, &file)?;
        let mut pause = FIRST;
        loop {
            match sys::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked(file)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                    call.sleep(pause).map_err(|stop| stop.error(doing))?;
                    pause = (pause * 2).min(LAST);
                }
                Err(e) => return Err(self.file_fault(name, e)),
            }
        }
    }

    fn open_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        sys::open(self.path.join(name), flags, Mode::RUSR | Mode::WUSR)
    }

    fn read_all(&self, name: &str, file: &OwnedFd) -> Result<String, Error> {
        /// More than any file of ours.
        const MAX: usize = 1024 * 1024;
        self.check_owner(name, file)?;
        let mut text = vec![0; 4096];
        let mut filled = 0;
        loop {
            if filled == text.len() {
                text.resize(filled * 2, 0);
            }
            match rustix::io::pread(
                file,
                text.get_mut(filled..).unwrap_or_default(),
                filled as u64,
            ) {
                Ok(0) => break,
                Ok(amount) if filled + amount <= MAX => filled += amount,
                Ok(_) => return Err(fault(&self.path.join(name), "is too large")),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(self.file_fault(name, e)),
            }
        }
        text.truncate(filled);
        String::from_utf8(text).map_err(|_| fault(&self.path.join(name), "is not text"))
    }

    /// A file that somebody else could have written, or can read, is not to be trusted.
    fn check_owner(&self, name: &str, file: &OwnedFd) -> Result<(), Error> {
        let stat = sys::fstat(file).map_err(|e| self.file_fault(name, e))?;
        let path = self.path.join(name);
        if sys::FileType::from_raw_mode(stat.st_mode) != sys::FileType::RegularFile {
            return Err(fault(&path, "is not a plain file; remove it"));
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(fault(
                &path,
                "belongs to another user; run all processes that share it as one user",
            ));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            return Err(fault(
                &path,
                "may be read or written by others; give it the mode 0600 if its content is right",
            ));
        }
        Ok(())
    }

    fn file_fault(&self, name: &str, error: rustix::io::Errno) -> Error {
        let what = match error {
            rustix::io::Errno::LOOP => {
                "is a symbolic link, which is not followed; remove it".to_owned()
            }
            rustix::io::Errno::NXIO | rustix::io::Errno::ISDIR => {
                "is not a plain file; remove it".to_owned()
            }
            other => format!("cannot be used: {other}"),
        };
        fault(&self.path.join(name), &what)
    }
}

/// Reads a text as each kind of file of the directory.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(text: &str) {
    if let Some((level, at)) = read_level(text) {
        assert!(level.is_finite() && at.is_finite());
    }
    if let Ok(stored) = serde_json::from_str::<Stored>(text) {
        let _ = stored.replaces(&Credentials::default());
    }
}

/// The level and when it was, in seconds since the machine started.
fn read_level(text: &str) -> Option<(f64, f64)> {
    let (level, at) = text.trim_end().split_once(' ')?;
    let read = |text: &str| {
        let number: f64 = text.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    Some((read(level)?, read(at)?))
}

#[cfg(unix)]
fn boot_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    #[allow(clippy::cast_precision_loss, reason = "a machine's uptime")]
    {
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    }
}

fn tokens_name(portal: &Origin, client_id: &str) -> String {
    format!("{}~{}.tokens", file_name(portal), escaped(client_id))
}

fn file_name(portal: &Origin) -> String {
    let address = portal.to_string();
    escaped(address.strip_prefix("https://").unwrap_or(&address))
}

/// Text as part of a file's name: what is not plain is written in hexadecimal.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            name.push(byte.into());
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}
