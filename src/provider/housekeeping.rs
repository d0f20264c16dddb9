//! What a drain does from time to time: giving up what is too old, forgetting what is settled, using
//! pairs that would be lost otherwise, and going on with interrupted installations.

use super::context::Context;
use super::fate::reason_of;
use crate::engine::renewal;
use crate::process::cancellation::CancelSource;
use crate::process::per_process::Process;
use crate::store::database::{Access, Transaction};
use crate::store::installations;
use crate::store::lane_lease;
use crate::store::lanes;
use crate::store::receipts::{self, GIVE_UP_AFTER, HOUR, SETTLED, UNKNOWN_FOR};
use crate::store::references;
use crate::store::token_store::StoreError;
use crate::values::LOG;
use crate::values::error::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DAY: i64 = 24 * HOUR;
/// A pair that was not used for 180 days is lost.
const RENEW_UNUSED_AFTER: i64 = 150 * DAY;
/// How long the `application_token` of a removed application is known.
const REMEMBER_REMOVED_FOR: i64 = 30 * DAY;
/// Operators' receipts do not come later than this.
const REMEMBER_REFERENCES_FOR: i64 = 30 * DAY;
/// How much is done in one transaction.
const SLICE: i64 = 1000;
/// How much of it is done at a time.
const SLICES: usize = 20;

/// A part of the housekeeping.
type Step = fn(&Housekeeping<'_>) -> Result<(), Error>;

/// The housekeeping of a round.
pub(super) struct Housekeeping<'d> {
    pub(super) context: &'d Context,
    pub(super) cancel: &'d Arc<CancelSource>,
    /// Counts the receipts that are given up.
    pub(super) refused: &'d AtomicU64,
    /// Whether the drain has to end.
    pub(super) is_over: &'d dyn Fn() -> bool,
}

impl Housekeeping<'_> {
    /// Begins with any of the steps, so that each has its turn although drains are short.
    pub(super) fn run(&self) -> Result<(), Error> {
        const STEPS: [Step; 4] = [
            give_up,
            forget,
            |round| round.context.resume_deliveries(round.cancel),
            use_idle_pairs,
        ];
        let first = fastrand::usize(0..STEPS.len());
        STEPS
            .iter()
            .cycle()
            .skip(first)
            .take(STEPS.len())
            .take_while(|_| !(self.is_over)())
            .try_for_each(|step| step(self))
    }

    fn transact<T>(
        &self,
        access: Access,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let process = Process::current();
        let timeout = self.context.settings.timeout;
        let call = self.context.call_of(&process, self.cancel, timeout);
        self.context.run(&call, access, work)
    }
}

/// Gives up what could not be sent for too long.
fn give_up(round: &Housekeeping<'_>) -> Result<(), Error> {
    for _ in 0..SLICES {
        let (refused, more) = round.transact(Access::Write, |transaction| {
            let before = transaction.now() - GIVE_UP_AFTER;
            let mut refused = 0;
            let lanes = lanes::with_older(transaction, before, 20)?;
            for (member_id, why) in &lanes {
                refused += lane_lease::expire(transaction, member_id, why, SLICE.unsigned_abs())?;
            }
            let before = transaction.now() - UNKNOWN_FOR;
            refused += references::refuse_older(
                transaction,
                before,
                "UNKNOWN_REFERENCE: it was not tracked within an hour",
            )?;
            Ok((refused, !lanes.is_empty()))
        })?;
        round.refused.fetch_add(refused, Ordering::Relaxed);
        if !more || (round.is_over)() {
            break;
        }
    }
    Ok(())
}

/// Forgets settled messages and what else nobody asks for any more.
fn forget(round: &Housekeeping<'_>) -> Result<(), Error> {
    round.transact(Access::Write, |transaction| {
        let now = transaction.now();
        installations::forget_removed(transaction, now - REMEMBER_REMOVED_FOR)?;
        let before = now - REMEMBER_REFERENCES_FOR;
        // Refused receipts stay until they are pruned.
        references::forget(transaction, before, i64::MIN, SLICE).map(drop)
    })?;
    for _ in 0..SLICES {
        let forgotten = round.transact(Access::Write, |transaction| {
            let before = transaction.now() - GIVE_UP_AFTER;
            receipts::forget(transaction, SETTLED, before, SLICE)
        })?;
        if forgotten == 0 || (round.is_over)() {
            break;
        }
    }
    Ok(())
}

/// Renews pairs that were not used for so long that they would expire.
fn use_idle_pairs(round: &Housekeeping<'_>) -> Result<(), Error> {
    let idle = round.transact(Access::Read, |transaction| {
        let before = transaction.now() - RENEW_UNUSED_AFTER;
        installations::idle_since(transaction, before, 10)
    })?;
    for member_id in idle {
        if (round.is_over)() {
            break;
        }
        let stored = round.transact(Access::Read, |transaction| {
            round.context.store.installation(transaction, &member_id)
        })?;
        let Some(stored) = stored else {
            continue;
        };
        let settings = round.context.settings.clone();
        let installation =
            round
                .context
                .installation(settings, &member_id, &stored, round.cancel)?;
        let Some(installation) = installation.map(Arc::new) else {
            continue;
        };
        let process = Process::current();
        let timeout = round.context.settings.timeout;
        let call = round.context.call_of(&process, round.cancel, timeout);
        let stale = installation.credentials.load_full();
        match renewal::renew(&installation, &process, &call, &stale) {
            Ok(_) => {
                log::info!(target: LOG, "portal {member_id}: renewed tokens that were not used for long");
            }
            Err(error) if error.kind() == ErrorKind::Auth => {
                round.transact(Access::Write, |transaction| {
                    lanes::hold(transaction, &member_id, &reason_of(&error))
                })?;
            }
            Err(error) => {
                log::warn!(target: LOG, "portal {member_id}: its unused tokens were not renewed: {error}");
            }
        }
    }
    Ok(())
}
