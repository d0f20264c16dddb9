//! The provider's handle: installations, the portals' requests, and receipts that are kept until the
//! portals have them.

mod confirm;
mod context;
mod drain;
mod fate;
mod housekeeping;
mod import;
mod moving;
pub(crate) mod request;
pub(crate) mod results;
mod sending;

use crate::Client;
use crate::engine::installation::Installation;
use crate::options::{Config, Settings};
use crate::process::cancellation::{CancelSource, CancelToken, Limits};
use crate::process::per_process::Process;
use crate::store::database::{Access, Purpose};
use crate::store::installations::{self, InstallationState};
use crate::store::lanes;
use crate::store::receipts::{self, GIVE_UP_AFTER, MessageKey, REFUSED, Reported, SETTLED};
use crate::store::references;
use crate::store::sqlite;
use crate::values::error::{Error, ErrorKind};
use crate::values::receipt::{Receipt, Reference};
use crate::values::shown::shown;
use crate::values::status::{Status, Update, ValidUpdate};
use context::Context;
use request::Request;
use results::{Cursor, Drained, Moved, PortalState, RefusedReceipt};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How many receipts are stored in one transaction.
const RECEIPTS_AT_ONCE: usize = 10_000;

/// Does the whole job of a provider of messages, for any number of portals: keeps installations,
/// checks the portals' requests, and keeps receipts until the portals have them.
///
/// Everything is in a store, which any number of processes of one machine share. Cheap to clone. Any
/// number of threads may use one provider at once. A provider that was opened before a `fork` works
/// in parent and child, if no thread was using its store at that moment.
///
/// What [`report`](Self::report) has acknowledged is at the portal in the end, the newest status last, or
/// is counted as waiting, held or refused, with the reason.
///
/// ```no_run
/// use b24_messageservice::{Config, Provider, RequestKind, Status};
/// use std::time::Duration;
///
/// let mut config = Config::new();
/// config.store("sqlite:/var/lib/sms/b24.db").client_id("app.1").client_secret("SECRET");
/// let provider = Provider::open(&config)?;
/// # let (content_type, body) = ("", b"");
/// let request = provider.receive(content_type, body)?;
/// if request.kind() == RequestKind::Message {
///     let (code, id) = (request.get("code").unwrap_or(""), request.get("message_id").unwrap_or(""));
///     provider.track("operator-1", request.member_id(), code, id)?;
/// }
/// provider.report_reference("operator-1", Status::Delivered, None)?;
/// let drained = provider.drain(Duration::from_secs(60))?;
/// println!("{} sent, {} waiting", drained.sent, drained.waiting);
/// # Ok::<(), b24_messageservice::Error>(())
/// ```
#[derive(Clone)]
pub struct Provider {
    context: Arc<Context>,
    limits: Limits,
}

impl Provider {
    /// Opens the store: checks it, and makes it or adds what its tables lack. It is closed again
    /// until it is used.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option: one that is missing, or a store that this user may not
    /// use or that is another application's. `Storage` if the store cannot be used at the moment.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let process = Process::current();
        let _active = process.enter();
        let context = Context::open(config, Purpose::Use, &process)?;
        Ok(Self {
            context: Arc::new(context),
            limits: Limits::default(),
        })
    }

    /// Moves all that a store in SQLite has to an empty one in PostgreSQL. The two configurations differ
    /// in their `store`. Others may go on reporting to the old store meanwhile: at the end they fail
    /// with a retryable `Storage` error, until they are started with the new one. If it is
    /// interrupted, it can be started again.
    ///
    /// # Errors
    /// `InvalidConfig` if these are not two such stores, `Storage` if one of them fails.
    pub fn move_store(from: &Config, to: &Config) -> Result<Moved, Error> {
        moving::move_store(from, to)
    }

    /// Reads a request of a portal, checks that it is the portal's, and does what it asks for if
    /// that is an installation or an uninstallation. `content_type` and `body` are those of the
    /// HTTP request. No answer is sent: that is for the host program.
    ///
    /// A message is the portal's if it has the `application_token` of the installation. For an
    /// installation the authorization server is asked. A frame is returned as it is; see
    /// [`Provider::install_request`].
    ///
    /// # Errors
    /// `InvalidArgument` if it cannot be read (answer 400), `AccessDenied` if it is not proven to be
    /// the portal's (403); any other means that it was not decided (503).
    pub fn receive(&self, content_type: &str, body: &[u8]) -> Result<Request, Error> {
        self.begin()?.receive(content_type, body)
    }

    /// Installs with an answer of the authorization server, or the `auth` of an event, as JSON.
    /// `application_token` is that of the installation; empty if it is not known, then the first
    /// message that the authorization server confirms sets it.
    ///
    /// It is believed when the authorization server confirms it. Tokens that are known already change
    /// nothing. If the portal has a pair already, this one is kept and used when the other is refused.
    ///
    /// # Errors
    /// `InvalidArgument`, `AccessDenied` if it is not confirmed; others if nobody could be asked.
    pub fn install(&self, auth_json: &str, application_token: &str) -> Result<(), Error> {
        self.begin()?.install(auth_json, application_token)
    }

    /// Installs with the tokens of a frame. Only for the page of the installation wizard: a later
    /// opening of the application brings the tokens of whoever opened it.
    ///
    /// # Errors
    /// As [`Provider::install`].
    pub fn install_request(&self, frame: &Request) -> Result<(), Error> {
        self.begin()?.install_request(frame)
    }

    /// Moves the installations that a `state_dir` has of this application to the store. The
    /// directory's files then say so, and clients that use them fail and say so as well. Returns how many were moved.
    ///
    /// # Errors
    /// `Storage` or those of [`Provider::install`] for the first that could not be moved; it stays
    /// where it is.
    pub fn import_state_dir(&self, path: &Path) -> Result<usize, Error> {
        self.begin()?.import_state_dir(path)
    }

    /// A client of a portal, whose tokens are those of the store. It waits for the same rate limit
    /// as drains.
    ///
    /// # Errors
    /// `InvalidArgument` if the portal has not installed the application.
    pub fn client(&self, member_id: &str) -> Result<Client, Error> {
        let process = Process::current();
        let _active = process.enter();
        let context = self.begin()?;
        let call = context.call(&process);
        let stored = context.run(&call, Access::Read, |transaction| {
            context.store.installation(transaction, member_id)
        })?;
        let cancel = Arc::new(CancelSource::new(context.on_interrupt.clone()));
        let installation: Option<Installation> = match stored {
            Some(stored) => {
                // What limits this call does not limit those of the client.
                let settings = Settings {
                    timeout: context.usual_timeout,
                    ..context.settings.clone()
                };
                context.installation(settings, member_id, &stored, &cancel)?
            }
            None => None,
        };
        let installation = installation.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "portal {} has not installed the application, or has removed it: give the \
                     member_id of an installation in the store",
                    shown(member_id)
                ),
            )
        })?;
        Ok(Client::of(installation))
    }

    /// Says which message an operator's reference stands for. A receipt by that reference that came
    /// before is reported now. Doing it again is harmless. Several references may stand for one message.
    ///
    /// # Errors
    /// `InvalidArgument` if the reference stands for another message since less than 72 hours;
    /// `Storage`.
    pub fn track<'a>(
        &self,
        reference: impl Into<Reference<'a>>,
        member_id: &str,
        code: &str,
        message_id: &str,
    ) -> Result<(), Error> {
        let reference = reference.into();
        reference.check()?;
        check_member_id(member_id)?;
        ValidUpdate::new(code, message_id, Status::Sent.as_str())?;
        let key = MessageKey {
            member_id,
            code,
            message_id,
        };
        let tracked = self.add(|transaction| {
            let kept_since = transaction.now() - GIVE_UP_AFTER;
            references::track(
                transaction,
                reference.operator,
                reference.reference,
                key,
                kept_since,
            )
        })?;
        if tracked {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "reference {} stands for another message: give each message a reference of its \
                 own, and name the operator if several have the same",
                shown(reference.reference)
            ),
        ))
    }

    /// Stores a receipt: the status of a message, and when it came about (`None`: now). When this
    /// returns, it is not lost. A drain sends it.
    ///
    /// The status with the highest rank counts: `queued`, then `sent`, then the final ones
    /// `delivered`, `undelivered` and `failed`; of two with the same rank the later. So receipts
    /// may come twice and in any order. A time in the future counts as now.
    ///
    /// # Errors
    /// `InvalidArgument`; `Storage`, for which it is not stored: let the operator send it again
    /// later.
    pub fn report(
        &self,
        member_id: &str,
        code: &str,
        message_id: &str,
        status: impl AsRef<str>,
        at: Option<SystemTime>,
    ) -> Result<(), Error> {
        check_member_id(member_id)?;
        let update = ValidUpdate::new(code, message_id, status.as_ref())?;
        let at = at.map(unix_milliseconds);
        let key = MessageKey {
            member_id,
            code: update.code,
            message_id: update.message_id,
        };
        let reported = Reported {
            key,
            status: update.status,
            at,
        };
        store_receipts(&*self.begin()?, &[reported])
    }

    /// Stores receipts of one portal, in one commit for every 10,000. The outcomes are in their
    /// order; the outcome of one that cannot be stored says why, and the others are stored.
    pub fn report_batch<U: Borrow<Update>>(
        &self,
        member_id: &str,
        updates: impl IntoIterator<Item = U>,
    ) -> Vec<Result<(), Error>> {
        self.report_many(
            updates
                .into_iter()
                .map(|update| Receipt::of(member_id, update.borrow().clone())),
        )
    }

    /// Stores receipts of any portals, as [`Provider::report_batch`].
    pub fn report_many<R: Borrow<Receipt>>(
        &self,
        receipts: impl IntoIterator<Item = R>,
    ) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::new();
        let mut receipts = receipts.into_iter();
        let context = self.begin();
        loop {
            let slice: Vec<R> = receipts.by_ref().take(RECEIPTS_AT_ONCE).collect();
            if slice.is_empty() {
                return outcomes;
            }
            outcomes.extend(report_slice(&context, &slice));
        }
    }

    /// Stores a receipt under an operator's reference, as [`Provider::report`]. If the reference is
    /// not tracked yet, the receipt waits for that for an hour.
    ///
    /// # Errors
    /// As [`Provider::report`].
    pub fn report_reference<'a>(
        &self,
        reference: impl Into<Reference<'a>>,
        status: impl AsRef<str>,
        at: Option<SystemTime>,
    ) -> Result<(), Error> {
        let reference = reference.into();
        reference.check()?;
        let status: Status = status.as_ref().parse()?;
        let at = at.map(unix_milliseconds);
        self.add(|transaction| {
            references::report(
                transaction,
                reference.operator,
                reference.reference,
                status,
                at,
            )
        })
    }

    /// Sends receipts for so long, and returns within the timeout after that: no request is started
    /// later. Any number of drains may run at once, in any processes.
    ///
    /// `workers` threads send; with 0 only the calling thread does. A portal that fails is tried
    /// again later, and delays no other.
    ///
    /// # Errors
    /// `Storage` if the store cannot be used, `Cancelled` after [`Provider::cancel`]. What was sent
    /// until then is noted.
    pub fn drain(&self, budget: Duration) -> Result<Drained, Error> {
        let context = self.begin_until(None)?;
        let counts = drain::drain(&context, budget)?;
        let process = Process::current();
        let _active = process.enter();
        let call = context.call(&process);
        let (held, waiting, next_due) = context.run(&call, Access::Read, |transaction| {
            let now = transaction.now();
            // Any other lane is neither held nor later than its receipts.
            let lanes: BTreeMap<_, _> = lanes::stopped(transaction)?.into_iter().collect();
            let (early, oldest_early) = references::waiting(transaction)?;
            let mut held = 0;
            let mut waiting = early;
            let mut next_due = oldest_early.map(|at| at + receipts::UNKNOWN_FOR);
            for (member_id, count, _, due_at) in receipts::waiting(transaction)? {
                match lanes.get(&member_id) {
                    Some(lane) if lane.held => held += count,
                    lane => {
                        waiting += count;
                        let due_at = lane.map_or(due_at, |lane| due_at.max(lane.wait_until));
                        next_due = Some(next_due.map_or(due_at, |next| next.min(due_at)));
                    }
                }
            }
            Ok((held, waiting, next_due.map(|at| until(at, now))))
        })?;
        Ok(Drained {
            sent: counts.sent,
            refused: counts.refused,
            held,
            waiting,
            next_due,
        })
    }

    /// What the store has about each portal, in the order of their ids.
    ///
    /// # Errors
    /// `Storage`.
    pub fn inspect(&self) -> Result<Vec<PortalState>, Error> {
        let process = Process::current();
        let _active = process.enter();
        let context = self.begin()?;
        let call = context.call(&process);
        context.run(&call, Access::Read, |transaction| {
            let now = transaction.now();
            let mut portals: BTreeMap<String, PortalState> = BTreeMap::new();
            for installation in installations::all(transaction)? {
                let mut portal = PortalState::new(&installation.member_id);
                portal.client_endpoint = installation.client_endpoint;
                portal.state = match installation.state {
                    InstallationState::Active => "active",
                    InstallationState::Removed => "uninstalled",
                };
                portals.insert(installation.member_id, portal);
            }
            let mut waits = BTreeMap::new();
            for (member_id, lane) in lanes::all(transaction)? {
                let portal = portals
                    .entry(member_id.clone())
                    .or_insert_with(|| PortalState::new(&member_id));
                if portal.state == "active" && lane.held {
                    portal.state = "held";
                } else if portal.state == "active" && lane.failures > 0 {
                    portal.state = "waiting";
                }
                portal.reason = lane.reason;
                waits.insert(member_id, lane.wait_until);
            }
            for (member_id, count, oldest, due_at) in receipts::waiting(transaction)? {
                let portal = portals
                    .entry(member_id.clone())
                    .or_insert_with(|| PortalState::new(&member_id));
                portal.waiting = count;
                portal.oldest = Some(until(now, oldest));
                if portal.state != "held" {
                    let wait_until = waits.get(&member_id).copied().unwrap_or_default();
                    portal.next_due = Some(until(due_at.max(wait_until), now));
                }
            }
            for (member_id, count) in receipts::refused_counts(transaction)? {
                portals
                    .entry(member_id.clone())
                    .or_insert_with(|| PortalState::new(&member_id))
                    .refused = count;
            }
            Ok(portals.into_values().collect())
        })
    }

    /// Receipts that were given up, in a fixed order: at most `limit` of those after the one with the
    /// cursor `after`, which is empty for the first.
    ///
    /// # Errors
    /// `InvalidArgument` if `after` is no cursor; `Storage`.
    pub fn refused(&self, after: &str, limit: usize) -> Result<Vec<RefusedReceipt>, Error> {
        let cursor = Cursor::read(after)?;
        let process = Process::current();
        let _active = process.enter();
        let context = self.begin()?;
        let call = context.call(&process);
        let limit = limit.clamp(1, 100_000);
        context.run(&call, Access::Read, |transaction| {
            let mut all = Vec::new();
            let mut after_reference = ("", "");
            match &cursor {
                Cursor::Message(member_id, code, message_id) => {
                    let after = MessageKey {
                        member_id,
                        code,
                        message_id,
                    };
                    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                    let refused = receipts::refused(transaction, after, limit)?;
                    all.extend(refused.into_iter().map(RefusedReceipt::of_message));
                }
                Cursor::Reference(operator, reference) => after_reference = (operator, reference),
            }
            let left = limit.saturating_sub(all.len());
            if left > 0 {
                let limit = i64::try_from(left).unwrap_or(i64::MAX);
                let (operator, reference) = after_reference;
                let refused = references::refused(transaction, operator, reference, limit)?;
                all.extend(refused.into_iter().map(RefusedReceipt::of_reference));
            }
            Ok(all)
        })
    }

    /// Sends the receipts of a portal again that is held, or that waits after a failure.
    ///
    /// # Errors
    /// `InvalidArgument` if the store does not know the portal; `Storage`.
    pub fn resume(&self, member_id: &str) -> Result<(), Error> {
        let process = Process::current();
        let _active = process.enter();
        let context = self.begin()?;
        let call = context.call(&process);
        let known = context.run(&call, Access::Write, |transaction| {
            lanes::release_hold(transaction, member_id)
        })?;
        if known {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "the store knows no portal {}: inspect lists them",
                shown(member_id)
            ),
        ))
    }

    /// Removes refused receipts, and references, that are older than `keep`. Settled messages are
    /// remembered for 72 hours in any case.
    ///
    /// # Errors
    /// `Storage`.
    pub fn prune(&self, keep: Duration) -> Result<(), Error> {
        const SLICE: i64 = 1000;
        let process = Process::current();
        let _active = process.enter();
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX / 4);
        let context = self.begin()?;
        loop {
            context.check_open()?;
            let call = context.call(&process);
            let removed = context.run(&call, Access::Write, |transaction| {
                let now = transaction.now();
                let kept = keep.max(GIVE_UP_AFTER);
                Ok(receipts::forget(transaction, REFUSED, now - keep, SLICE)?
                    + receipts::forget(transaction, SETTLED, now - kept, SLICE)?
                    + references::forget(transaction, now - kept, now - keep, SLICE)?)
            })?;
            if removed == 0 {
                return Ok(());
            }
        }
    }

    /// The same provider, whose calls end after so long instead of after `timeout_ms`: at most 7
    /// days. It limits a drain's requests and steps, not its budget. With 0 a call ends at once.
    /// Clones share everything else, and cost little enough to make one for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            context: Arc::clone(&self.context),
            limits: self.limits.with_timeout(timeout),
        }
    }

    /// The same provider, whose calls also end when the token is cancelled, with
    /// [`Cancelled`](ErrorKind::Cancelled). A receipt whose report is cancelled may have been stored,
    /// and what a cancelled drain was sending is sent again later. If there are several tokens, each
    /// ends the calls. Clients that it gives are not affected.
    #[must_use]
    pub fn with_cancel(&self, token: &CancelToken) -> Self {
        Self {
            context: Arc::clone(&self.context),
            limits: self.limits.with_cancel(token),
        }
    }

    /// Ends drains and calls of this provider that are under way, with
    /// [`Cancelled`](ErrorKind::Cancelled). Clients that it gave are not affected. For any thread;
    /// calls made later are not affected.
    pub fn cancel(&self) {
        let process = Process::current();
        let _active = process.enter();
        self.context.cancel.cancel(&process);
        drain::cancel(&self.context, &process);
    }

    /// Ends drains after the requests that they are making, and waits for them. After that every call
    /// fails; clients that it gave still work.
    pub fn close(&self) {
        self.context.closed.store(true, Ordering::SeqCst);
        let process = Process::current();
        let _active = process.enter();
        let patience = self.context.settings.timeout.saturating_mul(2);
        let own = Arc::new(CancelSource::new(None));
        let call = self.context.call_of(&process, &own, patience);
        drain::wait_for_all(&self.context, &process, &call);
    }

    /// Begins a call, all parts of which end by its deadline if it has a timeout of its own.
    fn begin(&self) -> Result<Arc<Context>, Error> {
        let until = self
            .limits
            .timeout()
            .map(|timeout| Instant::now() + timeout);
        self.begin_until(until)
    }

    /// Begins a call. Without `until`, each step of it may take as long as its timeout.
    fn begin_until(&self, until: Option<Instant>) -> Result<Arc<Context>, Error> {
        self.context.check_open()?;
        if self.limits.are_none() {
            return Ok(Arc::clone(&self.context));
        }
        let context = self.context.limited(&self.limits, until);
        let call = context.call(&Process::current());
        call.check()
            .map_err(|interrupt| call.error(interrupt, "it began"))?;
        Ok(Arc::new(context))
    }

    /// Adds something to the store.
    fn add<T>(
        &self,
        work: impl FnMut(
            &mut dyn crate::store::database::Transaction,
        ) -> Result<T, crate::store::token_store::StoreError>,
    ) -> Result<T, Error> {
        add(&*self.begin()?, work)
    }
}

/// Adds something to a provider's store.
fn add<T>(
    context: &Context,
    work: impl FnMut(
        &mut dyn crate::store::database::Transaction,
    ) -> Result<T, crate::store::token_store::StoreError>,
) -> Result<T, Error> {
    context.check_open()?;
    let process = Process::current();
    let _active = process.enter();
    context.run(&context.call(&process), Access::Add, work)
}

/// Stores receipts in one transaction.
fn store_receipts(context: &Context, reported: &[Reported<'_>]) -> Result<(), Error> {
    context.check_open()?;
    let process = Process::current();
    let _active = process.enter();
    let call = context.call(&process);
    receipts::store(&context.store.database, &process, &call, reported)
        .map_err(|error| context::storage_error(&call, error))
}

/// Stores receipts in one transaction of a call that has begun, unless it could not.
fn report_slice<R: Borrow<Receipt>>(
    context: &Result<Arc<Context>, Error>,
    slice: &[R],
) -> Vec<Result<(), Error>> {
    let checked: Vec<Result<Reported<'_>, Error>> = slice
        .iter()
        .map(|receipt| {
            let receipt: &Receipt = receipt.borrow();
            check_member_id(&receipt.member_id)?;
            let update = receipt.update.check()?;
            let key = MessageKey {
                member_id: &receipt.member_id,
                code: update.code,
                message_id: update.message_id,
            };
            Ok(Reported {
                key,
                status: update.status,
                at: receipt.at.map(unix_milliseconds),
            })
        })
        .collect();
    let reported: Vec<_> = checked.iter().flatten().copied().collect();
    let stored = context
        .clone()
        .and_then(|context| store_receipts(&context, &reported));
    checked
        .into_iter()
        .map(|checked| checked.and_then(|_| stored.clone()))
        .collect()
}

fn check_member_id(member_id: &str) -> Result<(), Error> {
    const MAX: usize = 64;
    let problem = if member_id.is_empty() {
        "is empty"
    } else if member_id.len() > MAX {
        "is longer than 64 characters"
    } else if !member_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        "may contain only printable ASCII characters"
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("member_id {} {problem}", shown(member_id)),
    ))
}

fn unix_milliseconds(at: SystemTime) -> i64 {
    let since = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4);
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => since(after),
        Err(before) => -since(before.duration()),
    }
}

/// The time between two times of the store.
fn until(at: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(at - now).unwrap_or_default())
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

/// For language bindings that are told of a fork beforehand: waits until no thread uses a store, and
/// keeps it so until [`after_fork`], for at most 5 s.
#[doc(hidden)]
pub fn before_fork() {
    sqlite::before_fork();
}

/// For language bindings, after a fork, in the parent as in the child.
#[doc(hidden)]
pub fn after_fork() {
    sqlite::after_fork();
}
