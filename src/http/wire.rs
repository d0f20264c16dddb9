//! The parts of a connection.

use std::io::{Read, Write};

/// Transports the bytes of a connection: a socket, a tunnel through a proxy, or TLS over one of
/// them.
pub(super) trait Wire: Read + Write + Send + Sync {
    /// Whether the other side has neither closed it nor sent anything that nobody asked for.
    fn is_open(&mut self) -> bool;
}
