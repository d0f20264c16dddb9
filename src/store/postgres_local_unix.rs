//! Connects to a server of this machine by its socket.

use super::postgres_socket::Failure;
use crate::process::cancellation::{CallContext, Interrupt};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A connected socket that does not block.
pub(super) fn connect_local(path: &Path, call: &CallContext) -> Result<OwnedFd, Failure> {
    /// How long until a server with a full queue is asked again.
    const PAUSE: Duration = Duration::from_millis(10);
    let failed = |error: Errno| {
        Failure::Unreachable(format!(
            "connecting to {}: {}",
            path.display(),
            io::Error::from(error)
        ))
    };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    loop {
        let socket = open().map_err(|error| match error {
            Errno::MFILE | Errno::NFILE => Failure::Interrupted(Interrupt::NoDescriptor),
            error => failed(error),
        })?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN | Errno::INTR) => call.sleep(PAUSE).map_err(Failure::Interrupted)?,
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn open() -> Result<OwnedFd, Errno> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

#[cfg(target_vendor = "apple")]
fn open() -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}
