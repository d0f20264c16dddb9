//! What is kept after the process has ended: the tokens of installations and the levels of rate
//! limits.

#[cfg(feature = "provider")]
pub(crate) mod database;
pub(crate) mod directory;
#[cfg_attr(unix, path = "file_lock_unix.rs")]
#[cfg_attr(windows, path = "file_lock_windows.rs")]
mod file_lock;
#[cfg(feature = "provider")]
pub(crate) mod installations;
#[cfg(feature = "provider")]
pub(crate) mod lane_lease;
#[cfg(feature = "provider")]
pub(crate) mod lanes;
mod level;
mod links;
#[cfg(feature = "provider")]
pub(crate) mod moving;
#[cfg(feature = "provider")]
pub(crate) mod postgres;
#[cfg(feature = "provider")]
mod postgres_connection;
#[cfg(feature = "provider")]
mod postgres_functions;
#[cfg(feature = "provider")]
#[cfg_attr(unix, path = "postgres_local_unix.rs")]
#[cfg_attr(windows, path = "postgres_local_windows.rs")]
mod postgres_local;
#[cfg(feature = "provider")]
mod postgres_socket;
#[cfg(feature = "provider")]
mod postgres_tls;
#[cfg(feature = "provider")]
pub(crate) mod receipts;
#[cfg(feature = "provider")]
pub(crate) mod references;
#[cfg(feature = "provider")]
pub(crate) mod schema;
#[cfg(feature = "provider")]
pub(crate) mod seal;
#[cfg(feature = "provider")]
pub(crate) mod shared_tokens;
#[cfg(feature = "provider")]
pub(crate) mod sqlite;
#[cfg(feature = "provider")]
mod sqlite_file;
#[cfg(feature = "provider")]
#[cfg_attr(unix, path = "sqlite_turn_unix.rs")]
#[cfg_attr(windows, path = "sqlite_turn_windows.rs")]
mod sqlite_turn;
#[cfg(feature = "provider")]
#[cfg_attr(
    any(target_os = "linux", target_os = "android"),
    path = "sqlite_user_linux.rs"
)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "sqlite_user_not_linux.rs"
)]
mod sqlite_user;
/// What macOS and Windows have instead, for its tests.
#[cfg(all(test, feature = "provider", target_os = "linux"))]
#[allow(dead_code, reason = "only its tests use it here")]
#[path = "sqlite_user_not_linux.rs"]
mod sqlite_user_not_linux;
mod state_dir;
#[cfg(feature = "provider")]
mod store_clock;
#[cfg_attr(unix, path = "system_unix.rs")]
#[cfg_attr(windows, path = "system_windows.rs")]
mod system;
pub(crate) mod token_record;
pub(crate) mod token_store;
