//! What must hold in every schedule. Each property is a function that runs under shuttle once a
//! schedule and panics if it does not hold.

pub mod keyed_queue;
pub mod rate_limit;
pub mod renewal;
pub(crate) mod server;
pub(crate) mod shared;

use crate::process::cancellation::{CallContext, CancelSource};
use crate::process::per_process::Process;
use crate::process::sync;
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(3600);

type Thread = Box<dyn FnOnce() + Send>;

/// To be called before each schedule: nothing is left of the one before.
pub fn begin() {
    fastrand::seed(1);
    sync::begin(0);
    Process::begin_another();
    server::begin();
}

/// Runs all of them at the same time, until they have ended.
fn run(threads: Vec<Thread>) {
    sync::expect(threads.len());
    let started: Vec<_> = threads
        .into_iter()
        .map(|thread| shuttle::thread::spawn(move || sync::counted(thread)))
        .collect();
    for thread in started {
        thread.join().unwrap();
    }
}

fn call(cancel: &Arc<CancelSource>, timeout: Duration) -> CallContext {
    let process = Process::current();
    CallContext::new(&process, Arc::clone(cancel), timeout, timeout, "")
}

/// A call that nothing ends.
fn patient() -> CallContext {
    call(&Arc::new(CancelSource::new(None)), LONG)
}

/// A thread that cancels, at whatever moment it is chosen.
fn canceller(cancel: &Arc<CancelSource>) -> Thread {
    let cancel = Arc::clone(cancel);
    Box::new(move || cancel.cancel(&Process::current()))
}

/// A thread by which time passes although others could go on.
fn passing(time: Duration) -> Thread {
    Box::new(move || sync::pass(time))
}
