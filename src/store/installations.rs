//! Installations in a provider's store: a row for each portal, with its tokens sealed.

use super::database::{Access, Database, Row, Transaction, parameters};
use super::seal::{Keys, SealFault};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use crate::values::error::Error;
use crate::values::tokens::{Credentials, fingerprint};
use arc_swap::ArcSwap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The store of a provider: a database, and the keys that its tokens are sealed with.
pub(crate) struct ProviderStore {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) client_id: String,
    key_file: Option<PathBuf>,
    keys: ArcSwap<Keys>,
}

/// Whether the application is on a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstallationState {
    Active,
    /// The application was removed. Its tokens are gone.
    Removed,
}

impl InstallationState {
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Active => 1,
            Self::Removed => 2,
        }
    }

    fn of(number: i64) -> Self {
        if number == Self::Active.number() {
            Self::Active
        } else {
            Self::Removed
        }
    }
}

/// What is stored of an installation.
#[derive(Clone, Debug)]
pub(crate) struct StoredInstallation {
    pub(crate) generation: i64,
    pub(crate) state: InstallationState,
    pub(crate) client_endpoint: String,
    /// The pair in use; none if the application was removed.
    pub(crate) pair: Option<Credentials>,
    /// What verifies its `application_token`.
    pub(crate) verifier: Verifier,
    /// When the portal says that it was made, in Unix time.
    pub(crate) installed_ts: i64,
}

/// What is known of an installation's `application_token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verifier {
    /// Nothing.
    None,
    /// The hash of the one that came with the installation.
    Installation(String),
    /// The hash of the one that came with a message. Its access token was confirmed, but that may
    /// be any user's of the portal, so it does not prove as much.
    Message(String),
}

impl Verifier {
    const MESSAGE: char = '~';

    fn read(text: &str) -> Self {
        match text.strip_prefix(Self::MESSAGE) {
            Some(hash) => Self::Message(hash.to_owned()),
            None if text.is_empty() => Self::None,
            None => Self::Installation(text.to_owned()),
        }
    }

    fn written(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Installation(hash) => hash.clone(),
            Self::Message(hash) => format!("{}{hash}", Self::MESSAGE),
        }
    }

    /// The hash; empty if there is none.
    pub(crate) fn hash(&self) -> &str {
        match self {
            Self::None => "",
            Self::Installation(hash) | Self::Message(hash) => hash,
        }
    }
}

/// The columns of [`StoredInstallation`].
const SELECT: &str = "SELECT generation, state, client_endpoint, pair, \
     token_hash, installed_ts FROM b24_installation WHERE member_id = $1";

/// A fingerprint of a refresh token as a column has it.
pub(crate) fn mark_of(client_id: &str, refresh_token: &str) -> i64 {
    fingerprint(client_id, refresh_token).cast_signed()
}

/// What the pairs of an installation are bound to.
pub(crate) fn bound_to_installation(member_id: &str) -> String {
    format!("installation {member_id}")
}

impl ProviderStore {
    /// With the keys of a file, if there is one.
    pub(crate) fn new(
        database: Arc<dyn Database>,
        client_id: &str,
        key_file: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let keys = match &key_file {
            Some(path) => Keys::read(path)?,
            None => Keys::none(),
        };
        Ok(Self {
            database,
            client_id: client_id.to_owned(),
            key_file,
            keys: ArcSwap::from_pointee(keys),
        })
    }

    /// [`Database::transact`] with a result.
    pub(crate) fn run<T>(
        &self,
        call: &CallContext,
        access: Access,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, LockError> {
        let process = Process::current();
        self.database.run(&process, call, access, work)
    }

    pub(crate) fn seal(
        &self,
        credentials: &Credentials,
        bound_to: &str,
    ) -> Result<Vec<u8>, StoreError> {
        let plain = serde_json::to_vec(credentials).map_err(|e| {
            self.database
                .error(&format!("cannot hold these tokens: {e}"))
        })?;
        self.keys
            .load()
            .seal(&plain, bound_to)
            .map_err(|e| self.database.error(e.message()))
    }

    pub(crate) fn unseal(&self, sealed: &[u8], bound_to: &str) -> Result<Credentials, StoreError> {
        let mut opened = self.keys.load().open(sealed, bound_to);
        if matches!(opened, Err(SealFault::UnknownKey(_)))
            && let Some(path) = &self.key_file
        {
            // The keys were changed while this process ran.
            let keys =
                Keys::read(path).map_err(|e| self.database.error(e.message()).that_passes())?;
            opened = keys.open(sealed, bound_to);
            self.keys.store(Arc::new(keys));
        }
        let plain = opened.map_err(|fault| {
            let what = format!("has tokens that cannot be opened: {fault}");
            self.database.error(&what)
        })?;
        serde_json::from_slice(&plain).map_err(|_| {
            self.database
                .error("has tokens that cannot be read: restore it from a backup")
        })
    }

    /// Whether tokens are not what was sealed, so that no key opens them any more.
    pub(crate) fn is_damaged(&self, sealed: &[u8], bound_to: &str) -> bool {
        matches!(
            self.keys.load().open(sealed, bound_to),
            Err(SealFault::Damaged)
        )
    }

    pub(crate) fn installation(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
    ) -> Result<Option<StoredInstallation>, StoreError> {
        let rows = transaction.query(SELECT, parameters![member_id])?;
        rows.first()
            .map(|row| self.read(row, member_id))
            .transpose()
    }

    fn read(&self, row: &Row, member_id: &str) -> Result<StoredInstallation, StoreError> {
        let pair = row.blob(3);
        Ok(StoredInstallation {
            generation: row.integer(0),
            state: InstallationState::of(row.integer(1)),
            client_endpoint: row.text(2).to_owned(),
            pair: pair
                .map(|sealed| self.unseal(sealed, &bound_to_installation(member_id)))
                .transpose()?,
            verifier: Verifier::read(row.text(4)),
            installed_ts: row.integer(5),
        })
    }

    /// Makes this pair the one in use, whatever there was before.
    pub(crate) fn install(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
        pair: &Credentials,
        token_hash: &str,
        installed_ts: i64,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(pair, &bound_to_installation(member_id))?;
        let mark = mark_of(&self.client_id, &pair.tokens.refresh_token);
        let now = transaction.now();
        transaction.execute(
            "INSERT INTO b24_installation (member_id, generation, state, client_endpoint, pair, pair_mark,
                pair_at, second_pair, second_mark, token_hash, installed_ts, removed_at,
                lease_owner, lease_id, lease_until)
             VALUES ($1, 1, 1, $2, $3, $4, $5, NULL, 0, $6, $7, 0, 0, 0, 0)
             ON CONFLICT (member_id) DO UPDATE SET
                generation = b24_installation.generation + 1, state = 1,
                client_endpoint = excluded.client_endpoint, pair = excluded.pair,
                pair_mark = excluded.pair_mark, pair_at = excluded.pair_at, second_pair = NULL,
                second_mark = 0, removed_at = 0, installed_ts = excluded.installed_ts,
                token_hash = CASE WHEN excluded.token_hash <> '' THEN excluded.token_hash
                    WHEN b24_installation.state = 1 THEN b24_installation.token_hash ELSE '' END",
            parameters![
                member_id,
                &pair.tokens.client_endpoint,
                &sealed,
                mark,
                now,
                token_hash,
                installed_ts
            ],
        )?;
        super::lanes::add(transaction, member_id)?;
        super::lanes::release_hold(transaction, member_id).map(drop)
    }

    /// Keeps a pair that is used when the first one is refused. The newest such pair is kept.
    pub(crate) fn keep_second(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
        pair: &Credentials,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(pair, &bound_to_installation(member_id))?;
        let mark = mark_of(&self.client_id, &pair.tokens.refresh_token);
        transaction
            .execute(
                "UPDATE b24_installation SET second_pair = $2, second_mark = $3
                 WHERE member_id = $1 AND state = 1",
                parameters![member_id, &sealed, mark],
            )
            .map(drop)
    }
}

/// The portal has another address now, as a call found out.
pub(crate) fn note_endpoint(
    transaction: &mut dyn Transaction,
    member_id: &str,
    client_endpoint: &str,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "UPDATE b24_installation SET client_endpoint = $2
             WHERE member_id = $1 AND state = 1 AND client_endpoint <> $2",
            parameters![member_id, client_endpoint],
        )
        .map(drop)
}

/// The `application_token` became known. One that came with a message changes nothing that is
/// known already.
pub(crate) fn set_verifier(
    transaction: &mut dyn Transaction,
    member_id: &str,
    verifier: &Verifier,
) -> Result<(), StoreError> {
    let sql = match verifier {
        Verifier::None => return Ok(()),
        Verifier::Installation(_) => {
            "UPDATE b24_installation SET token_hash = $2 WHERE member_id = $1 AND state = 1"
        }
        Verifier::Message(_) => {
            "UPDATE b24_installation SET token_hash = $2
             WHERE member_id = $1 AND state = 1 AND token_hash = ''"
        }
    };
    transaction
        .execute(sql, parameters![member_id, &verifier.written()])
        .map(drop)
}

/// The application was removed from the portal: its tokens go. The hash of its `application_token`
/// stays for a while, so that repeats of the request verify.
pub(crate) fn remove(transaction: &mut dyn Transaction, member_id: &str) -> Result<(), StoreError> {
    let now = transaction.now();
    transaction.execute(
        "UPDATE b24_installation SET state = 2, pair = NULL, second_pair = NULL, pair_mark = 0,
            second_mark = 0, removed_at = $2, generation = generation + 1
         WHERE member_id = $1 AND state = 1",
        parameters![member_id, now],
    )?;
    transaction.execute(
        "DELETE FROM b24_delivered WHERE member_id = $1",
        parameters![member_id],
    )?;
    super::lanes::wake(transaction, member_id)
}

/// A portal: its id and address.
#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) member_id: String,
    pub(crate) client_endpoint: String,
    pub(crate) state: InstallationState,
}

/// All portals.
pub(crate) fn all(transaction: &mut dyn Transaction) -> Result<Vec<Portal>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, client_endpoint, state FROM b24_installation ORDER BY member_id",
        parameters![],
    )?;
    Ok(rows
        .iter()
        .map(|row| Portal {
            member_id: row.text(0).to_owned(),
            client_endpoint: row.text(1).to_owned(),
            state: InstallationState::of(row.integer(2)),
        })
        .collect())
}

/// Pairs, sealed, of the portals after one, with their ids.
pub(crate) fn pairs_after(
    transaction: &mut dyn Transaction,
    member_id: &str,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id, pair, second_pair FROM b24_installation
         WHERE member_id > $1 AND pair IS NOT NULL ORDER BY member_id LIMIT 1000",
        parameters![member_id],
    )?;
    let mut pairs = Vec::new();
    for row in &rows {
        for sealed in [row.blob(1), row.blob(2)].into_iter().flatten() {
            pairs.push((row.text(0).to_owned(), sealed.to_vec()));
        }
    }
    Ok(pairs)
}

/// Forgets installations that were removed so long ago.
pub(crate) fn forget_removed(
    transaction: &mut dyn Transaction,
    before: i64,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "DELETE FROM b24_installation WHERE state = 2 AND removed_at < $1",
            parameters![before],
        )
        .map(drop)
}

/// Portals whose pair was not used since then.
pub(crate) fn idle_since(
    transaction: &mut dyn Transaction,
    before: i64,
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id FROM b24_installation WHERE state = 1 AND pair_at < $1
            AND NOT EXISTS (SELECT 1 FROM b24_lane
                WHERE b24_lane.member_id = b24_installation.member_id AND held <> 0)
         ORDER BY pair_at LIMIT $2",
        parameters![before, limit],
    )?;
    Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
}

impl fmt::Debug for ProviderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderStore")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
