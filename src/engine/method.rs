//! What the engine must know about a REST method. The methods themselves are in `methods`.

use crate::protocol::error_table::{AttemptError, CodeRow};
use crate::protocol::response::{Operating, Response, Source};
use crate::values::error::{Error, ErrorKind};
use serde::Serialize;

/// A REST method of the portal's.
#[derive(Debug)]
pub(crate) struct Method {
    /// Below the portal's address: `/rest/` and the method's name.
    pub(crate) path: &'static str,
    /// Whether it is harmless to do it again. A method that is not idempotent is repeated only if
    /// the request cannot have been executed.
    pub(crate) idempotent: bool,
    /// The method whose time budget a request uses up: for a batch, that of its commands.
    pub(crate) budget: &'static str,
    /// The error codes that have another meaning here than elsewhere, or occur only here.
    pub(crate) codes: &'static [CodeRow],
    /// What a caller is told to do when the deadline has passed: completes "…: ".
    pub(crate) after_timeout: &'static str,
}

impl Method {
    /// Its name, as the portal knows it.
    pub(crate) fn name(&self) -> &'static str {
        self.path.strip_prefix("/rest/").unwrap_or(self.path)
    }
}

/// One request: how it is written, and how its answer is read.
pub(crate) trait Request {
    /// What a call returns.
    type Output;

    fn method(&self) -> &'static Method;

    /// Writes the body, with the token in it.
    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error>;

    /// Reads the answer, and what it says about the time budget.
    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<(Self::Output, Operating), AttemptError>;
}

/// Writes a body. Text can always be written as JSON. If it cannot, the call fails and nothing is
/// sent.
pub(crate) fn write_json(body: &mut Vec<u8>, content: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(body, content).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            format!("the request could not be written: {error}"),
        )
    })
}
