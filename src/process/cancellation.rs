//! Waiting: every wait of a call ends at its deadline, at `cancel`, or after a signal if the host
//! program says so.

use super::per_process::{Local, PerProcess, Process};
#[cfg(shuttle)]
pub(crate) use super::sync::Event;
use super::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use super::sync::{Mutex, MutexGuard, now};
use crate::values::callbacks::OnInterrupt;
use crate::values::error::{Error, ErrorKind};
use std::fmt;
#[cfg(not(shuttle))]
use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

static WAITS: PerProcess<Waits> = PerProcess::new();

/// Cancels calls one by one: those that were made with it, by
/// [`Client::with_cancel`](crate::Client::with_cancel) or
/// [`Provider::with_cancel`](crate::Provider::with_cancel).
///
/// Clones are the same token. Once cancelled, it stays so: a call that begins later ends at once and
/// sends nothing. For any thread, and also after a fork, where a child's copy cancels calls of the
/// child alone.
///
/// ```
/// use b24_messageservice::{CancelToken, Client, Config, ErrorKind, Status};
///
/// let mut config = Config::new();
/// config.portal("portal.bitrix24.com").access_token("ACCESS_TOKEN");
/// let client = Client::new(&config)?;
/// let token = CancelToken::new();
/// token.cancel();
/// let call = client.with_cancel(&token);
/// let error = call.message_status_update("provider1", "6557", Status::Sent).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// # Ok::<(), b24_messageservice::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that have this token and are under way, whatever they wait for, with
    /// [`Cancelled`](crate::ErrorKind::Cancelled), and those that begin later. An update that is
    /// cancelled may have been stored by the portal.
    pub fn cancel(&self) {
        let process = Process::current();
        let _active = process.enter();
        // First, so that a call that starts to wait after the wake-ups sees it before it waits.
        self.0.store(true, Ordering::SeqCst);
        WAITS.of(&process).wake();
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What limits the calls of a handle besides its options.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    timeout: Option<Duration>,
    tokens: Vec<CancelToken>,
}

impl Limits {
    /// The longest that the option `timeout_ms` may be.
    const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout.min(Self::LONGEST)),
            tokens: self.tokens.clone(),
        }
    }

    pub(crate) fn with_cancel(&self, token: &CancelToken) -> Self {
        let mut limits = self.clone();
        limits.tokens.push(token.clone());
        limits
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn are_none(&self) -> bool {
        self.timeout.is_none() && self.tokens.is_empty()
    }

    /// What ends a call with these limits, and all parts of it by `until`.
    pub(crate) fn source(
        &self,
        of: &Arc<CancelSource>,
        until: Option<Instant>,
    ) -> Arc<CancelSource> {
        if self.tokens.is_empty() && until.is_none() {
            return Arc::clone(of);
        }
        Arc::new(CancelSource {
            client_id: of.client_id,
            epoch: Arc::clone(&of.epoch),
            on_interrupt: of.on_interrupt.clone(),
            tokens: self.tokens.clone(),
            until,
        })
    }
}

/// Cancels a client's calls from outside. Without a lock, so that it works after a fork.
pub(crate) struct CancelSource {
    /// Unique in the process.
    pub(crate) client_id: u64,
    /// Counts the cancellations. If it changes during a call, the call is cancelled.
    epoch: Arc<AtomicU64>,
    on_interrupt: Option<OnInterrupt>,
    /// Any of these ends the calls as well.
    tokens: Vec<CancelToken>,
    /// The deadline of all that is done for one call of a provider, if it has one.
    until: Option<Instant>,
}

impl CancelSource {
    pub(crate) fn new(on_interrupt: Option<OnInterrupt>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            client_id: NEXT.fetch_add(1, Ordering::Relaxed),
            epoch: Arc::default(),
            on_interrupt,
            tokens: Vec::new(),
            until: None,
        }
    }

    /// One of its own, which the same tokens cancel as `other`.
    #[cfg(feature = "provider")]
    pub(crate) fn beside(other: &Self) -> Self {
        Self {
            tokens: other.tokens.clone(),
            ..Self::new(other.on_interrupt.clone())
        }
    }

    /// Whether calls were ever cancelled.
    #[cfg(feature = "provider")]
    pub(crate) fn was_cancelled(&self) -> bool {
        self.epoch.load(Ordering::SeqCst) > 0 || self.is_token_cancelled()
    }

    fn is_token_cancelled(&self) -> bool {
        self.tokens.iter().any(CancelToken::is_cancelled)
    }

    /// Ends the client's calls that are under way. The epoch changes first, so that a call that
    /// starts to wait after the wake-ups sees it before it waits.
    pub(crate) fn cancel(&self, process: &Arc<Process>) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        WAITS.of(process).wake();
    }
}

impl fmt::Debug for CancelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Why a call must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Cancelled,
    Deadline,
    /// There is no file descriptor left, which a wait needs.
    NoDescriptor,
}

/// One call of a client: its deadline, and how it is cancelled from outside.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub(crate) deadline: Instant,
    shared: Arc<Shared>,
}

/// What is the same for all parts of a call, whatever their deadlines are.
#[derive(Debug)]
struct Shared {
    cancel: Arc<CancelSource>,
    process: Arc<Process>,
    connect_timeout: Duration,
    /// What to do when the deadline has passed, in the words of the method that is called.
    after_timeout: &'static str,
    waits: Local<Waits>,
    epoch: u64,
    interrupted: AtomicBool,
    began: Instant,
    /// When the host program was last asked about signals, in milliseconds since the beginning.
    asked_ms: AtomicU64,
}

impl CallContext {
    pub(crate) fn new(
        process: &Arc<Process>,
        cancel: Arc<CancelSource>,
        timeout: Duration,
        connect_timeout: Duration,
        after_timeout: &'static str,
    ) -> Self {
        let epoch = cancel.epoch.load(Ordering::SeqCst);
        let now = now();
        // A timeout that is too long for the clock means no deadline.
        let deadline = now.checked_add(timeout).unwrap_or(now + FAR_AWAY);
        Self {
            deadline: cancel.until.map_or(deadline, |until| deadline.min(until)),
            shared: Arc::new(Shared {
                cancel,
                process: Arc::clone(process),
                connect_timeout,
                after_timeout,
                waits: WAITS.of(process),
                epoch,
                interrupted: AtomicBool::new(false),
                began: now,
                asked_ms: AtomicU64::new(0),
            }),
        }
    }

    /// Whether the other is a part of the same call.
    pub(crate) fn is_of_same_call(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.shared.connect_timeout
    }

    /// The error of a call that was stopped; `doing` completes "… while".
    pub(crate) fn error(&self, interrupt: Interrupt, doing: &str) -> Error {
        match interrupt {
            Interrupt::Cancelled => Error::new(
                ErrorKind::Cancelled,
                format!("the call was cancelled while {doing}"),
            ),
            Interrupt::Deadline => Error::new(
                ErrorKind::Timeout,
                format!(
                    "the deadline passed while {doing}: {}, or raise timeout_ms",
                    self.shared.after_timeout
                ),
            )
            .with_retryable(true),
            Interrupt::NoDescriptor => Error::new(
                ErrorKind::Internal,
                format!("no file descriptor was left while {doing}: raise the limit of open files"),
            )
            .with_retryable(true),
        }
    }

    /// Registers something else than an event that this call may wait for, so that `cancel` ends
    /// the wait.
    pub(crate) fn register(&self, waited_for: Weak<dyn Wake>) {
        let mut lists = self.shared.waits.lock();
        lists.others.retain(|other| other.strong_count() > 0);
        lists.others.push(waited_for);
    }

    /// Registers an event for `cancel`, until the result is dropped.
    pub(crate) fn listen<'a>(&'a self, event: &'a Arc<Event>) -> RegisteredWait<'a> {
        let mut lists = self.shared.waits.lock();
        lists.events.push((self.clone(), Arc::clone(event)));
        RegisteredWait {
            waits: &self.shared.waits,
            event,
        }
    }

    /// The same with half of the time that is left.
    pub(crate) fn half(&self) -> Self {
        let now = now();
        let left = self.deadline.saturating_duration_since(now);
        Self {
            deadline: self.deadline.min(now + left / 2),
            ..self.clone()
        }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(now())
    }

    /// Whether the call may go on.
    pub(crate) fn check(&self) -> Result<(), Interrupt> {
        if self.is_cancelled() {
            Err(Interrupt::Cancelled)
        } else if self.remaining().is_zero() {
            Err(Interrupt::Deadline)
        } else {
            Ok(())
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        let Shared { cancel, epoch, .. } = &*self.shared;
        self.shared.interrupted.load(Ordering::Relaxed)
            || cancel.epoch.load(Ordering::SeqCst) != *epoch
            || cancel.is_token_cancelled()
    }

    /// To be called when a signal ended a system call. Returns whether the host program wants the
    /// call to end. It ends as well in a child that a handler of the signal has forked, because the
    /// answer belongs to the parent.
    pub(crate) fn interrupted(&self) -> bool {
        self.shared.asked_ms.store(self.age_ms(), Ordering::Relaxed);
        let asked = self.shared.cancel.on_interrupt.as_ref();
        let stop = asked.is_some_and(|ask| ask()) || !self.shared.process.is_current();
        if stop {
            self.shared.interrupted.store(true, Ordering::Relaxed);
        }
        stop
    }

    /// How long one system call may wait when `left` is left. If the host program handles signals,
    /// not longer than until it is asked again.
    pub(crate) fn one_wait(&self, left: Duration) -> Duration {
        match self.shared.cancel.on_interrupt {
            Some(_) => left.min(SIGNAL_CHECK),
            None => left,
        }
    }

    /// Whether the host program is to be asked about signals again, by [`Self::interrupted`]. To be
    /// looked at before every wait, since a signal that came before one does not end it.
    pub(crate) fn is_signal_check_due(&self) -> bool {
        self.shared.cancel.on_interrupt.is_some() && {
            let asked = self.shared.asked_ms.load(Ordering::Relaxed);
            Duration::from_millis(self.age_ms().saturating_sub(asked)) >= SIGNAL_CHECK
        }
    }

    /// Asks the host program about signals, if it is time to.
    pub(crate) fn check_signals(&self) {
        if self.is_signal_check_due() {
            self.interrupted();
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(now().duration_since(self.shared.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until `event` is notified or the time `until` has come. Returns whether it was
    /// notified.
    pub(crate) fn wait(&self, event: &Arc<Event>, until: Instant) -> Result<bool, Interrupt> {
        let _registered = self.listen(event);
        let until = until.min(self.deadline);
        loop {
            self.check_signals();
            if self.is_cancelled() {
                return Err(Interrupt::Cancelled);
            }
            if event.is_notified() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return if self.remaining().is_zero() {
                    Err(Interrupt::Deadline)
                } else {
                    Ok(false)
                };
            }
            if event.park(self.one_wait(left)) == Parked::Interrupted && self.interrupted() {
                return Err(Interrupt::Cancelled);
            }
        }
    }

    /// Waits for `delay`, or less if the call is stopped.
    pub(crate) fn sleep(&self, delay: Duration) -> Result<(), Interrupt> {
        let event = Event::new().map_err(|_| Interrupt::NoDescriptor)?;
        let until = now() + delay.min(FAR_AWAY);
        self.wait(&event, until).map(drop)
    }
}

/// How often the host program is asked about signals during a long wait. A power of two, as the
/// timeouts of sockets are.
const SIGNAL_CHECK: Duration = Duration::from_millis(256);

const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    WokenOrTimeout,
    Interrupted,
}

/// Something that one thread waits for. It is a file descriptor, because waiting for one ends when
/// a signal arrives, and waiting for a condition variable does not.
#[cfg(all(unix, not(shuttle)))]
#[derive(Debug)]
pub(crate) struct Event {
    notified: AtomicBool,
    reader: std::os::unix::net::UnixStream,
    writer: std::os::unix::net::UnixStream,
}

#[cfg(all(unix, not(shuttle)))]
impl Event {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        reader.set_nonblocking(true)?;
        Ok(Arc::new(Self {
            notified: AtomicBool::new(false),
            reader,
            writer,
        }))
    }

    /// Marks the event as notified, and wakes the waiting thread.
    pub(crate) fn notify(&self) {
        self.notified.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Makes the waiting thread check whether its call has to end.
    fn wake(&self) {
        // If the pipe is full, the thread is woken already. Nothing else can fail on our own socket
        // pair.
        let _ = io::Write::write(&mut &self.writer, &[1]);
    }

    /// The descriptor, which becomes readable when the event is notified or its thread is woken.
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.reader)
    }

    fn park(&self, timeout: Duration) -> Parked {
        use rustix::event::{PollFd, PollFlags};
        let mut polled = [PollFd::from_borrowed_fd(self.descriptor(), PollFlags::IN)];
        if let Err(rustix::io::Errno::INTR) = poll(&mut polled, timeout) {
            return Parked::Interrupted;
        }
        self.clear();
        Parked::WokenOrTimeout
    }

    /// Takes back what made the descriptor readable.
    pub(crate) fn clear(&self) {
        // There is nothing to read after a timeout.
        let _ = io::Read::read(&mut &self.reader, &mut [0; 64]);
    }
}

/// `poll` with a duration, rounded up so that it does not end too early again and again.
#[cfg(unix)]
pub(crate) fn poll(
    polled: &mut [rustix::event::PollFd<'_>],
    timeout: Duration,
) -> rustix::io::Result<usize> {
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    rustix::event::poll(polled, Some(&timeout))
}

/// Something that one thread waits for.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Event {
    notified: AtomicBool,
    woken: Mutex<bool>,
    condition: std::sync::Condvar,
}

#[cfg(not(unix))]
impl Event {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            notified: AtomicBool::new(false),
            woken: Mutex::new(false),
            condition: std::sync::Condvar::new(),
        }))
    }

    /// Marks the event as notified, and wakes the waiting thread.
    pub(crate) fn notify(&self) {
        self.notified.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condition.notify_all();
    }

    fn park(&self, timeout: Duration) -> Parked {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut woken, _) = self
            .condition
            .wait_timeout_while(woken, timeout, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        *woken = false;
        Parked::WokenOrTimeout
    }
}

impl Event {
    pub(crate) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::SeqCst)
    }
}

/// What calls are waiting for, so that `cancel` finds it.
#[derive(Debug, Default)]
struct Waits(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    events: Vec<(CallContext, Arc<Event>)>,
    others: Vec<Weak<dyn Wake>>,
}

/// Something other than an event that a call may wait for, such as a socket.
pub(crate) trait Wake: fmt::Debug + Send + Sync {
    /// Ends the wait, if the call that waits was cancelled.
    fn wake(&self);
}

impl Waits {
    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the waits of the calls that were cancelled.
    fn wake(&self) {
        let lists = self.lock();
        for other in lists.others.iter().filter_map(Weak::upgrade) {
            other.wake();
        }
        for (_, event) in lists.events.iter().filter(|(call, _)| call.is_cancelled()) {
            event.wake();
        }
    }
}

/// An event that `cancel` finds until this is dropped.
#[derive(Debug)]
pub(crate) struct RegisteredWait<'a> {
    waits: &'a Waits,
    event: &'a Arc<Event>,
}

impl Drop for RegisteredWait<'_> {
    fn drop(&mut self) {
        let mut lists = self.waits.lock();
        let mut events = lists.events.iter();
        if let Some(at) = events.position(|(_, event)| Arc::ptr_eq(event, self.event)) {
            lists.events.swap_remove(at);
        }
    }
}
