//! Draining: sending the receipts that are in the store.
//!
//! A drain takes the lease on a portal's lane, sends its receipts 50 at a time, and gives the lease
//! back when nothing is to be sent at the moment (`sending.rs`). So any number of drains can run anywhere, a portal
//! gets one request at a time, and a lane that waits holds no thread.

use super::context::Context;
use super::housekeeping::Housekeeping;
use super::sending::{Counts, Sending, is_cancellation};
use crate::options::Settings;
use crate::process::cancellation::{CallContext, CancelSource, Event, Interrupt};
use crate::process::pending::Pending;
use crate::process::per_process::{PerProcess, Process};
use crate::process::signals::without_signals;
use crate::store::database::{Access, Transaction};
use crate::store::lane_lease::Lane;
use crate::store::lanes::{self, Health};
use crate::store::token_store::StoreError;
use crate::values::LOG;
use crate::values::error::Error;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often it is looked whether others have stored something.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a thread rests that nobody wakes.
const REST: Duration = Duration::from_secs(30);
/// How often what is too old is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How often it is looked whether a process with leases has ended.
const LEASES: Duration = Duration::from_secs(2);

static DRAINS: PerProcess<Drains> = PerProcess::new();

/// The drains that are under way in a process, and what they could not give back.
#[derive(Debug, Default)]
struct Drains {
    running: Mutex<Vec<Running>>,
    kept_leases: Mutex<Vec<KeptLease>>,
}

/// A lease that nobody uses, since the store failed when it was to be given back.
#[derive(Debug)]
struct KeptLease {
    provider: Weak<AtomicBool>,
    lane: Lane,
}

#[derive(Debug)]
struct Running {
    context: Arc<Context>,
    cancel: Arc<CancelSource>,
    ended: Arc<Pending<()>>,
}

/// A drain under way, which its threads share.
pub(super) struct Drain {
    pub(super) context: Arc<Context>,
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
    /// Whether one of those that wait looks again by itself.
    is_watched: bool,
    /// Lanes that somebody else had when they were to be taken, and when they are looked at again.
    passed_over: HashMap<String, Instant>,
}

enum Task {
    Lane(String, Health),
    Housekeeping,
    Leases,
    /// Nothing: one thread looks again at this time, and the others wait until it wakes them.
    Watch(Instant, Arc<Event>),
    Rest(Arc<Event>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the drains of a provider early.
pub(super) fn cancel(context: &Context, process: &Arc<Process>) {
    let cancels: Vec<_> = lock(&DRAINS.of(process).running)
        .iter()
        .filter(|drain| drain.context.is_of_same_provider(context))
        .map(|drain| Arc::clone(&drain.cancel))
        .collect();
    for cancel in cancels {
        cancel.cancel(process);
    }
}

/// Waits until no drain of a provider is under way.
pub(super) fn wait_for_all(context: &Context, process: &Arc<Process>, call: &CallContext) {
    let all: Vec<_> = lock(&DRAINS.of(process).running)
        .iter()
        .filter(|drain| drain.context.is_of_same_provider(context))
        .map(|drain| Arc::clone(&drain.ended))
        .collect();
    for ended in all {
        if ended.wait(call).is_err() {
            log::warn!(target: LOG, "a drain has not ended in time, and goes on");
        }
    }
}

/// Sends receipts for so long. Returns what was done.
pub(super) fn drain(context: &Arc<Context>, budget: Duration) -> Result<Totals, Error> {
    let process = Process::current();
    let _active = process.enter();
    let cancel = Arc::new(CancelSource::beside(&context.cancel));
    let ended = Arc::<Pending<()>>::default();
    lock(&DRAINS.of(&process).running).push(Running {
        context: Arc::clone(context),
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
    let drain = Arc::new(Drain {
        context: Arc::clone(context),
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
            is_watched: false,
            passed_over: HashMap::new(),
        }),
        suspects: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    drain.run();
    if !process.is_current() {
        // A handler of a signal has forked in this call, and this is the child: it has none of the
        // threads, and one of them may have held any lock.
        return Err(drain.cancelled());
    }
    if let Some(error) = lock(&drain.failure).take() {
        return Err(error);
    }
    if drain.is_cancelled() {
        return Err(drain.cancelled());
    }
    Ok(Totals {
        sent: drain.counts.sent.load(Ordering::SeqCst),
        refused: drain.counts.refused.load(Ordering::SeqCst),
    })
}

/// What a drain has done in all.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) refused: u64,
}

/// Takes the drain off the list of its process when it has ended, however.
struct Registered<'a> {
    process: Arc<Process>,
    ended: &'a Arc<Pending<()>>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        lock(&DRAINS.of(&self.process).running)
            .retain(|drain| !Arc::ptr_eq(&drain.ended, self.ended));
        self.ended.set(());
    }
}

impl Drain {
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

    fn run(self: &Arc<Self>) {
        let done = Arc::<Pending<()>>::default();
        let left = Arc::new(AtomicUsize::new(self.workers));
        let mut threads = Vec::new();
        for _ in 0..self.workers {
            let last = LastOut {
                left: Arc::clone(&left),
                done: Arc::clone(&done),
            };
            let drain = Arc::clone(self);
            let spawned = without_signals(|| {
                std::thread::Builder::new()
                    .name("b24-drain".to_owned())
                    .spawn(move || {
                        let _last = last;
                        drain.work(&drain.call(FOR_EVER));
                    })
            });
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(why) => {
                    log::warn!(target: LOG, "a drain has {} threads, as no more can be started: {why}", threads.len());
                    break;
                }
            }
        }
        if threads.is_empty() {
            self.work(&self.call(FOR_EVER));
            return;
        }
        // Those that could not be started are out already, and so is one that has ended since.
        let missing = self.workers - threads.len();
        if missing > 1 && left.fetch_sub(missing - 1, Ordering::SeqCst) == missing - 1 {
            done.set(());
        }
        self.wait(&done);
        for thread in threads {
            if !self.process.is_current() {
                // A child has no threads to wait for.
                std::mem::forget(thread);
            } else if thread.join().is_err() {
                log::error!(target: LOG, "a thread of a drain panicked: please report it");
            }
        }
    }

    /// Waits for the threads. If the host program wants the call to end, so do they.
    fn wait(&self, done: &Pending<()>) {
        let call = self.call(FOR_EVER);
        // Without a descriptor they are awaited nevertheless, when they are joined.
        if let Err(Interrupt::Cancelled) = done.wait(&call)
            && self.process.is_current()
        {
            self.stop();
            self.cancel.cancel(&self.process);
        }
    }

    fn cancelled(&self) -> Error {
        self.call(FOR_EVER).error(Interrupt::Cancelled, "draining")
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
                    let outcome = Sending {
                        context: &self.context,
                        process: &self.process,
                        cancel: &self.cancel,
                        settings: &self.settings,
                        counts: &self.counts,
                        is_over: &|| self.is_over(),
                        keep_lease: &|lane| self.keep_lease(lane),
                    }
                    .serve(&member_id);
                    if matches!(outcome, Ok(false)) {
                        self.pass_over(&member_id);
                    }
                    if health == Health::Suspect {
                        self.suspects.fetch_sub(1, Ordering::SeqCst);
                    }
                    outcome.map(drop)
                }
                Ok(Task::Housekeeping) => Housekeeping {
                    context: &self.context,
                    cancel: &self.cancel,
                    refused: &self.counts.refused,
                    is_over: &|| self.is_over(),
                }
                .run(),
                Ok(Task::Leases) => self.end_kept_leases().and_then(|()| self.end_dead_leases()),
                Ok(Task::Watch(until, event)) => {
                    let waited = self.wait_for(call, &event, until);
                    lock(&self.schedule).is_watched = false;
                    waited
                }
                Ok(Task::Rest(event)) => self.wait_for(call, &event, Instant::now() + REST),
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
        // The drain is over for those that rest, too.
        self.stop();
    }

    fn pass_over(&self, member_id: &str) {
        let until = Instant::now() + LOOK_AGAIN;
        lock(&self.schedule)
            .passed_over
            .insert(member_id.to_owned(), until);
    }

    /// Waits after a failure.
    fn pause(&self, call: &CallContext, until: Instant) -> Result<(), Error> {
        let event = self.new_event()?;
        lock(&self.schedule).idle.push(Arc::clone(&event));
        self.wait_for(call, &event, until)
    }

    fn new_event(&self) -> Result<Arc<Event>, Error> {
        Event::new().map_err(|_| {
            self.call(FOR_EVER)
                .error(Interrupt::NoDescriptor, "draining")
        })
    }

    /// Waits until there may be something to do.
    fn wait_for(
        &self,
        call: &CallContext,
        event: &Arc<Event>,
        until: Instant,
    ) -> Result<(), Error> {
        let fault = |interrupt| call.error(interrupt, "draining");
        let waited = call.wait(event, until.min(self.until));
        lock(&self.schedule)
            .idle
            .retain(|other| !Arc::ptr_eq(other, event));
        match waited {
            Ok(_) => Ok(()),
            Err(interrupt) => {
                self.stop();
                Err(fault(interrupt))
            }
        }
    }

    /// What this thread does next. Only one thread at a time looks into the store for it. Whoever has
    /// something to do wakes another one, which looks for more.
    fn next_task(&self) -> Result<Task, Error> {
        let mut schedule = lock(&self.schedule);
        let task = self.find_task(&mut schedule)?;
        let is_at_rest = matches!(task, Task::Watch(..) | Task::Rest(_));
        if !is_at_rest
            && (!schedule.is_watched || !schedule.ready.is_empty())
            && let Some(event) = schedule.idle.pop()
        {
            event.notify();
        }
        Ok(task)
    }

    /// What a thread does that has nothing to do.
    fn rest(&self, schedule: &mut Schedule) -> Result<Task, Error> {
        let event = self.new_event()?;
        schedule.idle.push(Arc::clone(&event));
        if schedule.is_watched {
            return Ok(Task::Rest(event));
        }
        schedule.is_watched = true;
        Ok(Task::Watch(schedule.look_at, event))
    }

    fn find_task(&self, schedule: &mut Schedule) -> Result<Task, Error> {
        let now = Instant::now();
        if now >= schedule.housekeeping_at {
            schedule.housekeeping_at = now + HOUSEKEEPING;
            return Ok(Task::Housekeeping);
        }
        if now >= schedule.leases_at {
            schedule.leases_at = now + LEASES;
            return Ok(Task::Leases);
        }
        if let Some(task) = self.take_ready(schedule) {
            return Ok(task);
        }
        if now < schedule.look_at {
            return self.rest(schedule);
        }
        schedule.passed_over.retain(|_, until| now < *until);
        let passed_over = schedule.passed_over.len();
        let suspects = self.most_suspects();
        let (store_now, found, next) = self.transact(Access::Read, |transaction| {
            let limit = 4 * self.workers.max(1) + passed_over;
            let mut found: Vec<(String, Health)> = Vec::new();
            for (health, limit) in [(Health::Suspect, suspects), (Health::Good, limit)] {
                let lanes = lanes::ready(transaction, health, limit)?;
                found.extend(lanes.into_iter().map(|lane| (lane, health)));
            }
            let next = lanes::next_ready(transaction)?;
            Ok((transaction.now(), found, next))
        })?;
        let found = found
            .into_iter()
            .filter(|(member_id, _)| !schedule.passed_over.contains_key(member_id))
            .collect::<Vec<_>>();
        schedule.ready.extend(found);
        if let Some(task) = self.take_ready(schedule) {
            return Ok(task);
        }
        let wait = next
            .map(|at| Duration::from_millis(u64::try_from(at - store_now).unwrap_or_default()))
            .map_or(LOOK_AGAIN, |wait| wait.clamp(LOOK_AGAIN / 10, LOOK_AGAIN));
        schedule.look_at = now + wait;
        self.rest(schedule)
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

    fn keep_lease(&self, lane: Lane) {
        if !self.process.is_current() {
            // In a forked child it is still the parent's.
            return;
        }
        let drains = DRAINS.of(&self.process);
        let mut kept = lock(&drains.kept_leases);
        // Those of a provider that was closed end by themselves.
        kept.retain(|kept| kept.provider.strong_count() > 0);
        kept.push(KeptLease {
            provider: Arc::downgrade(&self.context.closed),
            lane,
        });
    }

    /// Ends the leases that could not be given back.
    fn end_kept_leases(&self) -> Result<(), Error> {
        let drains = DRAINS.of(&self.process);
        let next = || {
            let mut kept = lock(&drains.kept_leases);
            let provider = Arc::as_ptr(&self.context.closed);
            let is_mine = |kept: &KeptLease| kept.provider.as_ptr() == provider;
            let at = kept.iter().position(is_mine)?;
            Some(kept.swap_remove(at).lane)
        };
        while let Some(lane) = next() {
            let ended = self.transact(Access::Write, |transaction| lane.end_lease(transaction));
            if let Err(error) = ended {
                self.keep_lease(lane);
                return Err(error);
            }
        }
        Ok(())
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
}

const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tells when the last thread has ended.
struct LastOut {
    left: Arc<AtomicUsize>,
    done: Arc<Pending<()>>,
}

impl Drop for LastOut {
    fn drop(&mut self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.done.set(());
        }
    }
}
