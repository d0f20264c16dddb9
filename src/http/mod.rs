//! HTTP: one request out, one answer in, over the process's pooled connections.

pub(crate) mod client;
mod connection;
pub(crate) mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod hidden;
#[cfg(not(feature = "fuzzing"))]
mod hidden;
mod later_resolver;
pub(crate) mod probe;
mod proxy;
mod tcp;
mod tls;
mod wire;
