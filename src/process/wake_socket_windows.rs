//! What wakes a thread that waits. Windows has no pairs of sockets, and waits for nothing else together
//! with connections. So it is a UDP socket of this machine that is connected to itself: it receives
//! only what comes from its own address.
//!
//! A wake-up only makes a thread look again at what it waits for. So whoever sends one by force wakes
//! it for nothing. Whoever takes the address too (which a program of the same user can) makes
//! wake-ups get lost; then the thread looks after [`WakeSocket::LONGEST_WAIT`].

use rustix::fd::{AsSocket, BorrowedFd};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct WakeSocket(UdpSocket);

impl WakeSocket {
    /// How late a thread wakes whose wake-up was lost.
    pub(super) const LONGEST_WAIT: Option<Duration> = Some(Duration::from_millis(250));

    pub(super) fn new() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    pub(super) fn wake(&self) {
        // If there is no room, the thread is woken already.
        let _ = self.0.send(&[1]);
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_socket()
    }

    pub(super) fn clear(&self) {
        // One datagram is one wake-up. There may be none, after a timeout.
        while self.0.recv(&mut [0; 1]).is_ok() {}
    }
}
