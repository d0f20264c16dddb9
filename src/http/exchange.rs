//! The request that a thread is sending now, for the parts that ureq calls.
//!
//! ureq's traits for connectors and transports have no place for what belongs to one call, so it is
//! in a thread-local here: who calls, until when, and what ureq does not get to see.

use crate::process::cancellation::{CallContext, Interrupt};
use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call was stopped: no fault of the network's.
    Interrupted(Interrupt),
    /// The server's certificate is not trusted. Asking again does not change it.
    Certificate(String),
    /// What came is not HTTP, or is more than an answer can be.
    Unreadable(String),
    /// The proxy made no tunnel, and would not the next time.
    Proxy(String),
    /// No connection, or a broken one.
    Network(String),
}

/// Why there is no answer, and whether there may have been one.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// Whether the request was sent, so that the server may have executed it.
    pub(crate) was_sent: bool,
}

/// What ureq does not get of an answer.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    pub(super) body: Vec<u8>,
    pub(super) location: Option<String>,
}

thread_local! {
    static EXCHANGE: RefCell<Option<Exchange>> = const { RefCell::new(None) };
}

/// A request under way on this thread, with the parts of it that ureq does not see.
pub(super) struct Exchange {
    call: CallContext,
    /// Time for what has come when the time is over: the process may have been stopped meanwhile.
    last_look: Option<Duration>,
    /// To be put into the request. Empty if there is none, or it is there already.
    pub(super) query: String,
    /// Of the answer, as far as it has come.
    pub(super) hidden: Hidden,
    /// Whether the connection that is being opened is the one to the proxy.
    pub(super) to_proxy: bool,
    /// Connections opened for it; 0 says that the one it used was pooled.
    pub(super) opened: u32,
    /// Whether the request was handed to a connection.
    pub(super) sent: bool,
    /// Until when a connection that is being opened must be ready for use.
    ready_by: Option<Instant>,
}

impl Exchange {
    pub(super) fn begin(call: &CallContext, last_look: Option<Duration>) -> Scope {
        let mine = Self {
            call: call.clone(),
            last_look,
            query: String::new(),
            hidden: Hidden::default(),
            to_proxy: false,
            opened: 0,
            sent: false,
            ready_by: None,
        };
        Scope(EXCHANGE.with_borrow_mut(|current| current.replace(mine)))
    }

    /// Runs `f` on the exchange of this thread; there is none where no `send` is under way.
    pub(super) fn with<R>(f: impl FnOnce(&mut Self) -> R) -> io::Result<R> {
        EXCHANGE.with_borrow_mut(|current| match current {
            Some(exchange) => Ok(f(exchange)),
            None => Err(io::Error::other("no request is under way")),
        })
    }

    pub(super) fn opened() -> u32 {
        Self::with(|exchange| exchange.opened).unwrap_or_default()
    }

    /// The call this thread is sending a request of. While a connection is being opened its
    /// deadline is the one for that.
    pub(super) fn call() -> io::Result<CallContext> {
        Self::with(|exchange| exchange.present_call())
    }

    fn present_call(&self) -> CallContext {
        let mut call = self.call.clone();
        if let Some(ready_by) = self.ready_by {
            call.deadline = call.deadline.min(ready_by);
        }
        call
    }

    /// The same, when an answer is awaited.
    pub(super) fn awaiting() -> io::Result<CallContext> {
        Self::with(|exchange| {
            if let Some(last_look) = exchange.last_look
                && exchange.call.remaining().is_zero()
            {
                exchange.last_look = None;
                exchange.call.deadline = Instant::now() + last_look;
            }
            exchange.present_call()
        })
    }

    /// A connection is being opened: TCP, a proxy's answer, TLS.
    pub(super) fn opening() -> io::Result<()> {
        Self::with(|exchange| {
            let ready_by = Instant::now() + exchange.call.connect_timeout;
            exchange.ready_by.get_or_insert(ready_by);
        })
    }

    /// The connection is ready for use.
    pub(super) fn ready() -> io::Result<()> {
        Self::with(|exchange| exchange.ready_by = None)
    }
}

/// Makes the former exchange of the thread the present one again when dropped.
pub(super) struct Scope(Option<Exchange>);

impl Drop for Scope {
    fn drop(&mut self) {
        let former = self.0.take();
        EXCHANGE.with_borrow_mut(|current| *current = former);
    }
}
