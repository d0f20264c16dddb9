//! A store that only its callers protect: whoever uses it at the same time as another is found out.

use crate::process::cancellation::{CallContext, Interrupt};
use crate::process::sync;
use crate::store::token_record::TokenRecord;
use crate::store::token_store::{
    InstallationQuery, LockError, LockedInstallation, Store, StoreError,
};
use crate::values::address::Origin;
use crate::values::rate::{Level, Rate};
use crate::values::tokens::Credentials;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Shared {
    level: Mutex<(Level, Duration)>,
    changing: AtomicBool,
    /// Whether somebody, maybe another process, holds the lock of the tokens.
    pub(crate) locked: AtomicBool,
    /// The refresh token that was stored last.
    pub(crate) stored: Mutex<String>,
}

impl Store for Shared {
    fn path(&self) -> &Path {
        Path::new("/shared")
    }

    fn look_up(&self, _query: InstallationQuery<'_>) -> Result<Option<TokenRecord>, StoreError> {
        Ok(None)
    }

    fn lock(
        &self,
        _query: InstallationQuery<'_>,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Box<dyn LockedInstallation + '_>, LockError> {
        while self.locked.swap(true, Ordering::SeqCst) {
            if !go_on() {
                return Err(LockError::Interrupted(Interrupt::Cancelled));
            }
            call.sleep(Duration::from_millis(10))?;
        }
        Ok(Box::new(Locked(self)))
    }

    fn change_level(
        &self,
        _portal: &Origin,
        rate: Rate,
        _call: &CallContext,
        change: &mut dyn FnMut(&mut Level),
    ) -> Result<(), LockError> {
        assert!(
            !self.changing.swap(true, Ordering::SeqCst),
            "two change the level"
        );
        let (level, at) = *self.level.lock().unwrap();
        let now = sync::passed();
        let mut level = level.drained(rate, now - at);
        change(&mut level);
        shuttle::thread::yield_now();
        *self.level.lock().unwrap() = (level, now);
        self.changing.store(false, Ordering::SeqCst);
        Ok(())
    }
}

struct Locked<'a>(&'a Shared);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::SeqCst);
    }
}

impl LockedInstallation for Locked<'_> {
    fn record(&self) -> Option<&TokenRecord> {
        None
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn store(
        self: Box<Self>,
        _used: &Credentials,
        fresh: &Credentials,
        _former: &[u64],
        _call: &CallContext,
    ) -> Result<(), StoreError> {
        fresh
            .tokens
            .refresh_token
            .clone_into(&mut self.0.stored.lock().unwrap());
        Ok(())
    }
}
