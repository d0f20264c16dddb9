//! Plain values, which use nothing of the other modules.

pub(crate) mod address;
pub(crate) mod callbacks;
pub(crate) mod error;
#[cfg(feature = "provider")]
pub(crate) mod postgres_url;
pub(crate) mod rate;
pub(crate) mod receipt;
pub(crate) mod sender;
pub(crate) mod shown;
pub(crate) mod status;
pub(crate) mod tokens;
pub(crate) mod vocabulary;

/// The target of this library's log records.
pub(crate) const LOG: &str = "b24_messageservice";
