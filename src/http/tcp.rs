//! Sockets that are opened, written and read so that a wait ends at the deadline, at `cancel` and
//! on a signal.
//!
//! ureq and std wait in `connect`, `read` and `write` until their own timeout, whatever happens,
//! and try the addresses of a name one after the other.

use super::exchange::Exchange;
use super::wire::Wire;
use crate::net::connect::{connect, in_order, is_quiet};
use crate::net::dns::Names;
use crate::net::stream::{Stream, Timeouts};
use crate::options::Resolve;
use crate::process::cancellation::{CallContext, Wake};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// An open connection, and the call that uses it now.
#[derive(Debug)]
struct Socket {
    stream: Stream,
    user: Mutex<Option<CallContext>>,
}

impl Socket {
    fn user(&self) -> MutexGuard<'_, Option<CallContext>> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this call uses the connection, or none.
    fn pass_to(&self, call: Option<&CallContext>) {
        let mut user = self.user();
        let is_the_same = match (user.as_ref(), call) {
            (Some(user), Some(call)) => user.is_of_same_call(call),
            (user, call) => user.is_none() && call.is_none(),
        };
        if !is_the_same {
            *user = call.cloned();
        }
    }
}

/// `cancel` ends the wait on a connection. It cannot end one of another call that has got the
/// connection in the meantime: whoever takes it out of the pool afterwards finds it closed.
impl Wake for Socket {
    fn wake(&self) {
        let user = self.user();
        if user.as_ref().is_some_and(CallContext::is_cancelled) {
            self.stream.end();
        }
    }
}

/// Opens connections, looking names up only then.
pub(super) struct TcpOpener {
    resolve: Vec<Resolve>,
    names: Arc<Names>,
}

impl TcpOpener {
    pub(super) fn new(resolve: Vec<Resolve>, names: Arc<Names>) -> Self {
        Self { resolve, names }
    }

    pub(super) fn addresses(
        &self,
        host: &str,
        port: u16,
        call: &CallContext,
    ) -> io::Result<Vec<SocketAddr>> {
        let fixed: Vec<_> = self
            .resolve
            .iter()
            .filter(|entry| entry.is_for(host, port))
            .map(|entry| entry.address)
            .collect();
        if fixed.is_empty() {
            self.names
                .look_up(host, port, call)
                .map_err(|e| io::Error::new(e.kind(), format!("{host} was not found: {e}")))
        } else {
            Ok(fixed)
        }
    }

    pub(super) fn open(&self, host: &str, port: u16) -> io::Result<TcpWire> {
        let call = Exchange::call()?;
        let addresses = self.addresses(host, port, &call)?;
        let addresses = in_order(&addresses, self.names.good(host));
        let (stream, address) = connect(&call, host, &addresses).inspect_err(|_| {
            self.names.forget(host);
        })?;
        self.names.note_good(host, address);
        stream.set_nodelay(true)?;
        let stream = Stream::new(stream)?;
        let user = Mutex::default();
        let socket = Arc::new(Socket { stream, user });
        let waited_for: Weak<Socket> = Arc::downgrade(&socket);
        call.register(waited_for);
        Ok(TcpWire {
            socket,
            timeouts: Timeouts::default(),
            used: false,
        })
    }
}

/// A socket in use.
pub(super) struct TcpWire {
    socket: Arc<Socket>,
    timeouts: Timeouts,
    /// Whether a request was sent since the connection was last found open.
    used: bool,
}

impl Read for TcpWire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut exact = false;
        loop {
            Exchange::check_signals()?;
            let left = Exchange::with(Exchange::time_left_for_answer)??;
            let wait = timeout(left, exact);
            match self.socket.stream.read(into, wait, &mut self.timeouts) {
                Err(error) => exact = go_on(error)?,
                read => return read,
            }
        }
    }
}

impl Write for TcpWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.used = true;
        Exchange::with(|exchange| self.socket.pass_to(Some(exchange.user())))?;
        let mut exact = false;
        loop {
            Exchange::check_signals()?;
            let left = Exchange::with(|exchange| exchange.time_left())??;
            let wait = timeout(left, exact);
            match self.socket.stream.write(bytes, wait, &mut self.timeouts) {
                Err(error) => exact = go_on(error)?,
                written => return written,
            }
        }
    }

    /// One send for several TLS records. (`writev` raises SIGPIPE in programs that do not ignore
    /// it.)
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [piece] => self.write(piece),
            pieces => {
                let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
                self.write(&pieces.concat())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for TcpWire {
    /// Called twice for every pooled connection: when it is put back, right after its answer was
    /// read, which needs no system call; and when it is taken out.
    fn is_open(&mut self) -> bool {
        if std::mem::take(&mut self.used) {
            self.socket.pass_to(None);
            true
        } else {
            is_quiet(self.socket.stream.tcp())
        }
    }
}

/// How long one system call may block. The first time, the time left is rounded down to a power
/// of two, so that it stays the same from call to call and need not be set again; then exactly.
fn timeout(left: Duration, exact: bool) -> Duration {
    let left = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
    let milliseconds = left.div_ceil(1000).max(1);
    Duration::from_millis(if exact {
        milliseconds
    } else {
        1 << milliseconds.ilog2()
    })
}

/// After a failed system call: an error that ends the exchange, or `true` to continue and wait
/// exactly as long as is left, if anything is.
fn go_on(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(true),
        io::ErrorKind::Interrupted => {
            Exchange::call()?.interrupted();
            Ok(true)
        }
        _ => Err(error),
    }
}
