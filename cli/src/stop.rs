//! SIGINT and SIGTERM: the first ends what is done, and the next one ends it at once.
//!
//! They are blocked, and a thread waits for them: what must be done then cannot be done in a handler. On
//! Windows it is Ctrl-C.

use crate::exit::INTERRUPTED;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Called at each signal with how many there were.
type Hook = Box<dyn Fn(u8) + Send>;

/// Whether the program is to end. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether calls under way are to end.
    cancelled: AtomicBool,
    signal: AtomicU8,
}

#[derive(Default)]
struct State {
    signals: u8,
    /// Whether the first signal leaves requests that are under way alone.
    gently: bool,
    hook: Option<Hook>,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was a signal.
    pub(crate) fn is_requested(&self) -> bool {
        self.lock().signals > 0
    }

    /// Whether calls under way are to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Waits so long, or until there is a signal. Returns whether there was one.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.signals > 0 || left.is_zero() {
                return state.signals > 0;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// From now on the first signal does only what `hook` does; the second cancels.
    pub(crate) fn gently(&self, hook: impl Fn(u8) + Send + 'static) {
        let mut state = self.lock();
        state.gently = true;
        if state.signals > 0 {
            hook(state.signals);
        }
        state.hook = Some(Box::new(hook));
    }

    /// The exit code of the program: if a command was interrupted, that of the signal.
    pub(crate) fn exit_code(&self, code: u8) -> u8 {
        if code == INTERRUPTED && self.is_requested() {
            self.signal_code()
        } else {
            code
        }
    }

    fn signal_code(&self) -> u8 {
        128 + self.0.signal.load(Ordering::SeqCst)
    }

    fn signalled(&self, signal: u8) {
        self.0.signal.store(signal, Ordering::SeqCst);
        let mut state = self.lock();
        state.signals = state.signals.saturating_add(1);
        let at_once = state.signals - u8::from(state.gently);
        if at_once > 0 {
            self.0.cancelled.store(true, Ordering::SeqCst);
        }
        if let Some(hook) = &state.hook {
            hook(state.signals);
        }
        self.0.changed.notify_all();
        drop(state);
        if at_once > 1 {
            // Something does not end: an output that nobody reads.
            std::process::exit(self.signal_code().into());
        }
    }
}

/// The signals while the program runs.
pub(crate) struct Signals {
    stop: Stop,
    waiting: Option<system::Waiting>,
}

impl Signals {
    /// Waits for signals until it is dropped.
    pub(crate) fn catch() -> Self {
        let stop = Stop::default();
        Self {
            waiting: system::Waiting::begin(stop.clone()),
            stop,
        }
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.end();
        }
    }
}

#[cfg(unix)]
mod system {
    use super::Stop;
    use nix::sys::pthread::{Pthread, pthread_kill};
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};
    use std::os::unix::thread::JoinHandleExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{Builder, JoinHandle};

    /// The thread that waits, and which signals were blocked before.
    pub(super) struct Waiting {
        thread: JoinHandle<()>,
        ends: Arc<AtomicBool>,
        before: SigSet,
    }

    impl Waiting {
        /// None if that is impossible; then the signals do what they did before.
        pub(super) fn begin(stop: Stop) -> Option<Self> {
            let awaited = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
            let before = awaited.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
            let ends = Arc::new(AtomicBool::new(false));
            let has_ended = Arc::clone(&ends);
            let thread = Builder::new()
                .name("b24-signals".to_owned())
                .spawn(move || {
                    while let Ok(signal) = awaited.wait() {
                        if has_ended.load(Ordering::SeqCst) {
                            return;
                        }
                        // SIGINT is 2 and SIGTERM 15.
                        stop.signalled(u8::try_from(signal as i32).unwrap_or_default());
                    }
                });
            if let Ok(thread) = thread {
                return Some(Self {
                    thread,
                    ends,
                    before,
                });
            }
            let _ = before.thread_set_mask();
            None
        }

        pub(super) fn end(self) {
            self.ends.store(true, Ordering::SeqCst);
            // It goes to that thread alone, which waits for it.
            #[allow(
                clippy::unnecessary_cast,
                reason = "for musl, std and libc have two types"
            )]
            let thread = self.thread.as_pthread_t() as Pthread;
            if pthread_kill(thread, Signal::SIGTERM).is_ok() {
                let _ = self.thread.join();
            }
            let _ = self.before.thread_set_mask();
        }
    }
}

/// Windows has Ctrl-C and Ctrl-Break, of which the C library makes SIGINT. It calls a handler for it on
/// a thread of its own, which only notes it.
#[cfg(windows)]
mod system {
    use super::Stop;
    use signal_hook::SigId;
    use signal_hook::consts::SIGINT;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{Builder, JoinHandle, sleep};
    use std::time::Duration;

    /// The thread that looks for what was noted.
    pub(super) struct Waiting {
        thread: JoinHandle<()>,
        ends: Arc<AtomicBool>,
        handler: SigId,
    }

    impl Waiting {
        /// None if that is impossible; then Ctrl-C ends the program at once.
        pub(super) fn begin(stop: Stop) -> Option<Self> {
            const PAUSE: Duration = Duration::from_millis(50);
            let noted = Arc::new(AtomicBool::new(false));
            let handler = signal_hook::flag::register(SIGINT, Arc::clone(&noted)).ok()?;
            let ends = Arc::new(AtomicBool::new(false));
            let has_ended = Arc::clone(&ends);
            let thread = Builder::new()
                .name("b24-signals".to_owned())
                .spawn(move || {
                    while !has_ended.load(Ordering::SeqCst) {
                        if noted.swap(false, Ordering::SeqCst) {
                            stop.signalled(u8::try_from(SIGINT).unwrap_or_default());
                        }
                        sleep(PAUSE);
                    }
                });
            match thread {
                Ok(thread) => Some(Self {
                    thread,
                    ends,
                    handler,
                }),
                Err(_) => {
                    signal_hook::low_level::unregister(handler);
                    None
                }
            }
        }

        pub(super) fn end(self) {
            self.ends.store(true, Ordering::SeqCst);
            let _ = self.thread.join();
            signal_hook::low_level::unregister(self.handler);
        }
    }
}
