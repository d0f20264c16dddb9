//! What a connection is made of.

use std::io::{Read, Write};

/// What a connection's bytes go over: a socket, a tunnel through a proxy, or TLS over one of them.
pub(super) trait Wire: Read + Write + Send + Sync {
    /// Whether the other side has neither closed it nor sent what nobody asked for.
    fn is_open(&mut self) -> bool;
}
