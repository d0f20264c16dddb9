//! A connection whose waits end: by the timeouts of its socket, by a signal, and by shutting it down.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketType};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// `poll` says when connecting has failed.
pub(super) const FAILURES_ARE_SILENT: bool = false;
/// Receives only what is there.
pub(super) const DO_NOT_WAIT: RecvFlags = RecvFlags::DONTWAIT;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Stream(TcpStream);

/// What the timeouts of its socket are set to.
#[derive(Debug, Default)]
pub(crate) struct Timeouts {
    read: Option<Duration>,
    write: Option<Duration>,
}

impl Stream {
    /// Takes a socket that [`connected`] has got.
    #[allow(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        Ok(Self(tcp))
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.0
    }

    /// Reads once. If nothing comes for so long, the error is `WouldBlock` or `TimedOut`; on a signal
    /// it is `Interrupted`.
    pub(crate) fn read(
        &self,
        into: &mut [u8],
        wait: Duration,
        timeouts: &mut Timeouts,
    ) -> io::Result<usize> {
        if timeouts.read != Some(wait) {
            self.0.set_read_timeout(Some(wait))?;
            timeouts.read = Some(wait);
        }
        (&self.0).read(into)
    }

    /// Writes once, in the same way.
    pub(crate) fn write(
        &self,
        bytes: &[u8],
        wait: Duration,
        timeouts: &mut Timeouts,
    ) -> io::Result<usize> {
        if timeouts.write != Some(wait) {
            self.0.set_write_timeout(Some(wait))?;
            timeouts.write = Some(wait);
        }
        (&self.0).write(bytes)
    }

    /// Ends what waits for the connection now, and the connection.
    pub(crate) fn end(&self) {
        // It fails only if the connection is closed already, which is what is wanted.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A socket that does not block, which is being connected.
pub(super) fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = open_socket(family, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket.into()),
        Err(other) => Err(other.into()),
    }
}

/// Makes a socket that has been connected ready for use.
pub(super) fn connected(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)
}

#[cfg(not(target_vendor = "apple"))]
fn open_socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

#[cfg(target_vendor = "apple")]
fn open_socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, kind, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}
