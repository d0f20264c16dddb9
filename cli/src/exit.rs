//! Exit codes, and why a command failed.

use b24_messageservice::{Error, ErrorKind};
use std::fmt;

/// Everything was done.
pub(crate) const OK: u8 = 0;
/// Some rows were not accepted, or a check failed.
pub(crate) const SOME: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
const CONFIG: u8 = 3;
/// The same command may succeed later.
pub(crate) const AGAIN: u8 = 4;
const AUTH: u8 = 5;
const NOT_FOUND: u8 = 6;
const REFUSED: u8 = 7;
const DISK: u8 = 8;
const INTERNAL: u8 = 9;
/// A signal ended it: that of SIGINT stands for any.
pub(crate) const INTERRUPTED: u8 = 130;

/// Every exit code, and when the program has it. They never change.
pub static EXIT_CODES: &[(u8, &str)] = &[
    (OK, "Everything was done."),
    (
        SOME,
        "Some rows of a batch were not accepted and never will be, some receipts were refused during a \
         drain, or `check` has found a fault.",
    ),
    (
        USAGE,
        "An argument or the input is wrong (`INVALID_ARGUMENT`).",
    ),
    (CONFIG, "An option is missing or wrong (`INVALID_CONFIG`)."),
    (
        AGAIN,
        "Try again: the same command may succeed later. Any error that is retryable, whatever its kind; \
         for a batch, if this holds for all rows that failed.",
    ),
    (
        AUTH,
        "The tokens are not valid or not allowed to do this (`AUTH`, `ACCESS_DENIED`): install the \
         application again.",
    ),
    (
        NOT_FOUND,
        "The portal does not know the message (`MESSAGE_NOT_FOUND`).",
    ),
    (
        REFUSED,
        "The portal or the connection refused it for good (`PORTAL`, `PORTAL_MOVED`, `PROTOCOL`, `TRANSPORT`, \
         `RATE_LIMITED`).",
    ),
    (
        DISK,
        "A file or the store cannot be used (`STORAGE`), or the output cannot be written.",
    ),
    (INTERNAL, "A bug of the program (`INTERNAL`)."),
    (INTERRUPTED, "Ended by SIGINT (Ctrl-C)."),
    (
        143,
        "Ended by SIGTERM. A drain that could finish its requests has 0.",
    ),
];

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library says so.
    Library(Error),
    /// The command line or the input is wrong.
    Usage(String),
    /// A file that is not the library's cannot be read or written.
    File(String),
    /// A signal ended it.
    Stopped,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Library(error) => of_error(error),
            Self::Usage(_) => USAGE,
            Self::File(_) => DISK,
            // It is replaced by that of the signal.
            Self::Stopped => INTERRUPTED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => write!(f, "{}: {error}", error.kind().name())?,
            Self::Usage(text) | Self::File(text) => f.write_str(text)?,
            Self::Stopped => f.write_str("ended by a signal")?,
        }
        if let Self::Library(error) = self
            && error.kind() == ErrorKind::InvalidConfig
            && error.message().contains(" is missing")
        {
            f.write_str(
                " (options are given by flag, as B24_… in the environment, or in the file of --config; \
                 secrets not by flag)",
            )?;
        }
        Ok(())
    }
}

/// The exit code of an error.
pub(crate) fn of_error(error: &Error) -> u8 {
    if error.is_retryable() {
        return AGAIN;
    }
    match error.kind() {
        ErrorKind::InvalidArgument => USAGE,
        ErrorKind::InvalidConfig => CONFIG,
        ErrorKind::Timeout => AGAIN,
        ErrorKind::Auth | ErrorKind::AccessDenied => AUTH,
        ErrorKind::MessageNotFound => NOT_FOUND,
        ErrorKind::Storage => DISK,
        ErrorKind::Cancelled => INTERRUPTED,
        ErrorKind::Internal => INTERNAL,
        _ => REFUSED,
    }
}
