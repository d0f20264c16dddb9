//! What belongs to the process and not to a client: pools, buckets, queues, open sockets.
//!
//! Every lock of this library lives in a [`Process`], and a forked child never touches the one it
//! inherited: another thread of the parent may have held any of its locks at the fork. The child
//! finds its process id changed and starts a `Process` of its own. The cell that holds the present
//! one is lock-free for the same reason.

use crate::bucket::Buckets;
use crate::client::SharedClients;
use crate::installations::Installations;
use crate::order::Order;
use crate::transport::{Sockets, Transports};
use crate::wait::Waits;
use arc_swap::ArcSwapOption;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

static CURRENT: ArcSwapOption<Process> = ArcSwapOption::const_empty();

/// The shared state of one process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
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
        let pid = std::process::id();
        loop {
            let present = CURRENT.load();
            if let Some(process) = present.as_ref()
                && process.pid == pid
            {
                return Arc::clone(process);
            }
            let fresh = Arc::new(Self {
                pid,
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

    /// The process that this is the state of.
    pub(crate) fn id(&self) -> u32 {
        self.pid
    }

    /// Whether this is still the state of the process that runs this.
    pub(crate) fn is_current(&self) -> bool {
        self.pid == std::process::id()
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

/// A call under way.
#[derive(Debug)]
pub(crate) struct Active(Arc<Process>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
