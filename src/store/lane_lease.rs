//! The lease on a lane: one drain at a time sends a portal's receipts. What follows the lane from one
//! drain to the next is in its row: the rate limit's level, the pause between partial requests, and
//! the wait after a failure.

use super::database::{Transaction, new_lease_id, parameters};
use super::lanes::{self, UNIT};
use super::receipts::{self, DueReceipt, GIVE_UP_AFTER, SECOND};
use super::token_store::StoreError;
use crate::values::rate::{Level, Rate};
use std::time::Duration;

/// Requests with fewer than 50 updates are this far apart.
const PARTIAL_PAUSE: i64 = 500;
/// The first wait after a failure is at most this long, and each further one twice the one before.
const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 900 * SECOND;
/// Later than this the portal does not count a request.
const LAG: Duration = Duration::from_secs(1);

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
    /// When the oldest waiting receipt arrived, or one before it.
    pub(crate) oldest_at: i64,
    /// Why it waits or is held.
    pub(crate) reason: String,
}

/// Takes the lease on a lane, if nobody has it and it has something to do: since it was looked for,
/// somebody else may have had it, and left it to wait. What a former holder did not finish is noted.
/// None also while another transaction is writing the lane, which may be a long one of the host's.
pub(crate) fn take(
    transaction: &mut dyn Transaction,
    member_id: &str,
    lease: i64,
) -> Result<Option<Lane>, StoreError> {
    let now = transaction.now();
    let rows = transaction.query(
        "SELECT failures, held, reason, partial_at, level, level_at, sending, lease_id, lease_until, oldest_at,
            next_at
         FROM b24_lane WHERE member_id = $1 /*FREE*/",
        parameters![member_id],
    )?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let held_until = row.integer(8);
    if held_until > now && held_until <= now.saturating_add(lanes::LONGEST_LEASE) {
        return Ok(None);
    }
    if row.integer_or_none(10).is_none_or(|next_at| next_at > now) {
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
        oldest_at: row.integer(9),
        reason: row.text(2).to_owned(),
        partial_at: row.integer(3),
        level,
        level_at: row.integer(5),
        lease_id,
        leased_until,
    }))
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
            "SELECT held, level, level_at, reason, failures FROM b24_lane
             WHERE member_id = $1 AND lease_id = $2 AND lease_owner = $3 /*LOCKED*/",
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
        self.failures = row.integer(4);
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
        let next = next_due(transaction, &self.member_id)?;
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

    /// Ends the lease without knowing what became of what was being sent.
    pub(crate) fn end_lease(&self, transaction: &mut dyn Transaction) -> Result<(), StoreError> {
        transaction
            .execute(
                "UPDATE b24_lane SET lease_until = 0, lease_owner = 0
                 WHERE member_id = $1 AND lease_id = $2",
                parameters![&self.member_id, self.lease_id],
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

/// When the next receipt of a portal is due. If one is being stored at the moment, and none is due
/// that is in the store already, it counts as one that is due soon: whoever stores it has seen that
/// the lane is awake.
fn next_due(transaction: &mut dyn Transaction, member_id: &str) -> Result<Option<i64>, StoreError> {
    let now = transaction.now();
    let next = receipts::next_due(transaction, member_id)?;
    if next.is_some_and(|next| next <= now) {
        return Ok(next);
    }
    if transaction.may_sleep(member_id)? {
        return receipts::next_due(transaction, member_id);
    }
    let soon = now + PARTIAL_PAUSE;
    Ok(Some(next.map_or(soon, |next| next.min(soon))))
}

/// Gives up receipts of a portal that could not be sent for too long, up to `limit` of them, because
/// of `why`. Returns how many.
pub(crate) fn expire(
    transaction: &mut dyn Transaction,
    member_id: &str,
    why: &str,
    limit: u64,
) -> Result<u64, StoreError> {
    let mut reason = "EXPIRED: it could not be sent within 72 hours".to_owned();
    if !why.is_empty() {
        reason = format!("{reason} ({why})");
    }
    let before = transaction.now() - GIVE_UP_AFTER;
    let refused = receipts::refuse_older(transaction, member_id, before, &reason, limit)?;
    note_oldest(transaction, member_id)?;
    Ok(refused)
}

/// Notes when the oldest waiting receipt of a portal arrived.
fn note_oldest(transaction: &mut dyn Transaction, member_id: &str) -> Result<(), StoreError> {
    let mut oldest = receipts::oldest(transaction, member_id)?;
    if oldest.is_none() {
        oldest = if transaction.may_sleep(member_id)? {
            receipts::oldest(transaction, member_id)?
        } else {
            Some(transaction.now())
        };
    }
    transaction
        .execute(
            "UPDATE b24_lane SET oldest_at = $2,
                next_at = CASE WHEN $2 = 0 THEN NULL ELSE next_at END
             WHERE member_id = $1",
            parameters![member_id, oldest.unwrap_or_default()],
        )
        .map(drop)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
