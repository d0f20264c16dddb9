//! The request that a thread is sending now, for the parts that ureq calls.
//!
//! ureq keeps connections in a pool of its own and hands them nothing but a timeout. What else
//! belongs to one call (who calls, until when, and what ureq does not get to see) has no place in its
//! traits, so it is in a thread-local.

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
    /// When the present step must have ended.
    until: Instant,
    /// Time for what has come when the time is over: the process may have been stopped meanwhile.
    last_look: Option<Duration>,
    /// To be put into the request. Empty if there is none, or it is there already.
    pub(super) query: String,
    /// Of the answer, as far as it has come.
    pub(super) hidden: Hidden,
    /// Whether a connection was opened for it, and none of the pool's used.
    pub(super) opened: bool,
    /// Whether the request was handed to a connection.
    pub(super) sent: bool,
}

impl Exchange {
    pub(super) fn begin(call: &CallContext, last_look: Option<Duration>) -> Scope {
        let mine = Self {
            until: call.deadline,
            call: call.clone(),
            last_look,
            query: String::new(),
            hidden: Hidden::default(),
            opened: false,
            sent: false,
        };
        Scope(EXCHANGE.replace(Some(mine)))
    }

    /// Runs `f` on the exchange of this thread; there is none where no `send` is under way.
    pub(super) fn with<R>(f: impl FnOnce(&mut Self) -> R) -> io::Result<R> {
        EXCHANGE.with_borrow_mut(|current| match current {
            Some(exchange) => Ok(f(exchange)),
            None => Err(io::Error::other("no request is under way")),
        })
    }

    /// The call this thread is sending a request of, for what may take long or call back: a callback
    /// may make calls of its own.
    pub(super) fn call() -> io::Result<CallContext> {
        Self::with(|exchange| {
            let mut call = exchange.call.clone();
            call.deadline = exchange.until;
            call
        })
    }

    /// Who is calling.
    pub(super) fn client_id(&self) -> u64 {
        self.call.cancel.client_id
    }

    /// How long the present step may wait yet.
    pub(super) fn time_left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() || self.call.is_cancelled() {
            Err(stopped())
        } else {
            Ok(left)
        }
    }

    /// The same, when an answer is awaited.
    pub(super) fn time_left_for_answer(&mut self) -> io::Result<Duration> {
        if let Some(last_look) = self.last_look
            && self.call.remaining().is_zero()
        {
            self.last_look = None;
            self.until = Instant::now() + last_look;
        }
        self.time_left()
    }

    /// A connection is being opened: TCP, a proxy's answer, TLS.
    pub(super) fn opening(&mut self) {
        let ready_by = Instant::now() + self.call.connect_timeout;
        self.until = self.call.deadline.min(ready_by);
        self.opened = true;
    }

    /// The connection is ready for use.
    pub(super) fn ready(&mut self) {
        self.until = self.call.deadline;
    }
}

/// The call itself knows why. Not of a kind that anybody would try again for.
pub(super) fn stopped() -> io::Error {
    io::Error::other("it was not ready within connect_timeout_ms")
}

/// Makes the former exchange of the thread the present one again when dropped.
pub(super) struct Scope(Option<Exchange>);

impl Drop for Scope {
    fn drop(&mut self) {
        EXCHANGE.replace(self.0.take());
    }
}
