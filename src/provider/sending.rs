//! Sending one portal's receipts: takes the lease on its lane, makes requests while there is something to
//! send, and notes what became of each receipt.

use super::context::Context;
use super::fate::{Verdict, judge, reason_of};
use crate::engine::installation::Installation;
use crate::methods::batch::{self, Fate, MAX_COMMANDS, has_reference};
use crate::options::Settings;
use crate::process::cancellation::CancelSource;
use crate::process::per_process::Process;
use crate::store::database::{Access, Transaction};
use crate::store::installations::{self, InstallationState};
use crate::store::lane_lease::{self, Lane, Turn};
use crate::store::receipts::{self, DueReceipt, GIVE_UP_AFTER, UNKNOWN_FOR};
use crate::store::token_store::StoreError;
use crate::values::LOG;
use crate::values::error::{Error, ErrorKind};
use crate::values::status::Update;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many requests in a row are made for one portal.
const REQUESTS_IN_A_ROW: usize = 8;
/// How many receipts are given up in one transaction.
const SLICE: u64 = 1000;
/// A lease lasts so much longer than a call, in milliseconds.
const LEASE_MARGIN: i64 = 30_000;

/// What a drain has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// What a transaction has done of that. It is counted when it is committed: until then the
/// transaction may be repeated.
#[derive(Debug, Default)]
struct Done {
    sent: u64,
    refused: u64,
}

impl Counts {
    fn add(&self, done: &Done) {
        self.sent.fetch_add(done.sent, Ordering::Relaxed);
        self.refused.fetch_add(done.refused, Ordering::Relaxed);
    }
}

/// What the threads of a drain share to send receipts.
pub(super) struct Sending<'d> {
    pub(super) context: &'d Context,
    pub(super) process: &'d Arc<Process>,
    pub(super) cancel: &'d Arc<CancelSource>,
    /// Those of its requests.
    pub(super) settings: &'d Settings,
    pub(super) counts: &'d Counts,
    /// Whether no further request may be made.
    pub(super) is_over: &'d dyn Fn() -> bool,
    /// Takes a lane whose lease could not be given back.
    pub(super) keep_lease: &'d dyn Fn(Lane),
}

impl Sending<'_> {
    /// Sends what is due of a portal. Returns whether it could: somebody else may be doing it.
    pub(super) fn serve(&self, member_id: &str) -> Result<bool, Error> {
        let taken_at = Instant::now();
        let (begun, done) = self.transact(Access::Write, |transaction| {
            let mut done = Done::default();
            let begun = self.begin(transaction, member_id, &mut done)?;
            Ok((begun, done))
        })?;
        self.counts.add(&done);
        let mut job = match begun {
            Begun::Job(job) => job,
            Begun::Nothing => return Ok(true),
            Begun::NotMine => return Ok(false),
        };
        let served = self.send_all(&mut job, taken_at);
        if served.is_err() {
            (self.keep_lease)(job.lane);
        }
        served.map(|()| true)
    }

    /// Makes requests while there is something to send.
    fn send_all(&self, job: &mut Job, taken_at: Instant) -> Result<(), Error> {
        let mut leased_at = taken_at;
        for left in (0..REQUESTS_IN_A_ROW).rev() {
            // After a long stop of this process, somebody else may have the lane already.
            let too_late =
                leased_at.elapsed() > Duration::from_millis(LEASE_MARGIN.unsigned_abs() / 2);
            if (self.is_over)() || too_late {
                return self.transact_surely(|transaction| job.lane.give_back(transaction, 0));
            }
            let fates = job.send();
            // Without workers it is this call that a signal ends, and with it the drain.
            let is_interrupted = |fate: &Fate| is_cancellation(fate.outcome.as_ref().err());
            if fates.iter().any(is_interrupted) {
                self.cancel.cancel(self.process);
            }
            leased_at = Instant::now();
            let goes_on = left > 0 && !(self.is_over)();
            let (settled, next, done) = self.transact_surely(|transaction| {
                let mut settled = job.clone();
                let mut done = Done::default();
                let next = self.settle(transaction, &mut settled, &fates, goes_on, &mut done)?;
                Ok((settled, next, done))
            })?;
            self.counts.add(&done);
            *job = settled;
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
        done: &mut Done,
    ) -> Result<Begun, StoreError> {
        let Some(mut lane) = lane_lease::take(transaction, member_id, self.lease())? else {
            return Ok(Begun::NotMine);
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
            done.refused += refused;
            let oldest = match refused {
                // There may be more of them.
                SLICE.. => None,
                _ => receipts::oldest(transaction, member_id)?,
            };
            let wait_until = oldest.map_or(0, |oldest| oldest + UNKNOWN_FOR);
            lane.give_back(transaction, wait_until)?;
            return Ok(Begun::Nothing);
        };
        if lane.oldest_at != 0 && lane.oldest_at <= now - GIVE_UP_AFTER {
            let expired = lane_lease::expire(transaction, member_id, &lane.reason, SLICE)?;
            done.refused += expired;
        }
        if stored.state == InstallationState::Removed {
            let refused = receipts::refuse_older(
                transaction,
                member_id,
                now,
                "UNINSTALLED: the portal has removed the application",
                SLICE,
            )?;
            done.refused += refused;
            lane.give_back(transaction, 0)?;
            return Ok(Begun::Nothing);
        }
        if lane.is_held() {
            lane.give_back(transaction, 0)?;
            return Ok(Begun::Nothing);
        }
        let installation =
            self.context
                .installation(self.settings.clone(), member_id, &stored, self.cancel);
        let installation = match installation {
            Ok(Some(installation)) => Arc::new(installation),
            Ok(None) => {
                lane.give_back(transaction, 0)?;
                return Ok(Begun::Nothing);
            }
            Err(error) => {
                lane.hold(transaction, &reason_of(&error))?;
                return Ok(Begun::Nothing);
            }
        };
        match self.next(transaction, &mut lane)? {
            Turn::Nothing => Ok(Begun::Nothing),
            Turn::Send(due) => Ok(Begun::Job(Job {
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
        done: &mut Done,
    ) -> Result<Option<Vec<DueReceipt>>, StoreError> {
        let now = transaction.now();
        let member_id = job.lane.member_id.clone();
        let due = std::mem::take(&mut job.due);
        let outcomes = due.iter().zip(fates);
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
        let mut stored = Vec::with_capacity(due.len());
        for (receipt, fate) in outcomes {
            let error = match &fate.outcome {
                Ok(()) => {
                    stored.push((receipt, fate.may_still_run));
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
                    if receipt.refuse(transaction, &member_id, &reason_of(error))? {
                        done.refused += 1;
                    }
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
        receipts::settle(transaction, &member_id, &stored, job.attempted_at)?;
        done.sent += stored.len() as u64;
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

    fn transact<T>(
        &self,
        access: Access,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let timeout = self.settings.timeout;
        let call = self.context.call_of(self.process, self.cancel, timeout);
        self.context.run(&call, access, work)
    }

    /// A step in the store that must be noted although the drain was cancelled.
    fn transact_surely<T>(
        &self,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let own = Arc::new(CancelSource::new(None));
        let call = self
            .context
            .call_of(self.process, &own, self.context.sure_timeout());
        self.context.run(&call, Access::Write, work)
    }

    /// How long a lease on a lane lasts, in milliseconds: longer than any call.
    fn lease(&self) -> i64 {
        let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX / 4);
        timeout + LEASE_MARGIN
    }
}

pub(super) fn is_cancellation(error: Option<&Error>) -> bool {
    error.is_some_and(|error| error.kind() == ErrorKind::Cancelled)
}

/// How the sending of a portal's receipts has begun.
enum Begun {
    Job(Job),
    /// There is nothing to send.
    Nothing,
    /// Somebody else has the lane.
    NotMine,
}

/// A lane with what is being sent.
#[derive(Clone)]
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
