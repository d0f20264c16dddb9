//! The tokens of one installation in a provider's store, as the engine uses them: whoever renews
//! them has a lease, and the new pair is stored only over the one that was renewed.

use super::database::{Access, Row, Transaction, new_lease_id, parameters};
use super::installations::{ProviderStore, bound_to_installation, mark_of};
use super::token_record::TokenRecord;
use super::token_store::{InstallationQuery, LockError, LockedInstallation, Store, StoreError};
use crate::process::cancellation::{CallContext, CancelSource, Interrupt};
use crate::process::per_process::Process;
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::rate::{Level, Rate};
use crate::values::tokens::Credentials;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether somebody else has renewed the tokens.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long after a failure of the store it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// How long giving a lease back may take. Otherwise it ends by itself.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);

/// No lease lasts longer, whatever the options of its holder: `connect_timeout_ms` is 7 days at
/// most. One that is further ahead is of a clock that was wrong.
const LONGEST_LEASE: i64 = super::lanes::LONGEST_LEASE;

/// The tokens of an installation, or of a delivery that is being confirmed.
#[derive(Debug)]
pub(crate) struct SharedTokens {
    store: Arc<ProviderStore>,
    place: Place,
    /// How long a renewal may take, in milliseconds.
    lease: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The portal's row.
    Installation(String),
    /// A delivery, by its mark.
    Delivery(i64),
    /// None: only the level of a server's rate limit is shared.
    Server,
}

/// The statements for a place. The first parameter is its key.
struct Statements {
    /// The pair, its number, and the lease: owner, id, end.
    read: &'static str,
    lease: &'static str,
    extend: &'static str,
    give_back: &'static str,
}

const INSTALLATION: Statements = Statements {
    read: "SELECT pair, generation, lease_owner, lease_id, lease_until FROM b24_installation
           WHERE member_id = $1 AND state = 1",
    lease: "UPDATE b24_installation SET lease_owner = $2, lease_id = $3, lease_until = $4
            WHERE member_id = $1 AND lease_id = $5",
    extend: "UPDATE b24_installation SET lease_until = $3 WHERE member_id = $1 AND lease_id = $2",
    give_back: "UPDATE b24_installation SET lease_owner = 0, lease_until = 0
                WHERE member_id = $1 AND lease_id = $2",
};

const DELIVERY: Statements = Statements {
    read: "SELECT pair, asked, lease_owner, lease_id, lease_until FROM b24_delivery WHERE mark = $1",
    lease: "UPDATE b24_delivery SET lease_owner = $2, lease_id = $3, lease_until = $4
            WHERE mark = $1 AND lease_id = $5",
    extend: "UPDATE b24_delivery SET lease_until = $3, asked = 1 WHERE mark = $1 AND lease_id = $2",
    give_back: "UPDATE b24_delivery SET lease_owner = 0, lease_until = 0
                WHERE mark = $1 AND lease_id = $2",
};

impl Place {
    fn statements(&self) -> &'static Statements {
        match self {
            Self::Installation(_) => &INSTALLATION,
            Self::Delivery(_) | Self::Server => &DELIVERY,
        }
    }

    fn key(&self) -> super::database::Parameter<'_> {
        match self {
            Self::Installation(member_id) => member_id.into(),
            Self::Delivery(mark) => (*mark).into(),
            Self::Server => super::database::Parameter::Null,
        }
    }

    /// What a pair in this place is bound to when it is sealed.
    pub(crate) fn bound_to(&self) -> String {
        match self {
            Self::Installation(member_id) => bound_to_installation(member_id),
            Self::Delivery(mark) => format!("delivery {mark}"),
            Self::Server => String::new(),
        }
    }
}

impl SharedTokens {
    pub(crate) fn new(store: Arc<ProviderStore>, place: Place, connect_timeout: Duration) -> Self {
        /// An answer of the authorization server is awaited for 30 s after the connection is there.
        const REST: Duration = Duration::from_secs(60);
        let lease = connect_timeout.saturating_add(REST).as_millis();
        Self {
            store,
            place,
            lease: i64::try_from(lease).unwrap_or(i64::MAX),
        }
    }

    fn query(&self, transaction: &mut dyn Transaction) -> Result<Option<Row>, StoreError> {
        let rows = transaction.query(self.place.statements().read, &[self.place.key()])?;
        Ok(rows.into_iter().next())
    }

    fn read(&self, call: &CallContext) -> Result<Option<Row>, LockError> {
        self.store
            .run(call, Access::Read, |transaction| self.query(transaction))
    }

    fn record(
        &self,
        row: &Row,
        query: InstallationQuery<'_>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let Some(sealed) = row.blob(0) else {
            return Ok(None);
        };
        let credentials = self.store.unseal(sealed, &self.place.bound_to())?;
        // Whoever asks has tokens of this installation, whichever they are.
        Ok(Some(TokenRecord::of(
            credentials,
            query.client_id,
            query.refresh_token,
        )))
    }

    fn gone(&self) -> StoreError {
        self.store
            .database
            .error("has no tokens of this portal any more: the application was removed from it")
    }

    /// Takes the lease, if nobody else has it.
    fn take(&self, call: &CallContext) -> Result<Option<(i64, Row)>, LockError> {
        let row = self.read(call)?.ok_or_else(|| self.gone())?;
        let (owner, held_id) = (row.integer(2), row.integer(3));
        let ended = owner != 0 && self.store.database.has_ended(owner);
        let id = new_lease_id();
        self.store.run(call, Access::Write, |transaction| {
            let now = transaction.now();
            let row = self.query(transaction)?.ok_or_else(|| self.gone())?;
            let until = row.integer(4);
            let free =
                row.integer(2) == 0 || until <= now || until > now.saturating_add(LONGEST_LEASE);
            if row.integer(3) != held_id || !(free || ended) {
                return Ok(None);
            }
            let values = [
                self.place.key(),
                transaction.process().into(),
                id.into(),
                now.saturating_add(self.lease).into(),
                held_id.into(),
            ];
            let taken = transaction.execute(self.place.statements().lease, &values)?;
            Ok((taken > 0).then_some((id, row)))
        })
    }
}

impl Store for SharedTokens {
    fn path(&self) -> &Path {
        self.store.database.path()
    }

    fn has_tokens(&self) -> bool {
        !matches!(self.place, Place::Server)
    }

    fn look_up(&self, query: InstallationQuery<'_>) -> Result<Option<TokenRecord>, StoreError> {
        let call = short_call();
        match self.read(&call) {
            Ok(Some(row)) => self.record(&row, query),
            Ok(None) => Ok(None),
            Err(LockError::Storage(error)) => Err(error),
            Err(LockError::Interrupted(_)) => Err(self
                .store
                .database
                .error("is being used for too long")
                .that_passes()),
        }
    }

    fn lock(
        &self,
        query: InstallationQuery<'_>,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Box<dyn LockedInstallation + '_>, LockError> {
        loop {
            if let Some((lease_id, row)) = self.take(call)? {
                let mut locked = Leased {
                    tokens: self,
                    lease_id,
                    number: row.integer(1),
                    record: None,
                };
                locked.record = self.record(&row, query)?;
                return Ok(Box::new(locked));
            }
            if !go_on() {
                return Err(Interrupt::Cancelled.into());
            }
            call.sleep(LOOK_AGAIN)?;
        }
    }

    fn change_level(
        &self,
        portal: &Origin,
        rate: Rate,
        call: &CallContext,
        change: &mut dyn FnMut(&mut Level),
    ) -> Result<(), LockError> {
        self.store
            .run(call, Access::Write, |transaction| match &self.place {
                Place::Installation(member_id) => {
                    super::lanes::change_level(transaction, member_id, rate, &mut *change)
                }
                Place::Delivery(_) | Place::Server => {
                    super::lanes::change_other_level(transaction, portal, rate, &mut *change)
                }
            })
    }
}

/// A lease on tokens. Dropping it gives it back.
struct Leased<'a> {
    tokens: &'a SharedTokens,
    lease_id: i64,
    /// The generation of the pair.
    number: i64,
    record: Option<TokenRecord>,
}

impl Leased<'_> {
    fn run<T>(
        &self,
        call: &CallContext,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let store = &self.tokens.store;
        match store.run(call, Access::Write, work) {
            Ok(done) => Ok(done),
            Err(LockError::Storage(error)) => Err(error),
            Err(LockError::Interrupted(_)) => Err(store
                .database
                .error("is being used for too long")
                .that_passes()),
        }
    }

    /// The same again and again, if the store fails for a while: what was renewed exists nowhere else,
    /// and others would use the pair that is spent.
    fn run_surely<T>(
        &self,
        call: &CallContext,
        mut work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match self.run(call, &mut work) {
                Err(error) if error.passing => {
                    log::warn!(target: LOG, "renewed tokens are not stored yet: {error}");
                    if call.sleep(TRY_AGAIN).is_err() {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether this pair is the one in use: the store may have taken it and could not say so.
    fn is_stored(
        &self,
        transaction: &mut dyn Transaction,
        member_id: &str,
        mark: i64,
    ) -> Result<bool, StoreError> {
        let rows = transaction.query(
            "SELECT 1 FROM b24_installation WHERE member_id = $1 AND pair_mark = $2 AND generation = $3",
            parameters![member_id, mark, self.number + 1],
        )?;
        Ok(!rows.is_empty())
    }

    fn has_lost() -> StoreError {
        StoreError::of_database(
            Path::new(""),
            "another process has taken over the renewal; try again",
        )
        .that_passes()
    }
}

impl LockedInstallation for Leased<'_> {
    fn record(&self) -> Option<&TokenRecord> {
        self.record.as_ref()
    }

    fn second_pair(&mut self) -> Result<Option<Credentials>, StoreError> {
        let Place::Installation(member_id) = &self.tokens.place else {
            return Ok(None);
        };
        let store = &self.tokens.store;
        let number = self.number;
        let found = self.run(&short_call(), |transaction| {
            let rows = transaction.query(
                "SELECT second_pair FROM b24_installation
                 WHERE member_id = $1 AND state = 1 AND generation = $2 AND second_pair IS NOT NULL",
                parameters![member_id, number],
            )?;
            let Some(sealed) = rows.first().and_then(|row| row.blob(0)) else {
                return Ok(None);
            };
            let pair = store.unseal(sealed, &self.tokens.place.bound_to())?;
            transaction.execute(
                "UPDATE b24_installation SET pair = second_pair, pair_mark = second_mark,
                    second_pair = NULL, second_mark = 0, generation = generation + 1, pair_at = $2
                 WHERE member_id = $1",
                parameters![member_id, transaction.now()],
            )?;
            Ok(Some(pair))
        })?;
        if found.is_some() {
            self.number += 1;
        }
        Ok(found)
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        let place = &self.tokens.place;
        self.run(&short_call(), |transaction| {
            let until = transaction.now().saturating_add(self.tokens.lease);
            let values = [place.key(), self.lease_id.into(), until.into()];
            match transaction.execute(place.statements().extend, &values)? {
                0 => Err(Self::has_lost()),
                _ => Ok(()),
            }
        })
    }

    fn store(
        self: Box<Self>,
        _used: &Credentials,
        fresh: &Credentials,
        _former: &[u64],
        call: &CallContext,
    ) -> Result<(), StoreError> {
        let store = &self.tokens.store;
        let place = &self.tokens.place;
        let sealed = store.seal(fresh, &place.bound_to())?;
        let mark = mark_of(&store.client_id, &fresh.tokens.refresh_token);
        self.run_surely(call, |transaction| {
            let now = transaction.now();
            let member_id = match place {
                Place::Installation(member_id) => member_id,
                Place::Delivery(delivery) => {
                    transaction.execute(
                        "UPDATE b24_delivery SET pair = $2, asked = 2 WHERE mark = $1",
                        parameters![*delivery, &sealed],
                    )?;
                    return Ok(());
                }
                Place::Server => return Ok(()),
            };
            let stored = transaction.execute(
                "UPDATE b24_installation SET pair = $3, pair_mark = $4, pair_at = $5,
                    client_endpoint = $6, generation = generation + 1
                 WHERE member_id = $1 AND generation = $2 AND state = 1",
                parameters![
                    member_id,
                    self.number,
                    &sealed,
                    mark,
                    now,
                    &fresh.tokens.client_endpoint
                ],
            )?;
            if stored == 0 && !self.is_stored(transaction, member_id, mark)? {
                // Another process took over the lease meanwhile. This pair may be the better one.
                log::warn!(target: LOG, "the tokens of portal {member_id} were renewed twice; both pairs are kept");
                store.keep_second(transaction, member_id, fresh)?;
            }
            Ok(())
        })
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        let place = &self.tokens.place;
        let give_back = |transaction: &mut dyn Transaction| {
            let values = [place.key(), self.lease_id.into()];
            transaction.execute(place.statements().give_back, &values)
        };
        // Otherwise nobody can renew the tokens for as long as the lease lasts.
        let outcome = self
            .run(&short_call(), give_back)
            .or_else(|_| self.run(&short_call(), give_back));
        if let Err(error) = outcome {
            log::warn!(target: LOG, "a renewal's lease ends by itself: {error}");
        }
    }
}

/// A step that must not take long, whatever the call that it is for.
fn short_call() -> CallContext {
    CallContext::new(
        &Process::current(),
        Arc::new(CancelSource::new(None)),
        GIVE_BACK_WITHIN,
        GIVE_BACK_WITHIN,
        "try again",
    )
}
