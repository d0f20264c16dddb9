//! Takes the place of the state directory on systems that have none yet.

#[cfg(feature = "provider")]
use super::token_record::TokenRecord;
#[cfg(feature = "provider")]
use super::token_store::LockError;
use super::token_store::{Store, StoreError};
#[cfg(feature = "provider")]
use crate::process::cancellation::CallContext;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn open(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Err(StoreError::new(
        path,
        "sharing state is not available on this system yet; leave the option out",
    ))
}

#[cfg(feature = "provider")]
pub(crate) fn move_tokens<E: From<LockError>>(
    path: &Path,
    _: &str,
    _: &CallContext,
    _: impl FnMut(&TokenRecord) -> Result<bool, E>,
) -> Result<usize, E> {
    let error = StoreError::new(path, "there is none on this system");
    Err(LockError::Storage(error).into())
}
