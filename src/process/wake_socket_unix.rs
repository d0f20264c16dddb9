//! What wakes a thread that waits: a pair of sockets.

use rustix::fd::BorrowedFd;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct WakeSocket {
    reader: UnixStream,
    writer: UnixStream,
}

impl WakeSocket {
    /// None, since no wake-up can get lost.
    pub(super) const LONGEST_WAIT: Option<Duration> = None;

    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        reader.set_nonblocking(true)?;
        Ok(Self { reader, writer })
    }

    pub(super) fn wake(&self) {
        // If the pipe is full, the thread is woken already. Nothing else can fail on our own socket
        // pair.
        let _ = io::Write::write(&mut &self.writer, &[1]);
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(super) fn clear(&self) {
        // There is nothing to read after a timeout.
        let _ = io::Read::read(&mut &self.reader, &mut [0; 64]);
    }
}
