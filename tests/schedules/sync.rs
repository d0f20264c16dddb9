//! What `src/process/sync.rs` offers when shuttle decides which thread goes on.
//!
//! Time does not pass by itself. When every thread waits, it goes on to the moment at which the first
//! of them wants to be woken; otherwise only where a test lets it pass. So a deadline passes only if
//! nobody woke who waits, and a lost wake-up shows.

pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};

use super::super::cancellation::Parked;
use atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, LazyLock, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};
use std::time::{Duration, Instant};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Of std, and never locked where another thread may go on.
static WORLD: StdMutex<World> = StdMutex::new(World {
    passed: Duration::ZERO,
    threads: 0,
    waiting: Vec::new(),
});

/// The time, and who waits for it.
struct World {
    passed: Duration,
    /// How many threads have begun and not ended; not the first one, which only starts and joins them.
    threads: usize,
    waiting: Vec<Waiting>,
}

struct Waiting {
    event: Arc<Wakes>,
    until: Duration,
    thread: shuttle::thread::Thread,
}

#[derive(Debug, Default)]
struct Wakes(StdMutex<bool>);

impl Wakes {
    fn lock(&self) -> StdMutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn world() -> StdMutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Lets time pass if every thread waits for that, and returns who is to be woken.
    fn go_on(&mut self) -> Vec<shuttle::thread::Thread> {
        let waits = |waiting: &&Waiting| !*waiting.event.lock() && waiting.until > self.passed;
        if self.waiting.iter().filter(waits).count() < self.threads {
            return Vec::new();
        }
        match self.waiting.iter().map(|waiting| waiting.until).min() {
            Some(first) => self.pass_until(first),
            None => Vec::new(),
        }
    }

    fn pass_until(&mut self, at: Duration) -> Vec<shuttle::thread::Thread> {
        self.passed = self.passed.max(at);
        let due = self.waiting.iter().filter(|w| w.until <= self.passed);
        due.map(|waiting| waiting.thread.clone()).collect()
    }
}

fn wake(threads: Vec<shuttle::thread::Thread>) {
    for thread in threads {
        thread.unpark();
    }
}

/// A schedule begins: no time has passed, and there is no thread yet.
pub(crate) fn begin(threads: usize) {
    let mut world = world();
    world.passed = Duration::ZERO;
    world.threads = threads;
    world.waiting.clear();
}

/// As many threads more are going to be started, by [`counted`].
pub(crate) fn expect(threads: usize) {
    world().threads += threads;
}

/// Runs `f` on a thread that was expected.
pub(crate) fn counted<T>(f: impl FnOnce() -> T) -> T {
    let _counted = Counted;
    f()
}

struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        // After a panic the schedule is over.
        if !std::thread::panicking() {
            let due = {
                let mut world = world();
                world.threads -= 1;
                world.go_on()
            };
            wake(due);
        }
    }
}

/// How much time has passed since the schedule began.
pub(crate) fn passed() -> Duration {
    world().passed
}

/// Lets time pass although threads could go on, which so are slow.
pub(crate) fn pass(time: Duration) {
    let due = {
        let mut world = world();
        let at = world.passed + time;
        world.pass_until(at)
    };
    wake(due);
}

pub(crate) fn now() -> Instant {
    *BEGINNING + passed()
}

pub(crate) mod thread {
    use std::io;
    pub(crate) use std::thread::panicking;

    pub(crate) struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(shuttle::thread::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            f: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<shuttle::thread::JoinHandle<T>> {
            super::expect(1);
            self.0.spawn(move || super::counted(f))
        }
    }
}

/// Something that one thread waits for.
#[derive(Debug)]
pub(crate) struct Event {
    pub(in super::super) notified: AtomicBool,
    woken: Arc<Wakes>,
    none: std::io::Stdin,
}

impl Event {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            notified: AtomicBool::new(false),
            woken: Arc::default(),
            none: io::stdin(),
        }))
    }

    /// Marks the event as notified, and wakes the waiting thread.
    pub(crate) fn notify(&self) {
        self.notified.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(in super::super) fn wake(&self) {
        *self.woken.lock() = true;
        let world = world();
        let is_mine = |waiting: &&Waiting| Arc::ptr_eq(&waiting.event, &self.woken);
        let thread = world.waiting.iter().find(is_mine).map(|w| w.thread.clone());
        drop(world);
        wake(thread.into_iter().collect());
    }

    pub(in super::super) fn park(&self, timeout: Duration) -> Parked {
        let until = passed() + timeout;
        loop {
            let due = {
                let mut world = world();
                world
                    .waiting
                    .retain(|w| !Arc::ptr_eq(&w.event, &self.woken));
                if std::mem::take(&mut *self.woken.lock()) || world.passed >= until {
                    return Parked::WokenOrTimeout;
                }
                world.waiting.push(Waiting {
                    event: Arc::clone(&self.woken),
                    until,
                    thread: shuttle::thread::current(),
                });
                world.go_on()
            };
            wake(due);
            shuttle::thread::park();
        }
    }

    /// For sockets, of which there are none in these tests.
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.none)
    }

    /// As [`Self::descriptor`].
    pub(crate) fn clear(&self) {}
}
