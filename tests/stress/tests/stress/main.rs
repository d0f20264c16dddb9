//! Counts and outcomes at the limits; times are printed, not tested.
#![allow(missing_docs, reason = "a test program has no public items")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod attack;
mod batch;
mod cancel;
mod chaos;
mod connections;
mod deadlines;
mod dns;
mod kills;
mod memory;
mod order;
#[cfg(unix)]
mod postgres_connections;
#[cfg(unix)]
mod postgres_kills;
#[cfg(unix)]
mod postgres_outages;
#[cfg(unix)]
mod postgres_troubles;
mod processes;
#[cfg(unix)]
mod provider_forged;
#[cfg(unix)]
mod provider_installations;
#[cfg(unix)]
mod provider_kills;
#[cfg(unix)]
mod provider_receipts;
#[cfg(unix)]
mod provider_storage;
#[cfg(unix)]
mod provider_time;
mod renewal;
mod senders;
mod state_dir;
mod syscalls;

use b24_stress::Worker;
use std::process::Command;

const WORKER: &str = env!("CARGO_BIN_EXE_b24-stress-worker");

/// Works on the store of a provider.
#[cfg(unix)]
const HAND: &str = env!("CARGO_BIN_EXE_b24-stress-provider");

fn worker(words: &[&str], options: &[(String, String)]) -> Worker {
    Worker::start(&mut Command::new(WORKER), words, options)
}

/// The number with this name in a worker's report.
fn number(report: &serde_json::Value, name: &str) -> i64 {
    report[name].as_i64().expect(name)
}

/// A directory of the test, removed at its end.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("b24-stress-{id}-{name}"));
        std::fs::create_dir(&path).expect("a directory for the test");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A file that is left does not affect other tests.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The kernel's number of this thread.
fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Returns when the thread waits in `ppoll`, as in all waits but those for reads and writes.
fn until_it_polls(thread: i32) {
    const PPOLL: &str = if cfg!(target_arch = "x86_64") {
        "271 "
    } else {
        "73 "
    };
    let file = format!("/proc/self/task/{thread}/syscall");
    while !std::fs::read_to_string(&file)
        .expect(&file)
        .starts_with(PPOLL)
    {
        std::thread::yield_now();
    }
}
