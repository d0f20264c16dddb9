//! The locks, atomic numbers, threads and the clock by which calls wait for each other: those of std.
//!
//! `tests/schedules` compiles this crate with `cfg(shuttle)`. Then they are shuttle's, which chooses
//! at each of them the thread that goes on, and time passes only where a test says so or every thread
//! waits for it.

#[cfg(not(shuttle))]
mod chosen {
    pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
    pub(crate) use std::thread;
    use std::time::Instant;

    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

#[cfg(shuttle)]
#[path = "../../tests/schedules/sync.rs"]
mod chosen;

pub(crate) use chosen::*;
