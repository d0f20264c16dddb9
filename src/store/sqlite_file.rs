//! The file of a SQLite store: who may use it, and that it is still the same one.
//!
//! SQLite's own locks are lost when any descriptor of the file is closed in the process. So nothing
//! here opens the file itself: it is looked at by its name.

use super::system::{FileId, free_space, look, network_of, passes, private, sync_directory};
use super::token_store::StoreError;
use crate::process::cancellation::{CallContext, Event, Interrupt};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So much of the disk stays free for sending what is in the store, and for others.
const MIN_FREE: u64 = 64 << 20;

/// The path of a file beside the store.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An error that the system reported.
pub(super) fn system_error(path: &Path, what: &str, error: &io::Error) -> StoreError {
    let store_error = StoreError::of_database(path, format!("{what}: {error}"));
    if passes(error).is_some() {
        store_error.that_passes()
    } else {
        store_error
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
    let file = private()
        .write(true)
        .create(true)
        .truncate(true)
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
    sync_directory(directory).map_err(|e| failed(&e))
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
    file.check().map_err(wrong)?;
    Ok(file.id)
}

/// Which file has this name, if any.
pub(super) fn id_of(path: &Path) -> Option<FileId> {
    look(path).ok().map(|file| file.id)
}

pub(super) fn refuse_network(path: &Path) -> Result<(), StoreError> {
    match network_of(path).map_err(|e| system_error(path, "cannot be used", &e))? {
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
    let free = free_space(path).map_err(|e| system_error(path, "cannot be measured", &e))?;
    if free < MIN_FREE {
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
pub(super) fn lock_file(store: &Path, suffix: &str) -> Result<File, StoreError> {
    private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(beside(store, suffix))
        .map_err(|e| system_error(store, "has a lock file that cannot be opened", &e))
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
    #[cfg(unix)]
    pub(super) fn next_at(&mut self, call: &CallContext, place: i64) -> Result<(), Interrupt> {
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
