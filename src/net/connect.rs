//! Connecting to one of several addresses, so that the wait ends at the deadline, at `cancel` and on
//! a signal.

use super::stream;
use crate::process::cancellation::{CallContext, Event, poll};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

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
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the address that answers first. Each is tried when the one before has failed, or has
/// had its head start. The wait is for all of them together, and for `cancel`.
pub(crate) fn connect(
    call: &CallContext,
    host: &str,
    addresses: &[SocketAddr],
) -> io::Result<(TcpStream, SocketAddr)> {
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
        let mut ended = |attempt: &mut ConnectAttempt| {
            ready.next() == Some(true) || attempt.has_failed_silently()
        };
        for attempt in attempts.extract_if(.., |attempt| ended(attempt)) {
            let address = attempt.address;
            match attempt.outcome() {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => last = told(host, address, &error),
            }
        }
    }
}

/// A connection that is being opened.
struct ConnectAttempt {
    socket: TcpStream,
    address: SocketAddr,
    failed: Option<io::Error>,
}

impl ConnectAttempt {
    fn begin(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            socket: stream::begin_to_connect(address)?,
            address,
            failed: None,
        })
    }

    /// Whether it has failed and `poll` does not say so, where that may be.
    fn has_failed_silently(&mut self) -> bool {
        if stream::FAILURES_ARE_SILENT {
            self.failed = self.socket.take_error().ok().flatten();
        }
        self.failed.is_some()
    }

    /// To be called when the socket is ready.
    fn outcome(self) -> io::Result<TcpStream> {
        match self.failed {
            Some(error) => return Err(error),
            None => self.socket.take_error()?.map_or(Ok(()), Err)?,
        }
        stream::connected(&self.socket)?;
        Ok(self.socket)
    }
}

fn told(host: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let text = format!("connecting to {host} ({address}): {error}");
    io::Error::new(error.kind(), text)
}

/// Whether the server has neither closed the connection nor sent anything that nobody asked for.
pub(crate) fn is_quiet(socket: impl AsFd) -> bool {
    let flags = RecvFlags::PEEK | stream::DO_NOT_WAIT;
    matches!(recv(socket, &mut [0; 1][..], flags), Err(Errno::WOULDBLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stream::Timeouts;
    use crate::process::cancellation::CancelSource;
    use crate::process::per_process::Process;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

    /// A connection, and its other end, which neither reads nor writes.
    fn connection() -> (stream::Stream, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = std::sync::Arc::new(CancelSource::new(None));
        let minute = Duration::from_secs(60);
        let call = CallContext::new(&Process::current(), cancel, minute, minute, "");
        let (tcp, connected_to) = connect(&call, "test", &[address]).unwrap();
        assert_eq!(connected_to, address);
        (
            stream::Stream::new(tcp).unwrap(),
            listener.accept().unwrap().0,
        )
    }

    /// Waits of a minute, until one ends otherwise than by its time. Returns how many ended by it.
    fn waits(mut wait: impl FnMut() -> io::Result<usize>) -> usize {
        use io::ErrorKind::{TimedOut, WouldBlock};
        let mut waited = 0;
        loop {
            match wait() {
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => waited += 1,
                Ok(1..) => {}
                _ => return waited,
            }
        }
    }

    /// Ends a connection on which a thread waits, and returns how many waits ended by their time
    /// afterwards.
    fn end_while(
        stream: &stream::Stream,
        mut wait: impl FnMut(&mut Timeouts) -> io::Result<usize> + Send,
    ) -> usize {
        let (entered, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let after = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut timeouts = Timeouts::default();
                waits(|| {
                    entered.fetch_add(1, Ordering::SeqCst);
                    after.fetch_add(ended.load(Ordering::SeqCst).into(), Ordering::SeqCst);
                    wait(&mut timeouts)
                })
            });
            // Writing waits when all buffers are full, which nothing tells: then no more is written.
            let mut before = 0;
            while entered.load(Ordering::SeqCst) != before || before == 0 {
                before = entered.load(Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
            ended.store(true, Ordering::SeqCst);
            stream.end();
            waiting.join().unwrap();
        });
        after.into_inner()
    }

    #[test]
    fn a_wait_ends_with_its_connection() {
        let minute = Duration::from_secs(60);
        let (stream, _other) = connection();
        let read = end_while(&stream, |timeouts| {
            stream.read(&mut [0; 16], minute, timeouts)
        });
        let (stream, _other) = connection();
        let write = end_while(&stream, |timeouts| {
            stream.write(&vec![0; 65536], minute, timeouts)
        });
        // Where a wait is woken it may look once more, and then finds the connection closed.
        assert!(read <= 1 && write <= 1, "{read} and {write}");
    }
}
