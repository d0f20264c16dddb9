//! What of the library's SQL is made for PostgreSQL alone: the functions in the database, and how
//! statements that SQLite has too are translated.
//!
//! A receipt is stored by one statement, so that its commit is its only wait. The function for that
//! has the very statements that a transaction would run (`receipts.rs`, `lanes.rs`).

use super::database::{Transaction, parameters};
use super::lanes;
use super::receipts;
use super::token_store::StoreError;
use crate::values::status::Status;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The version of the functions that this library makes. A newer one replaces them, an older one
/// leaves them as they are.
const VERSION: i64 = 4;

/// Makes the commit of a transaction durable if the server's default is not: an expression, since a
/// pooler may give the next transaction another session.
pub(super) const DURABLE: &str = "CASE current_setting('synchronous_commit') \
    WHEN 'off' THEN set_config('synchronous_commit', 'on', true) \
    WHEN 'local' THEN set_config('synchronous_commit', 'on', true) END";

/// Whether nobody is storing a receipt of a portal now. If so, nobody begins to until the end of the
/// transaction. Portals share 256 locks, so that many of them in one transaction are not too many.
pub(super) const NOBODY_REPORTS: &str =
    "SELECT pg_try_advisory_xact_lock(1647457390, hashtext($1) & 255)";

/// The statements that make the functions. The tables that they name are those of the schema in which
/// they are made, whoever calls them.
static STATEMENTS: LazyLock<[String; 3]> = LazyLock::new(|| {
    let put = receipts::PUT
        .replace("$5", "v_at")
        .replace("$6", "v_now")
        .replace("$7", "v_forgotten");
    let same = receipts::SAME_LATER.replace("$5", "v_at");
    let note = lanes::NOTE_RECEIPT
        .replace("$2", "v_now")
        .replace("$3", "v_now");
    let awake = lanes::IS_AWAKE.replace("$2", "v_now");
    let forgotten = receipts::GIVE_UP_AFTER;
    let names: Vec<String> = [
        Status::Queued,
        Status::Sent,
        Status::Delivered,
        Status::Undelivered,
        Status::Failed,
    ]
    .iter()
    .map(|status| {
        format!(
            "WHEN '{}' THEN {}",
            status.as_str(),
            receipts::number_of(*status)
        )
    })
    .collect();
    let names = names.join(" ");
    [
        "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)"
            .to_owned(),
        // member_id, code, message_id, status, when it came about; how durable the commit is to be, and
        // how many milliseconds it may wait for a lock, if that is not said already; returns whether it
        // is news.
        format!(
            "CREATE OR REPLACE FUNCTION b24_put(TEXT, TEXT, TEXT, BIGINT, BIGINT, TEXT, TEXT)
             RETURNS BOOLEAN
             LANGUAGE plpgsql SET search_path FROM CURRENT AS $f$
             DECLARE
                v_now BIGINT := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
                v_at BIGINT := least(coalesce($5, v_now), v_now);
                v_forgotten BIGINT := v_now - {forgotten};
                v_changed BIGINT;
             BEGIN
                IF $6 = 'off' OR ($6 = 'on' AND current_setting('synchronous_commit') IN ('off', 'local'))
                THEN
                    PERFORM set_config('synchronous_commit', $6, true);
                END IF;
                IF $7 IS NOT NULL THEN
                    PERFORM set_config('lock_timeout', $7, true);
                END IF;
                -- Nobody puts the portal's lane to sleep before this transaction has ended.
                PERFORM pg_advisory_xact_lock_shared(1647457390, hashtext($1) & 255);
                {put};
                GET DIAGNOSTICS v_changed = ROW_COUNT;
                IF v_changed = 0 THEN
                    {same};
                    RETURN FALSE;
                END IF;
                IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                    -- A lane that was awake when the transaction began may sleep now. To lock its row is
                    -- 40001 then, and drains are not kept from it until the end of the transaction.
                    BEGIN
                        PERFORM 1 FROM b24_lane WHERE member_id = $1 FOR NO KEY UPDATE;
                        RAISE EXCEPTION USING ERRCODE = 'B2400';
                    EXCEPTION WHEN SQLSTATE 'B2400' THEN NULL;
                    END;
                END IF;
                IF NOT EXISTS ({awake}) THEN
                    {note};
                END IF;
                RETURN TRUE;
             END $f$"
        ),
        format!(
            "CREATE OR REPLACE FUNCTION b24_report(member_id TEXT, code TEXT, message_id TEXT,
                status TEXT, at TIMESTAMPTZ DEFAULT NULL) RETURNS void
             LANGUAGE plpgsql SET search_path FROM CURRENT AS $f$
             DECLARE
                v_status BIGINT := CASE lower($4) {names} END;
             BEGIN
                IF $1 IS NULL OR $1 !~ '^[!-~]{{1,64}}$' THEN
                    RAISE EXCEPTION 'member_id takes 1 to 64 printable ASCII characters'
                        USING ERRCODE = '22023';
                END IF;
                IF $2 IS NULL OR $2 !~ '^[A-Za-z0-9._-]+$' OR $2 = '0' THEN
                    RAISE EXCEPTION 'code takes letters, digits, ''.'', ''_'' and ''-'''
                        USING ERRCODE = '22023';
                END IF;
                IF $3 IS NULL OR $3 = '0' OR length($3) NOT BETWEEN 1 AND 128
                    OR $3 ~ '[\\u0001-\\u001f\\u007f-\\u009f]' THEN
                    RAISE EXCEPTION 'message_id takes 1 to 128 characters, none of them a control character'
                        USING ERRCODE = '22023';
                END IF;
                IF v_status IS NULL THEN
                    RAISE EXCEPTION 'status takes queued, sent, delivered, undelivered or failed'
                        USING ERRCODE = '22023';
                END IF;
                PERFORM b24_put($1, $2, $3, v_status, floor(extract(epoch FROM $5) * 1000)::bigint, 'on', NULL);
             END $f$"
        ),
    ]
});

/// Whether the functions are in the database.
pub(super) fn are_current(transaction: &mut dyn Transaction) -> Result<bool, StoreError> {
    let rows = transaction.query(
        "SELECT value FROM b24_meta WHERE name = 'functions'",
        parameters![],
    )?;
    let version = rows.first().and_then(|row| row.text(0).parse().ok());
    Ok(version.is_some_and(|version: i64| version >= VERSION))
}

/// Makes the functions, unless a newer library has.
pub(super) fn make(transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    if are_current(transaction)? {
        return Ok(());
    }
    let statements: &'static [String; 3] = &STATEMENTS;
    for statement in statements {
        transaction.query(statement, parameters![])?;
    }
    transaction
        .execute(
            "INSERT INTO b24_meta (name, value) VALUES ('functions', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            parameters![&VERSION.to_string()],
        )
        .map(drop)
}

/// A statement of SQLite and PostgreSQL as the latter takes it.
pub(super) fn translated(sql: &'static str) -> Cow<'static, str> {
    if sql.starts_with("CREATE TABLE") {
        // Texts are compared byte by byte, whatever the database's language is.
        let sql = sql
            .replace("/*CLUSTERED*/", "")
            .replace(" BLOB", " BYTEA")
            .replace(" TEXT", " TEXT COLLATE \"C\"");
        return Cow::Owned(sql);
    }
    for (mark, clause) in [(LOCKED, "FOR UPDATE"), (FREE, "FOR UPDATE SKIP LOCKED")] {
        if sql.contains(mark) {
            return Cow::Owned(sql.replace(mark, clause));
        }
    }
    Cow::Borrowed(sql)
}

/// After a query of rows that are changed later in the transaction. In SQLite nobody else writes
/// meanwhile.
const LOCKED: &str = "/*LOCKED*/";
/// The same, of rows that no other transaction is changing.
const FREE: &str = "/*FREE*/";
