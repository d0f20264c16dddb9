//! What is kept after the process has ended: the tokens of installations and the levels of rate
//! limits.

#[cfg(unix)]
pub(crate) mod directory;
#[cfg(not(unix))]
#[path = "no_directory.rs"]
pub(crate) mod directory;
#[cfg(unix)]
mod file_lock;
#[cfg(unix)]
mod level;
#[cfg(unix)]
mod links;
#[allow(dead_code, reason = "the provider's store seals with it")]
pub(crate) mod seal;
#[cfg(unix)]
mod state_dir;
pub(crate) mod token_record;
pub(crate) mod token_store;
