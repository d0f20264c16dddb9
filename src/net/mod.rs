//! The network below HTTP: names, connections, and whose certificates are trusted.

pub(crate) mod connect;
pub(crate) mod dns;
pub(crate) mod roots;
