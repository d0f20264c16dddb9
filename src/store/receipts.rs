//! Receipts in a provider's store: one row for each message, with its newest status.

use super::database::{Access, Database, Transaction, parameters};
use super::lanes;
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use crate::values::status::Status;
use std::sync::Arc;

pub(crate) const SECOND: i64 = 1000;
pub(crate) const HOUR: i64 = 3600 * SECOND;
/// A receipt that could not be sent for so long is given up. For as long a message that is settled
/// is remembered, so that a late receipt of a lower rank does not replace it.
pub(crate) const GIVE_UP_AFTER: i64 = 72 * HOUR;
/// How long a receipt waits for its portal or its message to become known.
pub(crate) const UNKNOWN_FOR: i64 = HOUR;
/// How long the portal may take to execute a request whose answer did not come. It cuts requests
/// off after 60 s.
pub(crate) const LATE_FOR: i64 = 61 * SECOND;

/// `unknown_status` if attempts of several statuses may still be executed.
const SEVERAL: i64 = -1;

/// What a row's `state` says.
pub(crate) const WAITING: i64 = 0;
pub(crate) const SETTLED: i64 = 1;
pub(crate) const REFUSED: i64 = 2;

/// A status as a column has it. A final one does not replace another of the same rank by its number.
pub(crate) const fn number_of(status: Status) -> i64 {
    match status {
        Status::Queued => 0,
        Status::Sent => 1,
        Status::Delivered => 2,
        Status::Undelivered => 3,
        Status::Failed => 4,
    }
}

pub(crate) fn status_of(number: i64) -> Status {
    match number {
        0 => Status::Queued,
        1 => Status::Sent,
        2 => Status::Delivered,
        3 => Status::Undelivered,
        _ => Status::Failed,
    }
}

/// A message of a portal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageKey<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) code: &'a str,
    pub(crate) message_id: &'a str,
}

/// What is reported of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported<'a> {
    pub(crate) key: MessageKey<'a>,
    pub(crate) status: Status,
    /// When it came about; none for now.
    pub(crate) at: Option<i64>,
}

/// Stores any number of receipts, in one transaction.
pub(crate) fn store(
    database: &Arc<dyn Database>,
    process: &Arc<Process>,
    call: &CallContext,
    reported: &[Reported<'_>],
) -> Result<(), LockError> {
    if reported.is_empty() {
        return Ok(());
    }
    let alone = match reported {
        [only] => {
            let MessageKey {
                member_id,
                code,
                message_id,
            } = only.key;
            database.alone(
                process,
                call,
                "b24_put($1, $2, $3, $4, $5, /*COMMIT*/)",
                parameters![member_id, code, message_id, number_of(only.status), only.at],
            )
        }
        many => {
            let mut rows: Vec<_> = many
                .iter()
                .map(|one| {
                    let key = one.key;
                    let status = number_of(one.status);
                    (key.member_id, key.code, key.message_id, status, one.at)
                })
                .collect();
            // In one order, so that two transactions do not wait for each other.
            rows.sort_by_key(|row| (row.0, row.1, row.2));
            // Texts and numbers can always be written as JSON.
            let rows = serde_json::to_string(&rows).unwrap_or_default();
            database.alone(
                process,
                call,
                "(SELECT count(b24_put(r->>0, r->>1, r->>2, (r->>3)::bigint, (r->>4)::bigint,
                    /*COMMIT*/))
                  FROM json_array_elements($1::json) AS r)",
                parameters![&rows],
            )
        }
    };
    alone.unwrap_or_else(|| {
        database.run(process, call, Access::Add, |transaction| {
            reported
                .iter()
                .try_for_each(|one| put(transaction, one.key, one.status, one.at))
        })
    })
}

/// Stores the status of a message, if it is news. The parameters are the message, the status, when it
/// came about, now, and when messages that are settled since then are forgotten.
///
/// Ranks: the three final statuses, from 2 on, have the same.
pub(super) const PUT: &str =
    "INSERT INTO b24_receipt (member_id, code, message_id, status, happened_at, arrived_at, state,
        version, due_at, tries, settled_at, unknown_until)
     VALUES ($1, $2, $3, $4, $5, $6, 0, 1, $6, 0, 0, 0)
     ON CONFLICT (member_id, code, message_id) DO UPDATE SET
        status = excluded.status, happened_at = excluded.happened_at,
        arrived_at = excluded.arrived_at, state = 0, version = b24_receipt.version + 1,
        due_at = excluded.due_at, tries = 0, settled_at = 0, reason = NULL
     WHERE (b24_receipt.state <> 0 AND b24_receipt.settled_at <= $7)
        OR (excluded.status >= 2 AND b24_receipt.status < 2)
        OR (excluded.status < 2 AND excluded.status > b24_receipt.status)
        OR (excluded.status >= 2 AND b24_receipt.status >= 2
            AND excluded.status <> b24_receipt.status
            AND excluded.happened_at >= b24_receipt.happened_at)
        OR (b24_receipt.state = 2 AND excluded.status = b24_receipt.status)";

/// The same status at a later time: nothing is to be sent, but a status in between is older.
pub(super) const SAME_LATER: &str = "UPDATE b24_receipt SET happened_at = $5
     WHERE member_id = $1 AND code = $2 AND message_id = $3 AND status = $4 AND happened_at < $5";

/// Stores the status of a message, unless the one that is there is newer: a lower rank never replaces a
/// higher one, and within a rank the later time counts, then the later arrival. `happened_at` is
/// clamped to now.
pub(crate) fn put(
    transaction: &mut dyn Transaction,
    key: MessageKey<'_>,
    status: Status,
    happened_at: Option<i64>,
) -> Result<(), StoreError> {
    let status = number_of(status);
    let MessageKey {
        member_id,
        code,
        message_id,
    } = key;
    if transaction.has_functions() {
        let sql = "SELECT b24_put($1, $2, $3, $4, $5, NULL, NULL)";
        let values = parameters![member_id, code, message_id, status, happened_at];
        return transaction.query(sql, values).map(drop);
    }
    let now = transaction.now();
    let happened_at = happened_at.map_or(now, |at| at.min(now));
    let forgotten = now - GIVE_UP_AFTER;
    let changed = transaction.execute(
        PUT,
        parameters![
            member_id,
            code,
            message_id,
            status,
            happened_at,
            now,
            forgotten
        ],
    )?;
    if changed > 0 {
        return lanes::note_receipt(transaction, member_id);
    }
    transaction
        .execute(
            SAME_LATER,
            parameters![member_id, code, message_id, status, happened_at],
        )
        .map(drop)
}

/// A receipt that is to be sent now.
#[derive(Clone, Debug)]
pub(crate) struct DueReceipt {
    pub(crate) code: String,
    pub(crate) message_id: String,
    pub(crate) status: Status,
    pub(crate) version: i64,
    pub(crate) tries: i64,
    /// The status of attempts that the portal may still execute, and until when.
    unknown_status: Option<i64>,
    unknown_until: i64,
}

/// The first receipts of a portal that are due, the oldest first.
pub(crate) fn due(
    transaction: &mut dyn Transaction,
    member_id: &str,
    limit: usize,
) -> Result<Vec<DueReceipt>, StoreError> {
    let now = transaction.now();
    let rows = transaction.query(
        "SELECT code, message_id, status, version, tries, unknown_status, unknown_until
         FROM b24_receipt
         WHERE member_id = $1 AND state = 0 AND due_at <= $2 AND arrived_at > $3
         ORDER BY due_at, arrived_at LIMIT $4",
        parameters![
            member_id,
            now,
            now - GIVE_UP_AFTER,
            i64::try_from(limit).unwrap_or(i64::MAX)
        ],
    )?;
    Ok(rows
        .iter()
        .map(|row| DueReceipt {
            code: row.text(0).to_owned(),
            message_id: row.text(1).to_owned(),
            status: status_of(row.integer(2)),
            version: row.integer(3),
            tries: row.integer(4),
            unknown_status: row.integer_or_none(5),
            unknown_until: row.integer(6),
        })
        .collect())
}

/// When the next receipt of a portal is due.
pub(crate) fn next_due(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<Option<i64>, StoreError> {
    let rows = transaction.query(
        "SELECT due_at FROM b24_receipt WHERE member_id = $1 AND state = 0 ORDER BY due_at LIMIT 1",
        parameters![member_id],
    )?;
    Ok(rows.first().map(|row| row.integer(0)))
}

/// When the oldest waiting receipt of a portal arrived.
pub(crate) fn oldest(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<Option<i64>, StoreError> {
    let rows = transaction.query(
        "SELECT min(arrived_at) FROM b24_receipt WHERE member_id = $1 AND state = 0",
        parameters![member_id],
    )?;
    Ok(rows.first().and_then(|row| row.integer_or_none(0)))
}

/// Portals have stored these. Each is settled if it is still the newest, and if no attempt of another
/// status may be executed after it; otherwise it is sent once more when that is over. `may_still_run`
/// says of each whether an attempt of it may be.
pub(crate) fn settle(
    transaction: &mut dyn Transaction,
    member_id: &str,
    stored: &[(&DueReceipt, bool)],
    attempted_at: i64,
) -> Result<(), StoreError> {
    let now = transaction.now();
    let rows: Vec<_> = stored
        .iter()
        .map(|(receipt, _)| {
            let late = receipt.unknown_until > attempted_at
                && receipt
                    .unknown_status
                    .is_some_and(|unknown| unknown != number_of(receipt.status));
            let (state, due_at, settled_at) = if late {
                (WAITING, receipt.unknown_until, 0)
            } else {
                (SETTLED, now, now)
            };
            parameters![
                member_id,
                &receipt.code,
                &receipt.message_id,
                receipt.version,
                state,
                due_at,
                settled_at
            ]
            .to_vec()
        })
        .collect();
    transaction.execute_many(
        "UPDATE b24_receipt SET state = $5, due_at = $6, settled_at = $7, tries = 0
         WHERE member_id = $1 AND code = $2 AND message_id = $3 AND version = $4 AND state = 0",
        &rows,
    )?;
    for (receipt, may_still_run) in stored {
        if *may_still_run {
            receipt.note_unknown(transaction, member_id)?;
        }
    }
    Ok(())
}

impl DueReceipt {
    /// It was sent, and the portal may or may not have it.
    pub(crate) fn note_unknown(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
    ) -> Result<(), StoreError> {
        let until = transaction.now() + LATE_FOR;
        note_unknown(transaction, member_id, &self.key(), until)
    }

    /// The portal has refused it, and is asked again at `due_at`.
    pub(crate) fn try_again(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
        due_at: i64,
    ) -> Result<(), StoreError> {
        transaction
            .execute(
                "UPDATE b24_receipt SET tries = tries + 1, due_at = $5
                 WHERE member_id = $1 AND code = $2 AND message_id = $3 AND version = $4 AND state = 0",
                parameters![
                    member_id,
                    &self.code,
                    &self.message_id,
                    self.version,
                    due_at
                ],
            )
            .map(drop)
    }

    /// It is given up. Returns whether it was; a newer status may have come.
    pub(crate) fn refuse(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let now = transaction.now();
        let refused = transaction.execute(
            "UPDATE b24_receipt SET state = 2, settled_at = $5, reason = $6, tries = tries + 1
             WHERE member_id = $1 AND code = $2 AND message_id = $3 AND version = $4 AND state = 0",
            parameters![
                member_id,
                &self.code,
                &self.message_id,
                self.version,
                now,
                reason
            ],
        )?;
        Ok(refused > 0)
    }

    /// It was sent by whoever has lost the lane meanwhile, and another may have sent a newer status
    /// before that. So the newest is sent once more: now, or when this one cannot come any more.
    pub(crate) fn repair(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
        may_still_run: bool,
    ) -> Result<(), StoreError> {
        let now = transaction.now();
        if may_still_run {
            self.note_unknown(transaction, member_id)?;
        }
        let due_at = if may_still_run { now + LATE_FOR } else { now };
        transaction.execute(
            "UPDATE b24_receipt SET state = 0, due_at = $5, settled_at = 0
             WHERE member_id = $1 AND code = $2 AND message_id = $3 AND state <> 2 AND status <> $4",
            parameters![
                member_id,
                &self.code,
                &self.message_id,
                number_of(self.status),
                due_at
            ],
        )?;
        lanes::note_receipt(transaction, member_id)
    }

    fn key(&self) -> SentKey {
        SentKey {
            code: self.code.clone(),
            message_id: self.message_id.clone(),
            status: number_of(self.status),
        }
    }
}

/// A receipt that is being sent, as its lane notes it: code, message id, status.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct SentKey {
    #[serde(rename = "c")]
    code: String,
    #[serde(rename = "m")]
    message_id: String,
    #[serde(rename = "s")]
    status: i64,
}

/// The note of what is being sent.
pub(super) fn sending(receipts: &[DueReceipt]) -> String {
    let keys: Vec<SentKey> = receipts.iter().map(DueReceipt::key).collect();
    // Texts and numbers can always be written as JSON.
    serde_json::to_string(&keys).unwrap_or_default()
}

/// Whoever was sending these has ended, or has not been heard of for too long.
pub(super) fn note_abandoned(
    transaction: &mut dyn Transaction,
    member_id: &str,
    sending: &str,
) -> Result<(), StoreError> {
    let until = transaction.now() + LATE_FOR;
    let keys: Vec<SentKey> = serde_json::from_str(sending).unwrap_or_default();
    for key in keys {
        note_unknown(transaction, member_id, &key, until)?;
    }
    Ok(())
}

/// An attempt with this status may be executed until then.
fn note_unknown(
    transaction: &mut dyn Transaction,
    member_id: &str,
    key: &SentKey,
    until: i64,
) -> Result<(), StoreError> {
    let now = transaction.now();
    transaction.execute(
        "UPDATE b24_receipt SET
            unknown_status = CASE WHEN unknown_until > $5 AND unknown_status <> $4 THEN $7 ELSE $4 END,
            unknown_until = $6
         WHERE member_id = $1 AND code = $2 AND message_id = $3",
        parameters![
            member_id,
            &key.code,
            &key.message_id,
            key.status,
            now,
            until,
            SEVERAL
        ],
    )?;
    // A newer status may be settled already: it is sent once more when this one cannot come after
    // it any more.
    let reopened = transaction.execute(
        "UPDATE b24_receipt SET state = 0, due_at = $5, settled_at = 0
         WHERE member_id = $1 AND code = $2 AND message_id = $3 AND state = 1 AND status <> $4",
        parameters![member_id, &key.code, &key.message_id, key.status, until],
    )?;
    if reopened > 0 {
        lanes::note_receipt_at(transaction, member_id, until)?;
    }
    Ok(())
}

/// Gives up receipts of a portal that arrived before then, up to `limit` of them. Returns how many.
pub(crate) fn refuse_older(
    transaction: &mut dyn Transaction,
    member_id: &str,
    before: i64,
    reason: &str,
    limit: u64,
) -> Result<u64, StoreError> {
    let now = transaction.now();
    let refused = transaction.execute(
        "UPDATE b24_receipt SET state = 2, settled_at = $3, reason = $4
         WHERE member_id = $1 AND state = 0 AND (code, message_id) IN (
            SELECT code, message_id FROM b24_receipt
            WHERE member_id = $1 AND state = 0 AND arrived_at <= $2 LIMIT $5)",
        parameters![
            member_id,
            before,
            now,
            reason,
            i64::try_from(limit).unwrap_or(i64::MAX)
        ],
    )?;
    Ok(refused as u64)
}

/// Forgets settled messages of so long ago, up to `limit` of them. Returns how many.
pub(crate) fn forget(
    transaction: &mut dyn Transaction,
    state: i64,
    before: i64,
    limit: i64,
) -> Result<usize, StoreError> {
    transaction.execute(
        "DELETE FROM b24_receipt WHERE state <> 0 AND state = $1 AND settled_at <= $2
            AND (member_id, code, message_id) IN (
                SELECT member_id, code, message_id FROM b24_receipt
                WHERE state <> 0 AND state = $1 AND settled_at <= $2
                ORDER BY settled_at LIMIT $3)",
        parameters![state, before, limit],
    )
}

/// A receipt that was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) member_id: String,
    pub(crate) code: String,
    pub(crate) message_id: String,
    pub(crate) status: Status,
    pub(crate) happened_at: i64,
    pub(crate) reason: String,
}

/// The refused receipts after this message, in the order of their keys.
pub(crate) fn refused(
    transaction: &mut dyn Transaction,
    after: MessageKey<'_>,
    limit: i64,
) -> Result<Vec<Refusal>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, code, message_id, status, happened_at, reason FROM b24_receipt
         WHERE state = 2 AND (member_id, code, message_id) > ($1, $2, $3)
         ORDER BY member_id, code, message_id LIMIT $4",
        parameters![after.member_id, after.code, after.message_id, limit],
    )?;
    Ok(rows
        .iter()
        .map(|row| Refusal {
            member_id: row.text(0).to_owned(),
            code: row.text(1).to_owned(),
            message_id: row.text(2).to_owned(),
            status: status_of(row.integer(3)),
            happened_at: row.integer(4),
            reason: row.text(5).to_owned(),
        })
        .collect())
}

/// How many receipts each portal has: `(member_id, waiting, oldest, next due)`.
pub(crate) fn waiting(
    transaction: &mut dyn Transaction,
) -> Result<Vec<(String, u64, i64, i64)>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, count(*), min(arrived_at), min(due_at) FROM b24_receipt
         WHERE state = 0 GROUP BY member_id",
        parameters![],
    )?;
    Ok(rows
        .iter()
        .map(|row| {
            let count = u64::try_from(row.integer(1)).unwrap_or_default();
            (
                row.text(0).to_owned(),
                count,
                row.integer(2),
                row.integer(3),
            )
        })
        .collect())
}

/// How many receipts of each portal were refused.
pub(crate) fn refused_counts(
    transaction: &mut dyn Transaction,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, count(*) FROM b24_receipt WHERE state = 2 GROUP BY member_id",
        parameters![],
    )?;
    Ok(rows
        .iter()
        .map(|row| {
            let count = u64::try_from(row.integer(1)).unwrap_or_default();
            (row.text(0).to_owned(), count)
        })
        .collect())
}
