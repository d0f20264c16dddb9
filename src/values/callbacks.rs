//! The functions that a host program may give a client.

use super::tokens::Tokens;
use std::sync::Arc;

/// Receives a renewed pair of tokens before it is first used.
pub(crate) type Listener = Box<dyn FnOnce(&Tokens) + Send>;
/// Called on the thread whose call starts a renewal. Returns the function that receives the renewed
/// pair.
pub(crate) type OnRenewal = Arc<dyn Fn() -> Option<Listener> + Send + Sync>;
/// Called when a signal ends a wait, and from time to time during one. Returns whether the call must end too.
pub(crate) type OnInterrupt = Arc<dyn Fn() -> bool + Send + Sync>;
