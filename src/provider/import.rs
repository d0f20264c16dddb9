//! Moving installations from a `state_dir` to the store.

use super::context::Context;
use crate::values::error::{Error, ErrorKind};
use std::path::Path;

impl Context {
    pub(super) fn import_state_dir(&self, _path: &Path) -> Result<usize, Error> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }
}
