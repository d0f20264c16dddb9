//! What operators call messages by, and receipts that came before it was known which message that is.
//!
//! `state` is 0 if a receipt waits for its message, 1 if the message is known, 2 if a receipt was
//! refused.

use super::database::{Transaction, parameters};
use super::receipts::{MessageKey, number_of, put, status_of};
use super::token_store::StoreError;
use crate::values::status::Status;

/// Notes which message a reference stands for, and stores the receipt that came before. Returns
/// `false` if it is another message's reference, which a receipt may still come for.
pub(crate) fn track(
    transaction: &mut dyn Transaction,
    operator: &str,
    reference: &str,
    key: MessageKey<'_>,
    kept_since: i64,
) -> Result<bool, StoreError> {
    let now = transaction.now();
    transaction.lock(&lock_of(operator, reference))?;
    let rows = transaction.query(
        "SELECT member_id, code, message_id, tracked_at, status, happened_at FROM b24_reference
         WHERE operator = $1 AND reference = $2",
        parameters![operator, reference],
    )?;
    let mut early = None;
    if let Some(row) = rows.first() {
        let same =
            (row.text(0), row.text(1), row.text(2)) == (key.member_id, key.code, key.message_id);
        if !same && !row.text(0).is_empty() && row.integer(3) > kept_since {
            return Ok(false);
        }
        early = row
            .integer_or_none(4)
            .map(|status| (status_of(status), row.integer(5)));
    }
    transaction.execute(
        "INSERT INTO b24_reference (operator, reference, member_id, code, message_id, tracked_at,
            happened_at, arrived_at, state)
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 1)
         ON CONFLICT (operator, reference) DO UPDATE SET member_id = excluded.member_id,
            code = excluded.code, message_id = excluded.message_id,
            tracked_at = excluded.tracked_at, status = NULL, state = 1, reason = NULL",
        parameters![
            operator,
            reference,
            key.member_id,
            key.code,
            key.message_id,
            now
        ],
    )?;
    if let Some((status, happened_at)) = early {
        put(transaction, key, status, Some(happened_at))?;
    }
    Ok(true)
}

/// Stores the status of the message that a reference stands for, or keeps it until that is known.
pub(crate) fn report(
    transaction: &mut dyn Transaction,
    operator: &str,
    reference: &str,
    status: Status,
    happened_at: Option<i64>,
) -> Result<(), StoreError> {
    let now = transaction.now();
    transaction.lock(&lock_of(operator, reference))?;
    let rows = transaction.query(
        "SELECT member_id, code, message_id FROM b24_reference
         WHERE operator = $1 AND reference = $2 AND state = 1",
        parameters![operator, reference],
    )?;
    if let Some(row) = rows.first() {
        let key = MessageKey {
            member_id: row.text(0),
            code: row.text(1),
            message_id: row.text(2),
        };
        return put(transaction, key, status, happened_at);
    }
    let happened_at = happened_at.map_or(now, |at| at.min(now));
    transaction
        .execute(
            "INSERT INTO b24_reference (operator, reference, member_id, code, message_id, tracked_at,
                status, happened_at, arrived_at, state)
             VALUES ($1, $2, '', '', '', 0, $3, $4, $5, 0)
             ON CONFLICT (operator, reference) DO UPDATE SET status = excluded.status,
                happened_at = excluded.happened_at, arrived_at = excluded.arrived_at, state = 0,
                reason = NULL
             WHERE b24_reference.state = 2 OR b24_reference.status IS NULL
                OR (excluded.status >= 2 AND b24_reference.status < 2)
                OR (excluded.status < 2 AND excluded.status > b24_reference.status)
                OR (excluded.status >= 2 AND b24_reference.status >= 2
                    AND excluded.happened_at >= b24_reference.happened_at)",
            parameters![operator, reference, number_of(status), happened_at, now],
        )
        .map(drop)
}

/// What two transactions lock that use the same reference, which may not be stored yet.
fn lock_of(operator: &str, reference: &str) -> String {
    format!("reference {operator} {reference}")
}

/// Gives up receipts of before then whose message did not become known. Returns how many.
pub(crate) fn refuse_older(
    transaction: &mut dyn Transaction,
    before: i64,
    reason: &str,
) -> Result<u64, StoreError> {
    let refused = transaction.execute(
        "UPDATE b24_reference SET state = 2, reason = $2 WHERE state = 0 AND arrived_at <= $1",
        parameters![before, reason],
    )?;
    Ok(refused as u64)
}

/// How many receipts wait for their message, and since when.
pub(crate) fn waiting(transaction: &mut dyn Transaction) -> Result<(u64, Option<i64>), StoreError> {
    let rows = transaction.query(
        "SELECT count(*), min(arrived_at) FROM b24_reference WHERE state = 0",
        parameters![],
    )?;
    let row = rows.first();
    let count = row.map_or(0, |row| row.integer(0));
    Ok((
        u64::try_from(count).unwrap_or_default(),
        row.and_then(|row| row.integer_or_none(1)),
    ))
}

/// A receipt whose message did not become known.
#[derive(Debug)]
pub(crate) struct RefusedReference {
    pub(crate) operator: String,
    pub(crate) reference: String,
    pub(crate) status: Status,
    pub(crate) happened_at: i64,
    pub(crate) reason: String,
}

/// Those after this reference, in order.
pub(crate) fn refused(
    transaction: &mut dyn Transaction,
    operator: &str,
    reference: &str,
    limit: i64,
) -> Result<Vec<RefusedReference>, StoreError> {
    let rows = transaction.query(
        "SELECT operator, reference, status, happened_at, reason FROM b24_reference
         WHERE state = 2 AND (operator, reference) > ($1, $2)
         ORDER BY operator, reference LIMIT $3",
        parameters![operator, reference, limit],
    )?;
    Ok(rows
        .iter()
        .map(|row| RefusedReference {
            operator: row.text(0).to_owned(),
            reference: row.text(1).to_owned(),
            status: status_of(row.integer(2)),
            happened_at: row.integer(3),
            reason: row.text(4).to_owned(),
        })
        .collect())
}

/// Forgets references that were tracked before `tracked`, and refused receipts of before `refused`,
/// up to `limit` of each. Returns how many.
pub(crate) fn forget(
    transaction: &mut dyn Transaction,
    tracked: i64,
    refused: i64,
    limit: i64,
) -> Result<usize, StoreError> {
    let count = transaction.execute(
        "DELETE FROM b24_reference WHERE (operator, reference) IN (
            SELECT operator, reference FROM b24_reference
            WHERE state = 1 AND tracked_at <= $1 LIMIT $2)",
        parameters![tracked, limit],
    )?;
    let more = transaction.execute(
        "DELETE FROM b24_reference WHERE (operator, reference) IN (
            SELECT operator, reference FROM b24_reference
            WHERE state = 2 AND arrived_at <= $1 LIMIT $2)",
        parameters![refused, limit],
    )?;
    Ok(count + more)
}
