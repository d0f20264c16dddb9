//! The functions that a host may give a client.

use super::tokens::Tokens;
use std::sync::Arc;

/// Given a renewed pair of tokens before it is first used.
pub(crate) type Listener = Box<dyn FnOnce(&Tokens) + Send>;
/// Asked, on the thread whose call begins a renewal, for what is to be given the renewed pair.
pub(crate) type OnRenewal = Arc<dyn Fn() -> Option<Listener> + Send + Sync>;
/// Asked, when a signal ends a wait, whether the call must end too.
pub(crate) type OnInterrupt = Arc<dyn Fn() -> bool + Send + Sync>;
