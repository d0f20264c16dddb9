//! Lanes in a provider's store: the sending of one portal's receipts, which one drain at a time
//! does. What follows the lane from one drain to the next is in its row: the rate limit's level, the
//! pause between partial requests, and the wait after a failure.

use super::database::{Transaction, parameters};
use super::receipts::{self, DueReceipt, SECOND};
use super::shared_tokens::new_lease_id;
use super::token_store::StoreError;
use crate::values::address::Origin;
use crate::values::rate::{Level, Rate};
use std::time::Duration;

/// Requests with fewer than 50 updates are this far apart.
const PARTIAL_PAUSE: i64 = 500;
/// The first wait after a failure is at most this long, and each further one twice the one before.
const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 900 * SECOND;
/// Later than this the portal does not count a request.
const LAG: Duration = Duration::from_secs(1);
/// `level` is in thousandths of a request.
const UNIT: f64 = 1000.0;

/// A lane that this process has a lease on.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) member_id: String,
    pub(crate) failures: i64,
    lease_id: i64,
    /// Until when the lease lasts.
    pub(crate) leased_until: i64,
    partial_at: i64,
    level: Level,
    level_at: i64,
    held: bool,
    /// Why it waits or is held.
    pub(crate) reason: String,
}

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
        .execute(
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
                        AND b24_lane.next_at > b24_lane.partial_at)))",
            parameters![member_id, due_at, now],
        )
        .map(drop)
}

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
    longest_lease: i64,
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
        parameters![now, now.saturating_add(longest_lease), limit],
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

/// Takes the lease on a lane, if nobody has it. What a former holder did not finish is noted.
pub(crate) fn take(
    transaction: &mut dyn Transaction,
    member_id: &str,
    lease: i64,
) -> Result<Option<Lane>, StoreError> {
    let now = transaction.now();
    let rows = transaction.query(
        "SELECT failures, held, reason, partial_at, level, level_at, sending, lease_id, lease_until
         FROM b24_lane WHERE member_id = $1",
        parameters![member_id],
    )?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let held_until = row.integer(8);
    if held_until > now && held_until <= now.saturating_add(lease) {
        return Ok(None);
    }
    let lease_id = new_lease_id();
    let leased_until = now.saturating_add(lease);
    let taken = transaction.execute(
        "UPDATE b24_lane SET lease_owner = $2, lease_id = $3, lease_until = $4, sending = NULL
         WHERE member_id = $1 AND lease_id = $5",
        parameters![
            member_id,
            transaction.process(),
            lease_id,
            leased_until,
            row.integer(7)
        ],
    )?;
    if taken == 0 {
        return Ok(None);
    }
    let sending = row.text(6);
    if !sending.is_empty() {
        receipts::note_abandoned(transaction, member_id, sending)?;
    }
    #[allow(clippy::cast_precision_loss, reason = "a level is small")]
    let level = Level(row.integer(4) as f64 / UNIT);
    Ok(Some(Lane {
        member_id: member_id.to_owned(),
        failures: row.integer(0),
        held: row.integer(1) != 0,
        reason: row.text(2).to_owned(),
        partial_at: row.integer(3),
        level,
        level_at: row.integer(5),
        lease_id,
        leased_until,
    }))
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

/// What a lane's turn has come to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// These receipts are to be sent in one request.
    Send(Vec<DueReceipt>),
    /// Nothing for now. The lease is given back.
    Nothing,
}

impl Lane {
    /// Whether it is stopped until somebody resumes it.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Reads again what others may have changed during a request. Returns whether this process
    /// still has the lease.
    pub(crate) fn refresh(
        &mut self,
        transaction: &mut dyn Transaction,
    ) -> Result<bool, StoreError> {
        let rows = transaction.query(
            "SELECT held, level, level_at, reason FROM b24_lane
             WHERE member_id = $1 AND lease_id = $2 AND lease_owner = $3",
            parameters![&self.member_id, self.lease_id, transaction.process()],
        )?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        self.held = row.integer(0) != 0;
        #[allow(clippy::cast_precision_loss, reason = "a level is small")]
        let level = Level(row.integer(1) as f64 / UNIT);
        self.level = level;
        self.level_at = row.integer(2);
        row.text(3).clone_into(&mut self.reason);
        Ok(true)
    }

    /// Takes the next receipts, if a request may be made now: `together` says how many of them
    /// can be sent in one. Otherwise gives the lease back.
    pub(crate) fn next(
        &mut self,
        transaction: &mut dyn Transaction,
        rate: Option<Rate>,
        lease: i64,
        full: usize,
        together: impl Fn(&[DueReceipt]) -> usize,
    ) -> Result<Turn, StoreError> {
        let now = transaction.now();
        let mut due = receipts::due(transaction, &self.member_id, full)?;
        if due.is_empty() {
            self.give_back(transaction, 0)?;
            return Ok(Turn::Nothing);
        }
        let is_full = due.len() >= full;
        due.truncate(together(&due).max(1));
        if !is_full && self.partial_at > now {
            self.give_back(transaction, 0)?;
            return Ok(Turn::Nothing);
        }
        if let Some(rate) = rate {
            self.drain_level(rate, now);
            if let Err(wait) = self.level.reserve(rate.lagging(LAG), Duration::ZERO) {
                let wait_until = now.saturating_add(milliseconds(wait).max(1));
                self.give_back(transaction, wait_until)?;
                return Ok(Turn::Nothing);
            }
        }
        self.leased_until = now.saturating_add(lease);
        transaction.execute(
            "UPDATE b24_lane SET sending = $3, lease_until = $4, level = $5, level_at = $6
             WHERE member_id = $1 AND lease_id = $2",
            parameters![
                &self.member_id,
                self.lease_id,
                &receipts::sending(&due),
                self.leased_until,
                self.stored_level(),
                self.level_at
            ],
        )?;
        Ok(Turn::Send(due))
    }

    fn drain_level(&mut self, rate: Rate, now: i64) {
        let elapsed = u64::try_from(now - self.level_at).unwrap_or_default();
        self.level = self.level.drained(rate, Duration::from_millis(elapsed));
        self.level_at = now;
    }

    #[allow(clippy::cast_possible_truncation, reason = "a level is small")]
    fn stored_level(&self) -> i64 {
        (self.level.0 * UNIT).ceil() as i64
    }

    /// A request has ended, and the lane goes on: the next partial request has to wait.
    pub(crate) fn note_request(
        &mut self,
        transaction: &mut dyn Transaction,
    ) -> Result<(), StoreError> {
        self.partial_at = transaction.now() + PARTIAL_PAUSE;
        self.failures = 0;
        self.reason.clear();
        transaction
            .execute(
                "UPDATE b24_lane SET sending = NULL, partial_at = $3, failures = 0, reason = NULL,
                    wait_until = 0
                 WHERE member_id = $1 AND lease_id = $2",
                parameters![&self.member_id, self.lease_id, self.partial_at],
            )
            .map(drop)
    }

    /// Gives the lease back. Nothing is sent before `wait_until`.
    pub(crate) fn give_back(
        &self,
        transaction: &mut dyn Transaction,
        wait_until: i64,
    ) -> Result<(), StoreError> {
        let next = receipts::next_due(transaction, &self.member_id)?;
        let next_at = next
            .filter(|_| !self.held)
            .map(|next| next.max(wait_until).max(self.partial_at));
        let is_empty = i64::from(next.is_none());
        transaction
            .execute(
                "UPDATE b24_lane SET next_at = $3, wait_until = $4, sending = NULL, lease_owner = 0,
                    lease_until = 0, level = $5, level_at = $6,
                    oldest_at = CASE WHEN $7 = 1 THEN 0 ELSE oldest_at END
                 WHERE member_id = $1 AND lease_id = $2",
                parameters![
                    &self.member_id,
                    self.lease_id,
                    next_at,
                    wait_until,
                    self.stored_level(),
                    self.level_at,
                    is_empty
                ],
            )
            .map(drop)
    }

    /// The portal has failed. The lane waits, longer each time, or as long as the portal says.
    pub(crate) fn wait(
        &mut self,
        transaction: &mut dyn Transaction,
        told: Option<Duration>,
        throttled: Option<Rate>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let now = transaction.now();
        let doublings = self.failures.clamp(0, 20);
        self.failures += 1;
        let step = (FIRST_WAIT << doublings).min(LONGEST_WAIT);
        // Between half of it and all of it, so that lanes do not all come back at once.
        let wait = step / 2 + fastrand::i64(0..=step / 2);
        let wait = told.map_or(wait, |told| milliseconds(told).max(wait));
        if let Some(rate) = throttled {
            self.drain_level(rate, now);
            self.level.fill(rate);
        }
        transaction.execute(
            "UPDATE b24_lane SET failures = $3, reason = $4 WHERE member_id = $1 AND lease_id = $2",
            parameters![&self.member_id, self.lease_id, self.failures, reason],
        )?;
        self.give_back(transaction, now.saturating_add(wait))
    }

    /// The installation cannot be used until somebody does something about it.
    pub(crate) fn hold(
        &mut self,
        transaction: &mut dyn Transaction,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.held = true;
        transaction.execute(
            "UPDATE b24_lane SET held = 1, reason = $3 WHERE member_id = $1 AND lease_id = $2",
            parameters![&self.member_id, self.lease_id, reason],
        )?;
        self.give_back(transaction, 0)
    }
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

/// Notes when the oldest waiting receipt of a portal arrived.
pub(crate) fn note_oldest(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<(), StoreError> {
    let oldest = receipts::oldest(transaction, member_id)?;
    transaction
        .execute(
            "UPDATE b24_lane SET oldest_at = $2,
                next_at = CASE WHEN $2 = 0 THEN NULL ELSE next_at END
             WHERE member_id = $1",
            parameters![member_id, oldest.unwrap_or_default()],
        )
        .map(drop)
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
    Ok(rows
        .iter()
        .map(|row| {
            let state = LaneState {
                held: row.integer(1) != 0,
                failures: row.integer(2),
                wait_until: row.integer(3),
                reason: row.text(4).to_owned(),
            };
            (row.text(0).to_owned(), state)
        })
        .collect())
}

/// Changes the level of a portal's rate limit, drained up to now.
pub(super) fn change_level(
    transaction: &mut dyn Transaction,
    member_id: &str,
    rate: Rate,
    change: &mut dyn FnMut(&mut Level),
) -> Result<(), StoreError> {
    let now = transaction.now();
    let rows = transaction.query(
        "SELECT level, level_at FROM b24_lane WHERE member_id = $1",
        parameters![member_id],
    )?;
    let stored = rows.first().map(|row| (row.integer(0), row.integer(1)));
    let level = changed(stored, now, rate, change);
    transaction
        .execute(
            "INSERT INTO b24_lane (member_id, next_at, wait_until, failures, held, oldest_at, partial_at,
                level, level_at, lease_owner, lease_id, lease_until)
             VALUES ($1, NULL, 0, 0, 0, 0, 0, $2, $3, 0, 0, 0)
             ON CONFLICT (member_id) DO UPDATE SET level = excluded.level,
                level_at = excluded.level_at",
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

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
