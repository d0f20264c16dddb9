//! What belongs to one process: state that a forked child must not touch, waiting and its
//! cancellation, and turns.

pub(crate) mod cancellation;
pub(crate) mod keyed_queue;
pub(crate) mod pending;
pub(crate) mod per_process;
pub(crate) mod registry;
pub(crate) mod signals;
pub(crate) mod sync;
#[cfg_attr(unix, path = "wake_socket_unix.rs")]
#[cfg_attr(windows, path = "wake_socket_windows.rs")]
#[cfg_attr(shuttle, allow(dead_code, reason = "events are shuttle's"))]
mod wake_socket;
