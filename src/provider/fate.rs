//! What follows from the error of an update: a fault of the portal, of the installation, or of the
//! receipt.

use crate::store::receipts::SECOND;
use crate::values::error::{Error, ErrorKind};

/// What follows from an error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// The lane waits: the portal cannot be reached, or is busy.
    Wait {
        /// Whether its rate limit was exceeded.
        throttled: bool,
    },
    /// The lane is held: the installation cannot be used.
    Hold,
    /// The receipt is tried again, so often.
    TryAgain {
        most: i64,
        /// In milliseconds, after so many tries.
        pause: fn(i64) -> i64,
    },
    /// The receipt is given up.
    Refuse,
    /// The drain has to end; nothing was found out.
    Stop,
}

impl Verdict {
    /// Of several errors of a request, the one that counts for the lane.
    pub(super) fn severity(&self) -> u8 {
        match self {
            Self::Hold => 3,
            Self::Wait { .. } => 2,
            Self::Stop => 1,
            Self::TryAgain { .. } | Self::Refuse => 0,
        }
    }
}

/// The codes after which an installation cannot be used until somebody does something.
const HOLDING: [&str; 7] = [
    "invalid_grant",
    "APPLICATION_NOT_FOUND",
    "NOT_INSTALLED",
    "PAYMENT_REQUIRED",
    "PORTAL_DELETED",
    "OVERLOAD_LIMIT",
    "ERROR_METHOD_NOT_FOUND",
];

/// A receipt may come before the portal has stored its message: three tries over a minute.
const NOT_FOUND: Verdict = Verdict::TryAgain {
    most: 3,
    pause: |_| 30 * SECOND,
};

/// Some other failure of one command.
const FAILED: Verdict = Verdict::TryAgain {
    most: 10,
    pause: |tries| (5 * SECOND) << tries.clamp(0, 8),
};

pub(super) fn judge(error: &Error, of_request: bool) -> Verdict {
    let code = error.portal_code();
    if HOLDING
        .iter()
        .any(|holding| holding.eq_ignore_ascii_case(code))
    {
        return Verdict::Hold;
    }
    let throttled = code.eq_ignore_ascii_case("QUERY_LIMIT_EXCEEDED");
    match error.kind() {
        ErrorKind::Cancelled => Verdict::Stop,
        // A renewed token expired at once. The next one may not, and nobody else could do anything.
        ErrorKind::Auth if code.eq_ignore_ascii_case("expired_token") => {
            Verdict::Wait { throttled }
        }
        ErrorKind::Auth | ErrorKind::PortalMoved | ErrorKind::InvalidConfig => Verdict::Hold,
        ErrorKind::AccessDenied if of_request => Verdict::Hold,
        ErrorKind::MessageNotFound if !of_request => NOT_FOUND,
        ErrorKind::Portal if !of_request && error.is_retryable() => FAILED,
        ErrorKind::InvalidArgument | ErrorKind::AccessDenied | ErrorKind::Portal if !of_request => {
            Verdict::Refuse
        }
        _ => Verdict::Wait { throttled },
    }
}

/// A reason for people and programs: the portal's code, or the kind of error.
pub(super) fn reason_of(error: &Error) -> String {
    if error.portal_code().is_empty() {
        error.kind().name().to_owned()
    } else {
        // PostgreSQL has no text with a NUL.
        error.portal_code().replace('\0', "")
    }
}
