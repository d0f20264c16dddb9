//! State that belongs to the process and not to a client, and is made anew in a forked child.
//!
//! Every lock of this library lives in a [`PerProcess`] cell. A forked child never touches the
//! content that it inherited, since another thread of the parent may have held any of its locks at
//! the fork. The child notices that it is a child and starts with content of its own. The cells
//! have no lock for the same reason.

use arc_swap::ArcSwapOption;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

static CURRENT: ArcSwapOption<Process> = ArcSwapOption::const_empty();

/// The current process, as its [`PerProcess`] cells know it.
#[derive(Debug)]
pub(crate) struct Process {
    id: u64,
    mark: Mark,
    /// How many calls are under way. If there is none, no lock is held and all state is complete.
    in_flight: AtomicUsize,
}

impl Process {
    /// The current process; a forked child is another one.
    pub(crate) fn current() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        loop {
            let present = CURRENT.load();
            if let Some(process) = present.as_ref()
                && process.is_current()
            {
                return Arc::clone(process);
            }
            let fresh = Arc::new(Self {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                mark: Mark::new(),
                in_flight: AtomicUsize::new(0),
            });
            CURRENT.compare_and_swap(&*present, Some(fresh));
        }
    }

    /// Begins another one, as a forked child does.
    #[cfg(shuttle)]
    pub(crate) fn begin_another() {
        CURRENT.store(None);
    }

    /// A number that no process has from which this one was forked. (A process id is not enough: a
    /// child in a new PID namespace may have the same one as its parent.)
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether this is still the current process.
    pub(crate) fn is_current(&self) -> bool {
        self.mark.is_of_this_process()
    }

    /// Counts a call, which may take locks of this process, until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlightGuard {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(Arc::clone(self))
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct InFlightGuard(Arc<Process>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A static cell with one value for each process.
pub(crate) struct PerProcess<T> {
    content: ArcSwapOption<Content<T>>,
    /// Makes the value of a process. A forked child has that of its parent, which may be torn.
    make: fn(Option<&T>) -> T,
}

#[derive(Debug)]
struct Content<T> {
    process: Arc<Process>,
    value: T,
}

/// What a [`PerProcess`] cell holds for one process.
#[derive(Debug)]
pub(crate) struct Local<T>(Arc<Content<T>>);

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self::made_by(|_| T::default())
    }
}

impl<T> PerProcess<T> {
    /// A cell whose value in a child depends on that of the parent. `make` may be called more than
    /// once, by several threads of the child at the same time.
    pub(crate) const fn made_by(make: fn(Option<&T>) -> T) -> Self {
        Self {
            content: ArcSwapOption::const_empty(),
            make,
        }
    }

    /// The value of this process, which must be the current one.
    pub(crate) fn of(&self, process: &Arc<Process>) -> Local<T> {
        loop {
            let present = self.content.load();
            if let Some(content) = present.as_ref()
                && content.process.id == process.id
            {
                return Local(Arc::clone(content));
            }
            let fresh = Arc::new(Content {
                process: Arc::clone(process),
                value: (self.make)(present.as_ref().map(|content| &content.value)),
            });
            self.content.compare_and_swap(&*present, Some(fresh));
            if let Some(inherited) = present.as_ref() {
                inherited.keep_if_torn();
            }
        }
    }
}

impl<T> Content<T> {
    /// In a child: if a thread of the parent may have been changing the state at the fork, it is
    /// never touched again, descriptors included. Otherwise it is complete and is dropped, which
    /// closes the inherited descriptors and sends nothing.
    fn keep_if_torn(self: &Arc<Self>) {
        if self.process.in_flight.load(Ordering::Relaxed) > 0 {
            mem::forget(Arc::clone(self));
        }
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// Tells a process from its children. A changed process id shows any child. If the id is the same,
/// the count of forks shows it, which the C library's `fork` changes in every child. This takes no
/// lock and no further system call.
#[derive(Debug)]
struct Mark {
    pid: u32,
    /// None if the C library could not register the count; then only the id is compared.
    #[cfg(unix)]
    forks: Option<forkguard::atfork::Guard>,
}

impl Mark {
    fn new() -> Self {
        Self {
            pid: std::process::id(),
            #[cfg(unix)]
            forks: forkguard::atfork::Guard::try_new().ok(),
        }
    }

    fn is_of_this_process(&self) -> bool {
        self.pid == std::process::id() && !self.is_inherited()
    }

    #[cfg(unix)]
    fn is_inherited(&self) -> bool {
        // On a copy, because the detector remembers what it has seen, and this is called again.
        self.forks
            .clone()
            .is_some_and(|mut forks| forks.detected_fork())
    }

    #[cfg(not(unix))]
    fn is_inherited(&self) -> bool {
        false
    }
}
