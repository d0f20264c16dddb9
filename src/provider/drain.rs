//! Draining: sending the receipts that are in the store.
//!
//! A drain takes the lease on a portal's lane, sends its receipts 50 at a time, and gives the lease
//! back when nothing is to be sent at the moment. So any number of drains can run anywhere, a portal
//! gets one request at a time, and a lane that waits holds no thread.

use super::context::Context;
use super::fate::{Verdict, judge, reason_of};
use super::housekeeping::Housekeeping;
use crate::engine::installation::Installation;
use crate::methods::batch::{self, Fate, MAX_COMMANDS, has_reference};
use crate::options::Settings;
use crate::process::cancellation::{CallContext, CancelSource, Event, Interrupt};
use crate::process::pending::Pending;
use crate::process::per_process::{PerProcess, Process};
use crate::process::signals::without_signals;
use crate::store::database::{Access, Transaction};
use crate::store::installations::{self, InstallationState};
use crate::store::lane_lease::{self, Lane, Turn};
use crate::store::lanes::{self, Health};
use crate::store::receipts::{self, DueReceipt, GIVE_UP_AFTER, UNKNOWN_FOR};
use crate::store::token_store::StoreError;
use crate::values::LOG;
use crate::values::error::{Error, ErrorKind};
use crate::values::status::Update;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked whether others have stored something.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often what is too old is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How often it is looked whether a process with leases has ended.
const LEASES: Duration = Duration::from_secs(2);
/// So many requests in a row are made for one portal.
const REQUESTS_IN_A_ROW: usize = 8;
/// How many receipts are given up in one transaction.
const SLICE: u64 = 1000;
/// A lease lasts so much longer than a call, in milliseconds.
const LEASE_MARGIN: i64 = 30_000;

static DRAINS: PerProcess<Drains> = PerProcess::new();

/// The drains that are under way in a process.
#[derive(Debug, Default)]
struct Drains(Mutex<Vec<Running>>);

#[derive(Debug)]
struct Running {
    provider: usize,
    cancel: Arc<CancelSource>,
    ended: Arc<Pending<()>>,
}

/// What a drain has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// A drain under way, which its threads share.
pub(super) struct Drain<'p> {
    pub(super) context: &'p Context,
    process: Arc<Process>,
    pub(super) cancel: Arc<CancelSource>,
    settings: Settings,
    until: Instant,
    workers: usize,
    pub(super) counts: Counts,
    schedule: Mutex<Schedule>,
    suspects: AtomicUsize,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// What is to be done next.
#[derive(Debug)]
struct Schedule {
    ready: VecDeque<(String, Health)>,
    look_at: Instant,
    housekeeping_at: Instant,
    leases_at: Instant,
    idle: Vec<Arc<Event>>,
}

enum Task {
    Lane(String, Health),
    Housekeeping,
    Leases,
    Wait(Instant),
}

/// A number by which a provider is known.
fn number_of(context: &Context) -> usize {
    std::ptr::from_ref(context).addr()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the drains of a provider early.
pub(super) fn cancel(context: &Context, process: &Arc<Process>) {
    let cancels: Vec<_> = lock(&DRAINS.of(process).0)
        .iter()
        .filter(|drain| drain.provider == number_of(context))
        .map(|drain| Arc::clone(&drain.cancel))
        .collect();
    for cancel in cancels {
        cancel.cancel(process);
    }
}

/// Waits until no drain of a provider is under way.
pub(super) fn wait_for_all(context: &Context, process: &Arc<Process>, call: &CallContext) {
    let all: Vec<_> = lock(&DRAINS.of(process).0)
        .iter()
        .filter(|drain| drain.provider == number_of(context))
        .map(|drain| Arc::clone(&drain.ended))
        .collect();
    for ended in all {
        if ended.wait(call).is_err() {
            log::warn!(target: LOG, "a drain has not ended in time, and goes on");
        }
    }
}

/// Sends receipts for so long. Returns what was done.
pub(super) fn drain(context: &Context, budget: Duration) -> Result<Counts, Error> {
    let process = Process::current();
    let _active = process.enter();
    let cancel = Arc::new(CancelSource::new(context.on_interrupt.clone()));
    let ended = Arc::<Pending<()>>::default();
    lock(&DRAINS.of(&process).0).push(Running {
        provider: number_of(context),
        cancel: Arc::clone(&cancel),
        ended: Arc::clone(&ended),
    });
    let _registered = Registered {
        process: Arc::clone(&process),
        ended: &ended,
    };
    let now = Instant::now();
    let mut settings = context.settings.clone();
    // A lane that waits holds no thread, so pauses and the rate limit are the lanes'.
    settings.max_retries = 0;
    settings.rate_limit = None;
    let drain = Drain {
        context,
        process: Arc::clone(&process),
        cancel: Arc::clone(&cancel),
        settings,
        until: now
            .checked_add(budget)
            .unwrap_or(now + Duration::from_secs(365 * 86_400)),
        workers: context.settings.workers as usize,
        counts: Counts::default(),
        schedule: Mutex::new(Schedule {
            ready: VecDeque::new(),
            look_at: now,
            housekeeping_at: now,
            leases_at: now,
            idle: Vec::new(),
        }),
        suspects: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let interrupted = drain.run();
    if let Some(error) = lock(&drain.failure).take() {
        return Err(error);
    }
    interrupted?;
    Ok(drain.counts)
}

/// Takes the drain off the list of its process when it has ended, however.
struct Registered<'a> {
    process: Arc<Process>,
    ended: &'a Arc<Pending<()>>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&DRAINS.of(&self.process).0).retain(|drain| !Arc::ptr_eq(&drain.ended, self.ended));
        self.ended.set(());
    }
}

impl Drain<'_> {
    /// A call of this drain that may take so long.
    pub(super) fn call(&self, timeout: Duration) -> CallContext {
        self.context.call_of(&self.process, &self.cancel, timeout)
    }

    /// A step in the store.
    pub(super) fn transact<T>(
        &self,
        access: Access,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let call = self.call(self.settings.timeout);
        self.context.run(&call, access, work)
    }

    /// The same for what must be noted although the drain was cancelled.
    fn transact_surely<T>(
        &self,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let own = Arc::new(CancelSource::new(None));
        let call = self
            .context
            .call_of(&self.process, &own, self.settings.timeout);
        self.context.run(&call, Access::Write, work)
    }

    fn run(&self) -> Result<(), Error> {
        if self.workers == 0 {
            self.work(&self.call(FOR_EVER));
            return self.stop_reason();
        }
        let done = Pending::default();
        std::thread::scope(|scope| {
            let left = Arc::new(AtomicUsize::new(self.workers));
            let mut spawned = 0;
            for _ in 0..self.workers {
                let (left, done) = (Arc::clone(&left), &done);
                let spawn = without_signals(|| {
                    std::thread::Builder::new()
                        .name("b24-drain".to_owned())
                        .spawn_scoped(scope, move || {
                            let _last = LastOut { left, done };
                            self.work(&self.call(FOR_EVER));
                        })
                });
                match spawn {
                    Ok(_) => spawned += 1,
                    Err(why) => {
                        log::warn!(target: LOG, "a drain has {spawned} threads, as no more can be started: {why}");
                        break;
                    }
                }
            }
            let missing = self.workers - spawned;
            if spawned == 0 {
                self.work(&self.call(FOR_EVER));
            } else if left.fetch_sub(missing, Ordering::SeqCst) > missing {
                self.wait(&done);
            }
        });
        self.stop_reason()
    }

    /// Waits for the threads. If the host program wants the call to end, so do they.
    fn wait(&self, done: &Pending<()>) {
        let call = self.call(FOR_EVER);
        // Without a descriptor they are awaited nevertheless, when they are joined.
        if let Err(Interrupt::Cancelled) = done.wait(&call) {
            self.stop();
            self.cancel.cancel(&self.process);
        }
    }

    fn stop_reason(&self) -> Result<(), Error> {
        let call = self.call(FOR_EVER);
        if self.is_cancelled() {
            return Err(call.error(Interrupt::Cancelled, "draining"));
        }
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.was_cancelled()
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        for event in lock(&self.schedule).idle.drain(..) {
            event.notify();
        }
    }

    /// Whether no further request may be made.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
            || self.is_cancelled()
            || self.context.closed.load(Ordering::SeqCst)
            || Instant::now() >= self.until
    }

    /// The work of one thread.
    fn work(&self, call: &CallContext) {
        while !self.is_over() {
            let outcome = match self.next_task() {
                Ok(Task::Lane(member_id, health)) => {
                    let outcome = self.serve(&member_id);
                    if health == Health::Suspect {
                        self.suspects.fetch_sub(1, Ordering::SeqCst);
                    }
                    outcome
                }
                Ok(Task::Housekeeping) => Housekeeping {
                    context: self.context,
                    cancel: &self.cancel,
                    refused: &self.counts.refused,
                    is_over: &|| self.is_over(),
                }
                .run(),
                Ok(Task::Leases) => self.end_dead_leases(),
                Ok(Task::Wait(until)) => self.pause(call, until),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                let passes =
                    error.is_retryable() && !self.is_cancelled() && !is_cancellation(Some(&error));
                if passes
                    && self
                        .pause(call, Instant::now() + Duration::from_secs(1))
                        .is_ok()
                {
                    log::warn!(target: LOG, "draining goes on: {error}");
                    continue;
                }
                lock(&self.failure).get_or_insert(error);
                self.stop();
            }
        }
    }

    /// Waits until there may be something to do.
    fn pause(&self, call: &CallContext, until: Instant) -> Result<(), Error> {
        let fault = |interrupt| call.error(interrupt, "draining");
        let event = Event::new().map_err(|_| fault(Interrupt::NoDescriptor))?;
        lock(&self.schedule).idle.push(Arc::clone(&event));
        let waited = call.wait(&event, until.min(self.until));
        lock(&self.schedule)
            .idle
            .retain(|other| !Arc::ptr_eq(other, &event));
        match waited {
            Ok(_) => Ok(()),
            Err(interrupt) => {
                self.stop();
                Err(fault(interrupt))
            }
        }
    }

    /// What this thread does next. Only one thread at a time looks into the store for it.
    fn next_task(&self) -> Result<Task, Error> {
        let mut schedule = lock(&self.schedule);
        let now = Instant::now();
        if now >= schedule.housekeeping_at {
            schedule.housekeeping_at = now + HOUSEKEEPING;
            return Ok(Task::Housekeeping);
        }
        if now >= schedule.leases_at {
            schedule.leases_at = now + LEASES;
            return Ok(Task::Leases);
        }
        if let Some(task) = self.take_ready(&mut schedule) {
            return Ok(task);
        }
        if now < schedule.look_at {
            return Ok(Task::Wait(schedule.look_at));
        }
        let suspects = self.most_suspects();
        let (store_now, found, next) = self.transact(Access::Read, |transaction| {
            let limit = 4 * self.workers.max(1);
            let mut found: Vec<(String, Health)> = Vec::new();
            for (health, limit) in [(Health::Suspect, suspects), (Health::Good, limit)] {
                let lanes = lanes::ready(transaction, health, limit)?;
                found.extend(lanes.into_iter().map(|lane| (lane, health)));
            }
            let next = lanes::next_ready(transaction)?;
            Ok((transaction.now(), found, next))
        })?;
        schedule.ready.extend(found);
        if let Some(task) = self.take_ready(&mut schedule) {
            let count = schedule.ready.len();
            for event in schedule.idle.drain(..).take(count) {
                event.notify();
            }
            return Ok(task);
        }
        let wait = next
            .map(|at| Duration::from_millis(u64::try_from(at - store_now).unwrap_or_default()))
            .map_or(LOOK_AGAIN, |wait| wait.clamp(LOOK_AGAIN / 10, LOOK_AGAIN));
        schedule.look_at = now + wait;
        Ok(Task::Wait(schedule.look_at))
    }

    /// A lane of the schedule, unless it has failed lately and enough threads wait for such already.
    fn take_ready(&self, schedule: &mut Schedule) -> Option<Task> {
        let mut at = 0;
        while let Some((_, health)) = schedule.ready.get(at) {
            if *health == Health::Suspect {
                let most = self.most_suspects();
                let taken =
                    self.suspects
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |busy| {
                            (busy < most).then_some(busy + 1)
                        });
                if taken.is_err() {
                    at += 1;
                    continue;
                }
            }
            let (member_id, health) = schedule.ready.remove(at)?;
            return Some(Task::Lane(member_id, health));
        }
        // Those that are left are found again.
        schedule.ready.clear();
        None
    }

    /// How many threads may wait for portals that have failed lately.
    fn most_suspects(&self) -> usize {
        (self.workers / 2).max(1)
    }

    /// How long a lease on a lane lasts, in milliseconds: longer than any call.
    fn lease(&self) -> i64 {
        let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX / 4);
        timeout + LEASE_MARGIN
    }

    /// Ends the leases of processes that were killed.
    fn end_dead_leases(&self) -> Result<(), Error> {
        let owners = self.transact(Access::Read, lanes::owners)?;
        let database = &self.context.store.database;
        for owner in owners
            .into_iter()
            .filter(|owner| database.has_ended(*owner))
        {
            self.transact(Access::Write, |transaction| {
                lanes::end_leases(transaction, owner)
            })?;
        }
        Ok(())
    }

    /// Sends what is due of a portal, if nobody else does.
    fn serve(&self, member_id: &str) -> Result<(), Error> {
        let taken_at = Instant::now();
        let begun = self.transact(Access::Write, |transaction| {
            self.begin(transaction, member_id)
        })?;
        let Some(mut job) = begun else {
            return Ok(());
        };
        let mut leased_at = taken_at;
        for left in (0..REQUESTS_IN_A_ROW).rev() {
            // After a long stop of this process, somebody else may have the lane already.
            let too_late =
                leased_at.elapsed() > Duration::from_millis(LEASE_MARGIN.unsigned_abs() / 2);
            if self.is_over() || too_late {
                return self.transact_surely(|transaction| job.lane.give_back(transaction, 0));
            }
            let fates = job.send();
            // Without workers it is this call that a signal ends, and with it the drain.
            let is_interrupted = |fate: &Fate| is_cancellation(fate.outcome.as_ref().err());
            if fates.iter().any(is_interrupted) {
                self.cancel.cancel(&self.process);
            }
            leased_at = Instant::now();
            let goes_on = left > 0 && !self.is_over();
            let next = self.transact_surely(|transaction| {
                self.settle(transaction, &mut job, &fates, goes_on)
            })?;
            match next {
                Some(due) => job.due = due,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes the lane of a portal, and what is to be sent first.
    fn begin(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
    ) -> Result<Option<Job>, StoreError> {
        let Some(mut lane) = lane_lease::take(transaction, member_id, self.lease())? else {
            return Ok(None);
        };
        let now = transaction.now();
        let stored = self.context.store.installation(transaction, member_id)?;
        let Some(stored) = stored else {
            let refused = receipts::refuse_older(
                transaction,
                member_id,
                now - UNKNOWN_FOR,
                "UNKNOWN_PORTAL: it has not installed the application within an hour",
                SLICE,
            )?;
            self.counts.refused.fetch_add(refused, Ordering::Relaxed);
            let oldest = match refused {
                // There may be more of them.
                SLICE.. => None,
                _ => receipts::oldest(transaction, member_id)?,
            };
            let wait_until = oldest.map_or(0, |oldest| oldest + UNKNOWN_FOR);
            lane.give_back(transaction, wait_until)?;
            return Ok(None);
        };
        if lane.oldest_at != 0 && lane.oldest_at <= now - GIVE_UP_AFTER {
            let expired = lane_lease::expire(transaction, member_id, &lane.reason, SLICE)?;
            self.counts.refused.fetch_add(expired, Ordering::Relaxed);
        }
        if stored.state == InstallationState::Removed {
            let refused = receipts::refuse_older(
                transaction,
                member_id,
                now,
                "UNINSTALLED: the portal has removed the application",
                SLICE,
            )?;
            self.counts.refused.fetch_add(refused, Ordering::Relaxed);
            lane.give_back(transaction, 0)?;
            return Ok(None);
        }
        if lane.is_held() {
            lane.give_back(transaction, 0)?;
            return Ok(None);
        }
        let installation =
            self.context
                .installation(self.settings.clone(), member_id, &stored, &self.cancel);
        let installation = match installation {
            Ok(Some(installation)) => Arc::new(installation),
            Ok(None) => {
                lane.give_back(transaction, 0)?;
                return Ok(None);
            }
            Err(error) => {
                lane.hold(transaction, &reason_of(&error))?;
                return Ok(None);
            }
        };
        match self.next(transaction, &mut lane)? {
            Turn::Nothing => Ok(None),
            Turn::Send(due) => Ok(Some(Job {
                lane,
                installation,
                generation: stored.generation,
                client_endpoint: stored.client_endpoint,
                attempted_at: now,
                due,
            })),
        }
    }

    fn next(&self, transaction: &mut dyn Transaction, lane: &mut Lane) -> Result<Turn, StoreError> {
        let rate = self.context.settings.rate_limit;
        lane.next(transaction, rate, self.lease(), MAX_COMMANDS, together)
    }

    /// Notes what became of a request, and takes what is to be sent next.
    fn settle(
        &self,
        transaction: &mut dyn Transaction,
        job: &mut Job,
        fates: &[Fate],
        goes_on: bool,
    ) -> Result<Option<Vec<DueReceipt>>, StoreError> {
        let now = transaction.now();
        let member_id = job.lane.member_id.clone();
        let outcomes = job.due.iter().zip(fates);
        if !job.lane.refresh(transaction)? {
            log::warn!(target: LOG, "portal {member_id}: another drain has taken over what this one was sending; it is sent once more");
            for (receipt, fate) in outcomes {
                if fate.outcome.is_ok() || fate.may_still_run {
                    receipt.repair(transaction, &member_id, fate.may_still_run)?;
                }
            }
            return Ok(None);
        }
        let mut stops: Option<(Verdict, Error)> = None;
        for (receipt, fate) in outcomes {
            let error = match &fate.outcome {
                Ok(()) => {
                    receipt.settle(
                        transaction,
                        &member_id,
                        job.attempted_at,
                        fate.may_still_run,
                    )?;
                    self.counts.sent.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(error) => error,
            };
            if fate.may_still_run {
                receipt.note_unknown(transaction, &member_id)?;
            }
            match judge(error, fate.of_request) {
                Verdict::TryAgain { most, pause } if receipt.tries + 1 < most => {
                    receipt.try_again(transaction, &member_id, now + pause(receipt.tries))?;
                }
                Verdict::Refuse | Verdict::TryAgain { .. } => {
                    self.refuse(transaction, receipt, &member_id, error)?;
                }
                verdict => {
                    let is_worse = stops
                        .as_ref()
                        .is_none_or(|(former, _)| former.severity() < verdict.severity());
                    if is_worse {
                        stops = Some((verdict, error.clone()));
                    }
                }
            }
        }
        let endpoint = job.installation.tokens().client_endpoint;
        if endpoint != job.client_endpoint {
            installations::note_endpoint(transaction, &member_id, &endpoint)?;
            job.client_endpoint = endpoint;
        }
        if let Some((verdict, error)) = stops {
            self.stop_lane(transaction, job, &verdict, &error)?;
            return Ok(None);
        }
        job.lane.note_request(transaction)?;
        if !goes_on || job.lane.is_held() {
            job.lane.give_back(transaction, 0)?;
            return Ok(None);
        }
        // The application may have been removed or installed again meanwhile.
        let stored = self.context.store.installation(transaction, &member_id)?;
        if stored.is_none_or(|stored| stored.generation != job.generation) {
            job.lane.give_back(transaction, 0)?;
            return Ok(None);
        }
        job.attempted_at = now;
        match self.next(transaction, &mut job.lane)? {
            Turn::Send(due) => Ok(Some(due)),
            Turn::Nothing => Ok(None),
        }
    }

    fn refuse(
        &self,
        transaction: &mut dyn Transaction,
        receipt: &DueReceipt,
        member_id: &str,
        error: &Error,
    ) -> Result<(), StoreError> {
        if receipt.refuse(transaction, member_id, &reason_of(error))? {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The lane cannot go on for now.
    fn stop_lane(
        &self,
        transaction: &mut dyn Transaction,
        job: &mut Job,
        verdict: &Verdict,
        error: &Error,
    ) -> Result<(), StoreError> {
        let lane = &mut job.lane;
        let reason = reason_of(error);
        match verdict {
            Verdict::Hold => {
                let stored = self
                    .context
                    .store
                    .installation(transaction, &lane.member_id)?;
                // What was refused are perhaps not the tokens that are stored now.
                let is_same = stored.is_some_and(|stored| stored.generation == job.generation);
                if !is_same {
                    return lane.wait(transaction, None, None, &reason);
                }
                log::warn!(target: LOG, "portal {} is held until it is resumed or installed again: {error}", lane.member_id);
                lane.hold(transaction, &reason)
            }
            Verdict::Wait { throttled } => {
                let rate = self.context.settings.rate_limit.filter(|_| *throttled);
                log::info!(target: LOG, "portal {} waits: {error}", lane.member_id);
                lane.wait(transaction, error.retry_after(), rate, &reason)
            }
            _ => lane.give_back(transaction, 0),
        }
    }
}

fn is_cancellation(error: Option<&Error>) -> bool {
    error.is_some_and(|error| error.kind() == ErrorKind::Cancelled)
}

const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tells when the last thread has ended.
struct LastOut<'a> {
    left: Arc<AtomicUsize>,
    done: &'a Pending<()>,
}

impl Drop for LastOut<'_> {
    fn drop(&mut self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.done.set(());
        }
    }
}

/// A lane with what is being sent.
struct Job {
    lane: Lane,
    installation: Arc<Installation>,
    generation: i64,
    client_endpoint: String,
    /// Not later than the first attempt of the present request.
    attempted_at: i64,
    due: Vec<DueReceipt>,
}

impl Job {
    fn send(&self) -> Vec<Fate> {
        let updates: Vec<Update> = self
            .due
            .iter()
            .map(|due| Update::new(due.code.as_str(), due.message_id.as_str(), due.status))
            .collect();
        let updates: Vec<&Update> = updates.iter().collect();
        batch::send(&self.installation, &updates)
    }
}

/// How many of these can be sent in one request: an id that looks like a reference to another
/// command is sent alone.
fn together(due: &[DueReceipt]) -> usize {
    let first = due
        .first()
        .is_some_and(|due| has_reference(&due.message_id));
    if first {
        return 1;
    }
    due.iter()
        .position(|due| has_reference(&due.message_id))
        .unwrap_or(due.len())
}
