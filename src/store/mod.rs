//! What is kept after the process has ended: the tokens of installations and the levels of rate
//! limits.

#[cfg(feature = "provider")]
pub(crate) mod database;
#[cfg(unix)]
pub(crate) mod directory;
#[cfg(not(unix))]
#[path = "no_directory.rs"]
pub(crate) mod directory;
#[cfg(unix)]
mod file_lock;
#[cfg(feature = "provider")]
pub(crate) mod installations;
#[cfg(feature = "provider")]
pub(crate) mod lane_lease;
#[cfg(feature = "provider")]
pub(crate) mod lanes;
#[cfg(unix)]
mod level;
#[cfg(unix)]
mod links;
#[cfg(feature = "provider")]
pub(crate) mod moving;
#[cfg(all(unix, feature = "provider"))]
pub(crate) mod postgres;
#[cfg(all(not(unix), feature = "provider"))]
#[path = "no_postgres.rs"]
pub(crate) mod postgres;
#[cfg(all(unix, feature = "provider"))]
mod postgres_connection;
#[cfg(all(unix, feature = "provider"))]
mod postgres_functions;
#[cfg(all(unix, feature = "provider"))]
mod postgres_socket;
#[cfg(all(unix, feature = "provider"))]
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
#[cfg(all(unix, feature = "provider"))]
pub(crate) mod sqlite;
#[cfg(all(not(unix), feature = "provider"))]
#[path = "no_sqlite.rs"]
pub(crate) mod sqlite;
#[cfg(all(unix, feature = "provider"))]
mod sqlite_file;
#[cfg(unix)]
mod state_dir;
#[cfg(all(unix, feature = "provider"))]
mod store_clock;
pub(crate) mod token_record;
pub(crate) mod token_store;
