//! HTTP: one request out, one answer in, over the process's pooled connections.

pub(crate) mod client;
mod connection;
mod dns;
pub(crate) mod exchange;
mod hidden;
mod proxy;
mod tcp;
mod tls;
mod wire;
