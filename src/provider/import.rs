//! Moving installations from a `state_dir` to the store.

use super::context::{Context, storage_error};
use crate::process::per_process::Process;
use crate::store::directory::move_tokens;
use crate::store::token_store::LockError;
use crate::values::LOG;
use crate::values::error::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// How long a whole directory may take.
const WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Why it ended early.
enum Stopped {
    Store(LockError),
    Call(Error),
}

impl From<LockError> for Stopped {
    fn from(error: LockError) -> Self {
        Self::Store(error)
    }
}

impl Context {
    pub(super) fn import_state_dir(&self, path: &Path) -> Result<usize, Error> {
        self.check_open()?;
        let process = Process::current();
        let _active = process.enter();
        let call = self.call_of(&process, &self.cancel, WITHIN);
        let moved = move_tokens(path, &self.settings.client_id, &call, |record| {
            if record.credentials.tokens.refresh_token.is_empty() {
                return Ok(false);
            }
            match self.install_record(record) {
                Ok(()) => Ok(true),
                // Some files do not say whose they are.
                Err(error) if error.kind() == ErrorKind::AccessDenied => {
                    log::warn!(target: LOG, "an installation in {} stays there: {error}", path.display());
                    Ok(false)
                }
                Err(error) => Err(Stopped::Call(error)),
            }
        });
        moved.map_err(|stopped| match stopped {
            Stopped::Store(error) => storage_error(&call, error),
            Stopped::Call(error) => error,
        })
    }
}
