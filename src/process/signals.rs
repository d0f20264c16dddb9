//! Threads of this library receive no signals: those are meant for the host program.

#[cfg(unix)]
use crate::values::LOG;

/// Runs `f` with all signals blocked. A thread that it starts keeps them blocked.
#[cfg(unix)]
pub(crate) fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow};
    let former = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let done = f();
    if let Ok(former) = former
        && let Err(why) = former.thread_set_mask()
    {
        log::error!(target: LOG, "signals stay blocked on this thread: {why}");
    }
    done
}

#[cfg(not(unix))]
pub(crate) fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    f()
}
