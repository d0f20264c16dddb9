//! Lanes in a provider's store: a row for each portal says when there is something to send to it, and
//! what follows its sending from one drain to the next. `lane_lease.rs` has the sending itself.

use super::database::{Row, Transaction, parameters};
use super::token_store::StoreError;
use crate::values::address::Origin;
use crate::values::rate::{Level, Rate};
use std::time::Duration;

/// No lease is longer: a call takes at most 7 days. One that ends later than this was taken under a
/// clock that was wrong, and has ended.
pub(super) const LONGEST_LEASE: i64 = 8 * 24 * 3_600_000;

/// `level` is in thousandths of a request.
pub(super) const UNIT: f64 = 1000.0;

/// A receipt was stored that is due now.
pub(super) fn note_receipt(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<(), StoreError> {
    let now = transaction.now();
    note_receipt_at(transaction, member_id, now)
}

/// A receipt is due at that time. The lane is not written if it is awake by then anyway.
pub(super) fn note_receipt_at(
    transaction: &mut dyn Transaction,
    member_id: &str,
    due_at: i64,
) -> Result<(), StoreError> {
    let now = transaction.now();
    transaction
        .execute(NOTE_RECEIPT, parameters![member_id, due_at, now])
        .map(drop)
}

/// Wakes the lane of a portal: its id, when a receipt is due, and now.
pub(super) const NOTE_RECEIPT: &str =
    "INSERT INTO b24_lane (member_id, next_at, wait_until, failures, held, oldest_at, partial_at,
        level, level_at, lease_owner, lease_id, lease_until)
     VALUES ($1, $2, 0, 0, 0, $3, 0, 0, 0, 0, 0, 0)
     ON CONFLICT (member_id) DO UPDATE SET
        next_at = CASE WHEN b24_lane.held <> 0 THEN NULL
            WHEN b24_lane.wait_until > excluded.next_at AND b24_lane.wait_until >= b24_lane.partial_at
                THEN b24_lane.wait_until
            WHEN b24_lane.partial_at > excluded.next_at THEN b24_lane.partial_at
            ELSE excluded.next_at END,
        oldest_at = CASE WHEN b24_lane.oldest_at = 0 THEN excluded.oldest_at
            ELSE b24_lane.oldest_at END
     WHERE b24_lane.oldest_at = 0
        OR (b24_lane.held = 0 AND (b24_lane.next_at IS NULL
            OR (b24_lane.next_at > excluded.next_at
                AND b24_lane.next_at > b24_lane.wait_until
                AND b24_lane.next_at > b24_lane.partial_at)))";

/// A row if [`NOTE_RECEIPT`] has nothing to write: the portal's id, and when the receipt is due.
pub(super) const IS_AWAKE: &str = "SELECT 1 FROM b24_lane WHERE member_id = $1 AND oldest_at <> 0
     AND (held <> 0 OR next_at <= $2 OR next_at <= wait_until OR next_at <= partial_at)";

/// Makes a drain look at the lane now.
pub(super) fn wake(transaction: &mut dyn Transaction, member_id: &str) -> Result<(), StoreError> {
    let now = transaction.now();
    transaction
        .execute(
            "UPDATE b24_lane SET next_at = $2, wait_until = 0, held = 0, reason = NULL
             WHERE member_id = $1 AND oldest_at <> 0",
            parameters![member_id, now],
        )
        .map(drop)
}

/// The lane goes on, whatever stopped it. Returns whether there is one.
pub(crate) fn release_hold(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<bool, StoreError> {
    let now = transaction.now();
    transaction
        .execute(
            "UPDATE b24_lane SET held = 0, reason = NULL, failures = 0, wait_until = 0,
                next_at = CASE WHEN oldest_at <> 0 THEN $2 ELSE NULL END
             WHERE member_id = $1",
            parameters![member_id, now],
        )
        .map(|changed| changed > 0)
}

/// Which lanes to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Those whose last request did not fail.
    Good,
    /// The others, which may take long.
    Suspect,
}

/// Portals whose lanes have something to do and that nobody has a lease on.
pub(crate) fn ready(
    transaction: &mut dyn Transaction,
    health: Health,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let now = transaction.now();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = match health {
        Health::Good => {
            "SELECT member_id FROM b24_lane
             WHERE next_at <= $1 AND failures = 0 AND (lease_until <= $1 OR lease_until > $2)
             ORDER BY next_at LIMIT $3"
        }
        Health::Suspect => {
            "SELECT member_id FROM b24_lane
             WHERE next_at <= $1 AND failures > 0 AND (lease_until <= $1 OR lease_until > $2)
             ORDER BY next_at LIMIT $3"
        }
    };
    let rows = transaction.query(
        sql,
        parameters![now, now.saturating_add(LONGEST_LEASE), limit],
    )?;
    Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
}

/// When the next lane that nobody has a lease on has something to do.
pub(crate) fn next_ready(transaction: &mut dyn Transaction) -> Result<Option<i64>, StoreError> {
    let now = transaction.now();
    let rows = transaction.query(
        "SELECT next_at FROM b24_lane WHERE next_at IS NOT NULL AND lease_until <= $1
         ORDER BY next_at LIMIT 1",
        parameters![now],
    )?;
    Ok(rows.first().map(|row| row.integer(0)))
}

/// Ends the leases of processes that have ended. `has_ended` says which.
pub(crate) fn owners(transaction: &mut dyn Transaction) -> Result<Vec<i64>, StoreError> {
    let rows = transaction.query(
        "SELECT DISTINCT lease_owner FROM b24_lane WHERE lease_owner <> 0",
        parameters![],
    )?;
    Ok(rows.iter().map(|row| row.integer(0)).collect())
}

/// Ends the leases of a process.
pub(crate) fn end_leases(transaction: &mut dyn Transaction, owner: i64) -> Result<(), StoreError> {
    transaction
        .execute(
            "UPDATE b24_lane SET lease_until = 0, lease_owner = 0 WHERE lease_owner = $1",
            parameters![owner],
        )
        .map(drop)
}

/// Makes a lane that has nothing to do, if there is none.
pub(super) fn add(transaction: &mut dyn Transaction, member_id: &str) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT INTO b24_lane (member_id, next_at, wait_until, failures, held, oldest_at, partial_at,
                level, level_at, lease_owner, lease_id, lease_until)
             VALUES ($1, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) ON CONFLICT (member_id) DO NOTHING",
            parameters![member_id],
        )
        .map(drop)
}

/// Stops a lane that nobody sends, because its pair could not be renewed.
pub(crate) fn hold(
    transaction: &mut dyn Transaction,
    member_id: &str,
    reason: &str,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT INTO b24_lane (member_id, next_at, wait_until, failures, held, reason, oldest_at,
                partial_at, level, level_at, lease_owner, lease_id, lease_until)
             VALUES ($1, NULL, 0, 0, 1, $2, 0, 0, 0, 0, 0, 0, 0)
             ON CONFLICT (member_id) DO UPDATE SET held = 1, reason = excluded.reason, next_at = NULL",
            parameters![member_id, reason],
        )
        .map(drop)
}

/// Whether a portal's lane is held.
pub(crate) fn is_held(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<bool, StoreError> {
    let rows = transaction.query(
        "SELECT held FROM b24_lane WHERE member_id = $1",
        parameters![member_id],
    )?;
    Ok(rows.first().is_some_and(|row| row.integer(0) != 0))
}

/// Portals with receipts that arrived before then, or earlier ones that are sent already, each with
/// the reason why its lane waits.
pub(crate) fn with_older(
    transaction: &mut dyn Transaction,
    before: i64,
    limit: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, reason FROM b24_lane WHERE oldest_at <> 0 AND oldest_at <= $1
         ORDER BY oldest_at LIMIT $2",
        parameters![before, limit],
    )?;
    Ok(rows
        .iter()
        .map(|row| (row.text(0).to_owned(), row.text(1).to_owned()))
        .collect())
}

/// What is stored of a lane, for people.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) held: bool,
    pub(crate) failures: i64,
    pub(crate) wait_until: i64,
    pub(crate) reason: String,
}

/// All lanes.
pub(crate) fn all(
    transaction: &mut dyn Transaction,
) -> Result<Vec<(String, LaneState)>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, held, failures, wait_until, reason FROM b24_lane ORDER BY member_id",
        parameters![],
    )?;
    Ok(states(&rows))
}

/// The lanes that are held, or wait after a failure. Of many portals these are few.
pub(crate) fn stopped(
    transaction: &mut dyn Transaction,
) -> Result<Vec<(String, LaneState)>, StoreError> {
    let now = transaction.now();
    let rows = transaction.query(
        "SELECT member_id, held, failures, wait_until, reason FROM b24_lane
         WHERE held <> 0 OR wait_until > $1",
        parameters![now],
    )?;
    Ok(states(&rows))
}

fn states(rows: &[Row]) -> Vec<(String, LaneState)> {
    rows.iter()
        .map(|row| {
            let state = LaneState {
                held: row.integer(1) != 0,
                failures: row.integer(2),
                wait_until: row.integer(3),
                reason: row.text(4).to_owned(),
            };
            (row.text(0).to_owned(), state)
        })
        .collect()
}

/// Changes the level of a portal's rate limit, drained up to now.
pub(super) fn change_level(
    transaction: &mut dyn Transaction,
    member_id: &str,
    rate: Rate,
    change: &mut dyn FnMut(&mut Level),
) -> Result<(), StoreError> {
    let now = transaction.now();
    add(transaction, member_id)?;
    let rows = transaction.query(
        "SELECT level, level_at FROM b24_lane WHERE member_id = $1 /*LOCKED*/",
        parameters![member_id],
    )?;
    let stored = rows.first().map(|row| (row.integer(0), row.integer(1)));
    let level = changed(stored, now, rate, change);
    transaction
        .execute(
            "UPDATE b24_lane SET level = $2, level_at = $3 WHERE member_id = $1",
            parameters![member_id, level, now],
        )
        .map(drop)
}

/// The same for a server that has no lane.
pub(super) fn change_other_level(
    transaction: &mut dyn Transaction,
    server: &Origin,
    rate: Rate,
    change: &mut dyn FnMut(&mut Level),
) -> Result<(), StoreError> {
    let now = transaction.now();
    let name = format!("level {server}");
    transaction.lock(&name)?;
    let rows = transaction.query(
        "SELECT value FROM b24_meta WHERE name = $1",
        parameters![&name],
    )?;
    let stored = rows.first().and_then(|row| {
        let (level, at) = row.text(0).split_once(' ')?;
        Some((level.parse().ok()?, at.parse().ok()?))
    });
    let level = changed(stored, now, rate, change);
    transaction
        .execute(
            "INSERT INTO b24_meta (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            parameters![&name, &format!("{level} {now}")],
        )
        .map(drop)
}

fn changed(
    stored: Option<(i64, i64)>,
    now: i64,
    rate: Rate,
    change: &mut dyn FnMut(&mut Level),
) -> i64 {
    let (level, at) = stored.unwrap_or_default();
    let elapsed = Duration::from_millis(u64::try_from(now - at).unwrap_or_default());
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a level is small"
    )]
    {
        let mut level = Level(level as f64 / UNIT).drained(rate, elapsed);
        change(&mut level);
        (level.0 * UNIT).ceil() as i64
    }
}
