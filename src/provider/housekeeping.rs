//! What a drain does from time to time: giving up what is too old, forgetting what is settled, using
//! pairs that would be lost otherwise, and going on with interrupted installations.

use super::drain::{Drain, reason_of};
use crate::engine::renewal;
use crate::process::per_process::Process;
use crate::store::database::Access;
use crate::store::installations;
use crate::store::lanes;
use crate::store::receipts::{self, GIVE_UP_AFTER, HOUR, SETTLED, UNKNOWN_FOR};
use crate::store::references;
use crate::values::LOG;
use crate::values::error::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

pub(super) fn housekeeping(drain: &Drain<'_>) -> Result<(), Error> {
    give_up(drain)?;
    forget(drain)?;
    drain.context.resume_deliveries(&drain.cancel)?;
    use_idle_pairs(drain)
}

/// Gives up what could not be sent for too long.
fn give_up(drain: &Drain<'_>) -> Result<(), Error> {
    for _ in 0..SLICES {
        let (refused, more) = drain.transact(Access::Write, |transaction| {
            let before = transaction.now() - GIVE_UP_AFTER;
            let mut refused = 0;
            let lanes = lanes::with_older(transaction, before, 20)?;
            for (member_id, why) in &lanes {
                let reason = if why.is_empty() {
                    "EXPIRED: it could not be sent within 72 hours".to_owned()
                } else {
                    format!("EXPIRED: it could not be sent within 72 hours ({why})")
                };
                refused += receipts::refuse_older(transaction, member_id, before, &reason, SLICE)?;
                lanes::note_oldest(transaction, member_id)?;
            }
            let before = transaction.now() - UNKNOWN_FOR;
            refused += references::refuse_older(
                transaction,
                before,
                "UNKNOWN_REFERENCE: it was not tracked within an hour",
            )?;
            Ok((refused, !lanes.is_empty()))
        })?;
        drain.counts.refused.fetch_add(refused, Ordering::Relaxed);
        if !more || drain.is_over() {
            break;
        }
    }
    Ok(())
}

/// Forgets settled messages and what else nobody asks for any more.
fn forget(drain: &Drain<'_>) -> Result<(), Error> {
    drain.transact(Access::Write, |transaction| {
        let now = transaction.now();
        installations::forget_removed(transaction, now - REMEMBER_REMOVED_FOR)?;
        let before = now - REMEMBER_REFERENCES_FOR;
        // Refused receipts stay until they are pruned.
        references::forget(transaction, before, i64::MIN, SLICE).map(drop)
    })?;
    for _ in 0..SLICES {
        let forgotten = drain.transact(Access::Write, |transaction| {
            let before = transaction.now() - GIVE_UP_AFTER;
            receipts::forget(transaction, SETTLED, before, SLICE)
        })?;
        if forgotten == 0 || drain.is_over() {
            break;
        }
    }
    Ok(())
}

/// Renews pairs that were not used for so long that they would expire.
fn use_idle_pairs(drain: &Drain<'_>) -> Result<(), Error> {
    let idle = drain.transact(Access::Read, |transaction| {
        let before = transaction.now() - RENEW_UNUSED_AFTER;
        installations::idle_since(transaction, before, 10)
    })?;
    for member_id in idle {
        if drain.is_over() {
            break;
        }
        let stored = drain.transact(Access::Read, |transaction| {
            drain.context.store.installation(transaction, &member_id)
        })?;
        let Some(stored) = stored else {
            continue;
        };
        let settings = drain.context.settings.clone();
        let installation =
            drain
                .context
                .installation(settings, &member_id, &stored, &drain.cancel)?;
        let Some(installation) = installation.map(Arc::new) else {
            continue;
        };
        let process = Process::current();
        let call = drain.call(drain.context.settings.timeout);
        let stale = installation.credentials.load_full();
        match renewal::renew(&installation, &process, &call, &stale) {
            Ok(_) => {
                log::info!(target: LOG, "portal {member_id}: renewed tokens that were not used for long")
            }
            Err(error) if error.kind() == ErrorKind::Auth => {
                drain.transact(Access::Write, |transaction| {
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
