//! The network below HTTP: names, connections, and whose certificates are trusted.

pub(crate) mod connect;
pub(crate) mod dns;
pub(crate) mod roots;
#[cfg_attr(unix, path = "stream_unix.rs")]
#[cfg_attr(windows, path = "stream_windows.rs")]
pub(crate) mod stream;
