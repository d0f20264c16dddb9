//! Connecting to one of several addresses, so that the wait ends at the deadline, at `cancel` and on
//! a signal.

use crate::process::cancellation::CallContext;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The order in which addresses are tried: the one that worked last, then addresses of IPv6 and
/// IPv4 in turn, beginning with the family that the system put first.
pub(crate) fn in_order(addresses: &[SocketAddr], good: Option<SocketAddr>) -> Vec<SocketAddr> {
    let of_first = |address: &&SocketAddr| {
        let first = addresses.first().map(SocketAddr::is_ipv4);
        Some(address.is_ipv4()) == first
    };
    let mut first = addresses.iter().filter(of_first);
    let mut second = addresses.iter().filter(|address| !of_first(address));
    let mut ordered: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    ordered.extend(good.filter(|address| addresses.contains(address)));
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        let new = pair.into_iter().flatten().filter(|a| Some(**a) != good);
        ordered.extend(new);
    }
}

/// How long an attempt takes before the next address is tried at the same time (RFC 8305, section
/// 5).
#[cfg(unix)]
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the address that answers first. Each is tried when the one before has failed, or has
/// had its head start. The wait is for all of them together, and for `cancel`.
#[cfg(unix)]
pub(crate) fn connect(
    call: &CallContext,
    host: &str,
    addresses: &[SocketAddr],
) -> io::Result<(TcpStream, SocketAddr)> {
    use crate::process::cancellation::{Event, poll};
    use rustix::event::{PollFd, PollFlags};
    use rustix::io::Errno;
    use std::time::Instant;

    let event = Event::new()?;
    let _registered = call.listen(&event);
    let mut untried = addresses.iter().copied();
    let mut attempts: Vec<ConnectAttempt> = Vec::new();
    let mut next_at = Instant::now();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        call.check_signals();
        let left = call.remaining();
        if left.is_zero() || call.is_cancelled() {
            return Err(match attempts.first() {
                Some(attempt) => told(host, attempt.address, &io::ErrorKind::TimedOut.into()),
                None => last,
            });
        }
        let head_start = next_at.saturating_duration_since(Instant::now());
        if (attempts.is_empty() || head_start.is_zero())
            && let Some(address) = untried.next()
        {
            match ConnectAttempt::begin(address) {
                Ok(attempt) => attempts.push(attempt),
                Err(error) => last = told(host, address, &error),
            }
            next_at = Instant::now() + HEAD_START;
            continue;
        }
        if attempts.is_empty() {
            return Err(last);
        }
        let left = if untried.len() == 0 {
            left
        } else {
            left.min(head_start)
        };
        let mut polled: Vec<_> = attempts
            .iter()
            .map(|attempt| PollFd::new(&attempt.socket, PollFlags::OUT))
            .collect();
        polled.push(PollFd::from_borrowed_fd(event.descriptor(), PollFlags::IN));
        match poll(&mut polled, call.one_wait(left)) {
            Err(Errno::INTR) => {
                call.interrupted();
                continue;
            }
            polled => polled?,
        };
        let mut ready = polled
            .iter()
            .map(|polled| !polled.revents().is_empty())
            .collect::<Vec<bool>>()
            .into_iter();
        // A wake-up that was not meant for this call must not make it poll in a circle.
        event.clear();
        for attempt in attempts.extract_if(.., |_| ready.next() == Some(true)) {
            let address = attempt.address;
            match attempt.outcome() {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => last = told(host, address, &error),
            }
        }
    }
}

/// A connection that is being opened.
#[cfg(unix)]
struct ConnectAttempt {
    socket: std::os::fd::OwnedFd,
    address: SocketAddr,
}

#[cfg(unix)]
impl ConnectAttempt {
    fn begin(address: SocketAddr) -> io::Result<Self> {
        use rustix::io::Errno;
        use rustix::net::{AddressFamily, SocketType};

        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = open_socket(family, SocketType::STREAM)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Self { socket, address }),
            Err(other) => Err(other.into()),
        }
    }

    /// To be called when the socket is ready.
    fn outcome(self) -> io::Result<TcpStream> {
        rustix::net::sockopt::socket_error(&self.socket)??;
        rustix::io::ioctl_fionbio(&self.socket, false)?;
        Ok(self.socket.into())
    }
}

fn told(host: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let text = format!("connecting to {host} ({address}): {error}");
    io::Error::new(error.kind(), text)
}

#[cfg(all(unix, not(target_vendor = "apple")))]
fn open_socket(
    family: rustix::net::AddressFamily,
    kind: rustix::net::SocketType,
) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

#[cfg(all(unix, target_vendor = "apple"))]
fn open_socket(
    family: rustix::net::AddressFamily,
    kind: rustix::net::SocketType,
) -> io::Result<std::os::fd::OwnedFd> {
    let socket = rustix::net::socket(family, kind, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}

/// Connects to the first address that answers. Each gets a part of the time that is left, so that
/// one that does not answer leaves time for the others.
#[cfg(not(unix))]
pub(crate) fn connect(
    call: &CallContext,
    host: &str,
    addresses: &[SocketAddr],
) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (at, address) in addresses.iter().enumerate() {
        if call.check().is_err() {
            break;
        }
        let share = call.remaining() / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = told(host, *address, &error),
        }
    }
    Err(last)
}

/// Whether the server has neither closed the connection nor sent anything that nobody asked for.
#[cfg(unix)]
pub(crate) fn is_quiet(stream: impl std::os::fd::AsFd) -> bool {
    use rustix::net::{RecvFlags, recv};
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(
        recv(stream, &mut [0; 1][..], flags),
        Err(rustix::io::Errno::WOULDBLOCK)
    )
}

#[cfg(not(unix))]
pub(crate) fn is_quiet(stream: &TcpStream) -> bool {
    let quiet = stream.set_nonblocking(true).is_ok()
        && matches!(stream.peek(&mut [0; 1]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    quiet && stream.set_nonblocking(false).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_good_address_goes_first() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            let address = |ip: &&str| Some(SocketAddr::new(ip.parse().ok()?, 443));
            texts.iter().filter_map(address).collect()
        };
        let found = addresses(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"]);
        let in_turn = ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"];
        for (good, expected) in [
            (None, in_turn),
            (Some("::1"), in_turn),
            (Some("3.3.3.3"), in_turn),
            (Some("2.2.2.2"), ["2.2.2.2", "::1", "1.1.1.1", "::2", "::3"]),
        ] {
            let good = addresses(good.as_slice()).first().copied();
            assert_eq!(in_order(&found, good), addresses(&expected));
        }
        let found = addresses(&["1.1.1.1", "::1"]);
        assert_eq!(in_order(&found, None), found);
    }
}
