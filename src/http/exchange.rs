//! The request that a thread is sending now, for the parts that ureq calls.
//!
//! ureq keeps connections in a pool of its own and gives them only a timeout. Its traits have no
//! place for the rest of a call: who calls, until when, and what ureq must not see. So this is in a
//! thread-local variable.

use crate::process::cancellation::{CallContext, Interrupt};
use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call had to end; the network has not failed.
    Interrupted(Interrupt),
    /// The server's certificate is not trusted. Another attempt does not change that.
    Certificate(String),
    /// The answer is not HTTP, or is too large.
    Unreadable(String),
    /// The proxy refused a tunnel, and would refuse it again.
    Proxy(String),
    /// No connection, or a broken one.
    Network(String),
}

/// Why there is no answer, and whether the request may have been executed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// Whether the request was sent, so that the server may have executed it.
    pub(crate) was_sent: bool,
}

/// The parts of an answer that ureq does not get.
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
    /// The deadline of the current step.
    until: Instant,
    /// Time to read what has arrived when the deadline has passed, because the process may have
    /// been stopped in the meantime.
    last_look: Option<Duration>,
    /// The query to put into the request. Empty if there is none, or if it is there already.
    pub(super) query: String,
    /// What has arrived of the answer.
    pub(super) hidden: Hidden,
    /// Whether a connection was opened for it, instead of taking one from the pool.
    pub(super) opened: bool,
    /// Whether the request was given to a connection.
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

    /// Runs `f` on the exchange of this thread. There is one only during `send`.
    pub(super) fn with<R>(f: impl FnOnce(&mut Self) -> R) -> io::Result<R> {
        EXCHANGE.with_borrow_mut(|current| match current {
            Some(exchange) => Ok(f(exchange)),
            None => Err(io::Error::other("no request is under way")),
        })
    }

    /// The call whose request this thread is sending, for steps that may take long or run
    /// callbacks, which may make calls themselves.
    pub(super) fn call() -> io::Result<CallContext> {
        Self::with(|exchange| {
            let mut call = exchange.call.clone();
            call.deadline = exchange.until;
            call
        })
    }

    /// Asks the host program about signals, if it is time to.
    pub(super) fn check_signals() -> io::Result<()> {
        if Self::with(|exchange| exchange.call.is_signal_check_due())? {
            Self::call()?.interrupted();
        }
        Ok(())
    }

    /// Who is calling.
    pub(super) fn user(&self) -> &CallContext {
        &self.call
    }

    /// How long the current step may wait now. If it may not, the call itself knows the reason; this
    /// kind of error is never tried again.
    pub(super) fn time_left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() || self.call.is_cancelled() {
            Err(io::Error::other(
                "it was not ready within connect_timeout_ms",
            ))
        } else {
            Ok(self.call.one_wait(left))
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
        let ready_by = Instant::now() + self.call.connect_timeout();
        self.until = self.call.deadline.min(ready_by);
        self.opened = true;
    }

    /// The connection is ready for use.
    pub(super) fn ready(&mut self) {
        self.until = self.call.deadline;
    }
}

/// When dropped, makes the former exchange of the thread the current one again.
pub(super) struct Scope(Option<Exchange>);

impl Drop for Scope {
    fn drop(&mut self) {
        EXCHANGE.replace(self.0.take());
    }
}
