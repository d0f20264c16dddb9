//! What belongs to the process and not to a client: pools, buckets, queues, open sockets.
//!
//! Every lock of this library lives in a [`Process`], and a forked child never touches the one it
//! inherited: another thread of the parent may have held any of its locks at the fork. The child
//! finds that it is a child and starts a `Process` of its own. The cell that holds the present one
//! is lock-free for the same reason.

use crate::bucket::Buckets;
use crate::client::SharedClients;
use crate::installations::Installations;
use crate::order::Order;
use crate::transport::{Sockets, Transports};
use crate::wait::Waits;
use arc_swap::ArcSwapOption;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

static CURRENT: ArcSwapOption<Process> = ArcSwapOption::const_empty();

/// The shared state of one process.
#[derive(Debug)]
pub(crate) struct Process {
    id: u64,
    mark: Mark,
    /// How many calls are under way: when none is, no lock is held and everything is whole.
    active: AtomicUsize,
    pub(crate) buckets: Buckets,
    pub(crate) installations: Installations,
    pub(crate) order: Order,
    pub(crate) shared_clients: SharedClients,
    pub(crate) sockets: Sockets,
    pub(crate) transports: Transports,
    pub(crate) waits: Waits,
}

impl Process {
    /// The state of the process that runs this, made anew in a forked child.
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
                active: AtomicUsize::new(0),
                buckets: Buckets::default(),
                installations: Installations::default(),
                order: Order::default(),
                shared_clients: SharedClients::default(),
                sockets: Sockets::default(),
                transports: Transports::default(),
                waits: Waits::default(),
            });
            CURRENT.compare_and_swap(&*present, Some(fresh));
            if let Some(inherited) = present.as_ref() {
                inherited.keep_if_torn();
            }
        }
    }

    /// Another number than that of any process that this one was forked from. (A process id is
    /// not: a child in a new PID namespace may have its parent's.)
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether this is still the state of the process that runs this.
    pub(crate) fn is_current(&self) -> bool {
        self.mark.is_of_this_process()
    }

    /// Counts as under way, until the guard is dropped, whatever takes a lock of this process's.
    pub(crate) fn enter(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    /// In a child: state that a thread of the parent was changing at the fork is left alone for
    /// ever, descriptors included. Whole state is dropped, which closes the inherited
    /// descriptors and sends nothing.
    fn keep_if_torn(self: &Arc<Self>) {
        if !self.is_current() && self.active.load(Ordering::Relaxed) > 0 {
            mem::forget(Arc::clone(self));
        }
    }
}

/// Tells a process from its children. A changed process id shows a child that was made by any
/// means; the count of forks, which the C library's `fork` has changed in every child, shows one with
/// the same id. No lock and no further system call.
#[derive(Debug)]
struct Mark {
    pid: u32,
    /// None where the C library could not register the count: the id alone decides.
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
        // On a copy: what detects a fork takes note of it, and this is asked again.
        self.forks
            .clone()
            .is_some_and(|mut forks| forks.detected_fork())
    }

    #[cfg(not(unix))]
    fn is_inherited(&self) -> bool {
        false
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Active(Arc<Process>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
