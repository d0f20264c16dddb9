//! What belongs to one process: state that a forked child must not touch, waiting and its
//! cancellation, and turns.

pub(crate) mod cancellation;
pub(crate) mod keyed_queue;
pub(crate) mod pending;
pub(crate) mod per_process;
pub(crate) mod registry;
pub(crate) mod signals;
pub(crate) mod sync;
