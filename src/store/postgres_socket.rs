//! The socket of a connection to PostgreSQL. It does not block: whoever polls waits for it.

use crate::process::cancellation::Interrupt;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Why an answer did not come.
#[derive(Debug)]
pub(super) enum Failure {
    /// The call had to end.
    Interrupted(Interrupt),
    /// There is no connection.
    Unreachable(String),
    /// The server has refused something, or the connection broke.
    Postgres(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// A socket that does not block.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    /// Whether something could not be written yet.
    is_full: AtomicBool,
}

impl Socket {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self {
            descriptor,
            is_full: AtomicBool::new(false),
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Whether it has to become writable, for what could not be written yet.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.descriptor, &mut *into, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                received => return Ok(received?.0),
            }
        }
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = loop {
            match send(&self.descriptor, bytes, NO_SIGNAL) {
                Err(Errno::INTR) => {}
                sent => break sent,
            }
        };
        self.is_full
            .store(sent == Err(Errno::WOULDBLOCK), Ordering::Relaxed);
        Ok(sent?)
    }
}

/// A server that has closed the connection must not end the host program.
#[cfg(not(any(windows, target_vendor = "apple")))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(any(windows, target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::empty();

/// What is not ready is pending: whoever polls waits for the socket.
pub(super) fn pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// The socket as `tokio-postgres` uses it.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) socket: Arc<Socket>,
    received: Received,
}

impl Plain {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        Self {
            socket,
            received: Received::new(),
        }
    }
}

/// Where bytes are received before they go to whoever reads. `tokio-postgres` offers a buffer that is
/// not initialized, and to set all of it to zero for each answer takes longer than to copy the answer.
#[derive(Debug)]
pub(super) struct Received(Box<[u8]>);

impl Received {
    pub(super) fn new() -> Self {
        const SIZE: usize = 8192;
        Self(vec![0; SIZE].into_boxed_slice())
    }

    /// Reads once, by `receive`.
    pub(super) fn read(
        &mut self,
        into: &mut ReadBuf<'_>,
        receive: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<()>> {
        let size = self.0.len().min(into.remaining());
        let buffer = self.0.get_mut(..size).unwrap_or_default();
        let received = receive(buffer);
        pending(received).map_ok(|received| {
            into.put_slice(buffer.get(..received).unwrap_or_default());
        })
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.received
            .read(into, |buffer| this.socket.receive(buffer))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        pending(self.socket.send(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
