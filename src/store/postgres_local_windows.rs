//! Servers on Windows have no sockets of the machine alone.

use super::postgres_socket::Failure;
use crate::process::cancellation::CallContext;
use rustix::fd::OwnedFd;
use std::path::Path;

pub(super) fn connect_local(path: &Path, _: &CallContext) -> Result<OwnedFd, Failure> {
    Err(Failure::Unreachable(format!(
        "{} is a socket of Unix; give the server's name or address instead",
        path.display()
    )))
}
