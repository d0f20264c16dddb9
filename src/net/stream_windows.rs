//! A connection whose waits end. On Windows nothing ends a `recv` that waits: neither a signal nor, for
//! seconds, shutting the connection down. So the socket does not block, and the thread waits for it and
//! for an event.

use crate::process::cancellation::{Event, poll};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::AsSocket;
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Before Windows 10 of 2020, `WSAPoll` does not say that connecting has failed.
pub(super) const FAILURES_ARE_SILENT: bool = true;
/// Sockets never block.
pub(super) const DO_NOT_WAIT: RecvFlags = RecvFlags::empty();

/// An open connection.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    woken: Arc<Event>,
}

/// Nothing has to be remembered here.
#[derive(Debug, Default)]
pub(crate) struct Timeouts;

impl Stream {
    /// Takes a socket that [`connected`] has got.
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        let woken = Event::new()?;
        Ok(Self { tcp, woken })
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads once. If nothing comes for so long, or the wait is ended, the error is `WouldBlock`.
    pub(crate) fn read(
        &self,
        into: &mut [u8],
        wait: Duration,
        _: &mut Timeouts,
    ) -> io::Result<usize> {
        match (&self.tcp).read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wait(PollFlags::IN, wait)?;
                (&self.tcp).read(into)
            }
            read => read,
        }
    }

    /// Writes once, in the same way.
    pub(crate) fn write(
        &self,
        bytes: &[u8],
        wait: Duration,
        _: &mut Timeouts,
    ) -> io::Result<usize> {
        match (&self.tcp).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wait(PollFlags::OUT, wait)?;
                (&self.tcp).write(bytes)
            }
            written => written,
        }
    }

    fn wait(&self, wanted: PollFlags, time: Duration) -> io::Result<()> {
        let mut polled = [
            PollFd::from_borrowed_fd(self.tcp.as_socket(), wanted),
            PollFd::from_borrowed_fd(self.woken.descriptor(), PollFlags::IN),
        ];
        poll(&mut polled, time)?;
        self.woken.clear();
        Ok(())
    }

    /// Ends what waits for the connection now, and the connection.
    pub(crate) fn end(&self) {
        // It fails only if the connection is closed already, which is what is wanted.
        let _ = self.tcp.shutdown(Shutdown::Both);
        self.woken.wake();
    }
}

/// A socket that does not block, which is being connected. Programs that this one starts do not inherit
/// it.
pub(super) fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Makes a socket that has been connected ready for use, which it is.
#[allow(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(super) fn connected(_: &TcpStream) -> io::Result<()> {
    Ok(())
}
