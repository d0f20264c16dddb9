//! The error codes of portals and authorization servers, and what follows from each.

use crate::values::address::Origin;
use crate::values::error::{Error, ErrorKind};
use std::time::Duration;

/// A failed attempt: the error for the caller, and what can be done before the caller gets it.
#[derive(Clone, Debug)]
pub(crate) struct AttemptError {
    pub(crate) error: Error,
    pub(crate) action: RetryAction,
    /// Whether the portal may have executed the request nevertheless.
    pub(crate) may_have_run: bool,
}

/// What can be done about a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RetryAction {
    /// Nothing: another attempt would fail for the same reason.
    Never,
    /// Repeat it after a pause.
    AfterBackoff,
    /// Repeat it when the portal's rate limit allows it. More of the limit is used than was known
    /// here.
    WhenRateAllows,
    /// Repeat it when the method's time budget can be used again.
    WhenBudgetResets,
    /// Repeat it with a renewed token.
    AfterRenewal,
    /// Repeat it at another address.
    AtAddress(Origin),
}

/// One row of the protocol's error tables.
#[derive(Debug)]
pub(crate) struct CodeRow {
    pub(crate) code: &'static str,
    pub(crate) kind: ErrorKind,
    pub(crate) action: RetryAction,
    /// Completes "…: the portal's text. ".
    pub(crate) advice: &'static str,
}

pub(crate) const fn row(
    code: &'static str,
    kind: ErrorKind,
    action: RetryAction,
    advice: &'static str,
) -> CodeRow {
    CodeRow {
        code,
        kind,
        action,
        advice,
    }
}

use ErrorKind::{AccessDenied, Auth, InvalidArgument, Portal, RateLimited};

const FOREIGN_TOKEN: &str = "This portal does not know the token: give as access_token the one that it sent \
                             last, or install the application again for a new one";

/// The codes of all methods; those of one method are with the method. Upper and lower case do not
/// matter. An unknown code is judged by its HTTP status.
pub(crate) const COMMON: &[CodeRow] = &[
    row(
        "ERROR_SENDER_VALIDATION_FAILURE",
        InvalidArgument,
        RetryAction::Never,
        "Give the provider code under which messageservice.sender.add registered the provider",
    ),
    row(
        "ACCESS_DENIED",
        AccessDenied,
        RetryAction::Never,
        "Use the token of an installed application on a plan with REST, from the user who sent the \
         message or an administrator",
    ),
    row(
        "insufficient_scope",
        AccessDenied,
        RetryAction::Never,
        "Give the application the scope messageservice, and install it again",
    ),
    row(
        "user_access_error",
        AccessDenied,
        RetryAction::Never,
        "Let an administrator give this user access to the application",
    ),
    row(
        "INVALID_CREDENTIALS",
        AccessDenied,
        RetryAction::Never,
        "Use the token of a user who has the rights",
    ),
    row(
        "PAYMENT_REQUIRED",
        AccessDenied,
        RetryAction::Never,
        "The application's paid period has ended: have it extended",
    ),
    row(
        "expired_token",
        Auth,
        RetryAction::AfterRenewal,
        "Set refresh_token, client_id and client_secret so that it is renewed, or give a fresh \
         access_token",
    ),
    row("invalid_token", Auth, RetryAction::Never, FOREIGN_TOKEN),
    row("NO_AUTH_FOUND", Auth, RetryAction::Never, FOREIGN_TOKEN),
    row(
        "APPLICATION_NOT_FOUND",
        Auth,
        RetryAction::Never,
        "The application is not installed on this portal: install it again",
    ),
    row(
        "INVALID_REQUEST",
        Portal,
        RetryAction::Never,
        "Give the portal's https address",
    ),
    row(
        "ERROR_METHOD_NOT_FOUND",
        Portal,
        RetryAction::Never,
        "The portal lacks the module messageservice: have it installed",
    ),
    row(
        "QUERY_LIMIT_EXCEEDED",
        RateLimited,
        RetryAction::WhenRateAllows,
        "Send updates as a batch, share state_dir among the processes, and check rate_limit",
    ),
    row(
        "OVERLOAD_LIMIT",
        RateLimited,
        RetryAction::Never,
        "Bitrix24 has blocked REST on this portal: ask its support",
    ),
    row(
        "OPERATION_TIME_LIMIT",
        RateLimited,
        RetryAction::WhenBudgetResets,
        "The application has used up the portal's time budget for the method: make fewer calls in ten minutes",
    ),
    row(
        "INTERNAL_SERVER_ERROR",
        Portal,
        RetryAction::AfterBackoff,
        "Try again later",
    ),
    row(
        "ERROR_UNEXPECTED_ANSWER",
        Portal,
        RetryAction::AfterBackoff,
        "Try again later",
    ),
    row(
        "PORTAL_DELETED",
        Portal,
        RetryAction::Never,
        "The portal is gone: stop calling it",
    ),
    row(
        "ERROR_BATCH_LENGTH_EXCEEDED",
        Portal,
        RetryAction::Never,
        "Send fewer updates at once",
    ),
];

/// The codes of the authorization server that have another meaning there, or occur only there.
pub(crate) const RENEWAL: &[CodeRow] = &[
    row(
        "invalid_grant",
        Auth,
        RetryAction::Never,
        "The refresh token was used before or is too old: have the application authorized again, and share \
         state_dir among all processes that renew",
    ),
    row(
        "invalid_client",
        Auth,
        RetryAction::Never,
        "Check client_id and client_secret",
    ),
    row(
        "wrong_client",
        Auth,
        RetryAction::Never,
        "Check client_id and client_secret",
    ),
    row(
        "invalid_scope",
        Auth,
        RetryAction::Never,
        "Give the application the scope messageservice, and install it again",
    ),
    row(
        "NOT_INSTALLED",
        Auth,
        RetryAction::Never,
        "The application is not installed on this portal: install it again",
    ),
    row(
        "invalid_request",
        Auth,
        RetryAction::Never,
        "Check refresh_token, client_id and client_secret",
    ),
];

/// The error that a server answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorResponse<'a> {
    /// The address of the server, for the message.
    pub(crate) server: &'a str,
    /// The codes that have another meaning there than in [`COMMON`], or occur only there.
    pub(crate) codes: &'static [CodeRow],
    pub(crate) http_status: u16,
    pub(crate) code: &'a str,
    pub(crate) description: &'a str,
    pub(crate) retry_after: Option<Duration>,
}

impl ErrorResponse<'_> {
    pub(crate) fn attempt_error(&self) -> AttemptError {
        let known = self
            .codes
            .iter()
            .chain(COMMON)
            .find(|row| row.code.eq_ignore_ascii_case(self.code));
        let (kind, action, advice) = match known {
            Some(row) => (row.kind, row.action.clone(), row.advice),
            None => (
                kind_of_status(self.http_status),
                action_of_status(self.http_status),
                "",
            ),
        };
        // A known code says whether the request was executed. An unknown one with HTTP 5xx does
        // not.
        let may_have_run = match known {
            Some(_) => action == RetryAction::AfterBackoff,
            None => self.http_status >= 500,
        };
        let mut message = format!("{} answered {}", self.server, self.code);
        if !self.description.is_empty() {
            message = format!("{message}: {}", self.description);
        }
        if !advice.is_empty() {
            message = format!("{}. {advice}", message.trim_end_matches(['.', '!']));
        }
        let error = Error::new(kind, message)
            .told_by_portal(self.code, self.description)
            .with_http_status(self.http_status)
            .with_retryable(may_succeed_later(&action))
            .with_retry_after(self.retry_after);
        AttemptError {
            error,
            action,
            may_have_run,
        }
    }
}

/// The error for a token that was refused although it was just renewed. Advice to set up renewal
/// would be wrong then.
pub(crate) fn refused_though_renewed(server: &str, error: &Error) -> Error {
    let code = error.portal_code();
    let again = Error::new(
        error.kind(),
        format!(
            "{server} answered {code} to a token that was renewed just now. Call again later; if this \
             lasts, check that oauth_url is the authorization server of this portal, or have the \
             application authorized again"
        ),
    );
    let again = again.told_by_portal(code, error.description());
    match error.http_status() {
        Some(http_status) => again.with_http_status(http_status),
        None => again,
    }
}

/// An answer without an error of the protocol: the page of a front-end, or something unreadable.
pub(crate) fn unreadable(
    server: &str,
    http_status: u16,
    what: &str,
    retry_after: Option<Duration>,
) -> AttemptError {
    let (kind, action) = match http_status {
        200..=299 => (ErrorKind::Protocol, RetryAction::AfterBackoff),
        500..=599 => (Portal, RetryAction::AfterBackoff),
        401 | 403 | 429 => (kind_of_status(http_status), RetryAction::Never),
        _ => (ErrorKind::Protocol, RetryAction::Never),
    };
    let error = Error::new(
        kind,
        format!(
            "{server} answered HTTP {http_status} with {what}. If this lasts, check that portal \
             names a Bitrix24 portal and that no proxy answers in its place"
        ),
    )
    .with_http_status(http_status)
    .with_retryable(may_succeed_later(&action) || http_status == 429)
    .with_retry_after(retry_after);
    AttemptError {
        error,
        action,
        may_have_run: true,
    }
}

fn kind_of_status(http_status: u16) -> ErrorKind {
    match http_status {
        401 => Auth,
        403 => AccessDenied,
        429 => RateLimited,
        _ => Portal,
    }
}

fn action_of_status(http_status: u16) -> RetryAction {
    match http_status {
        502..=504 => RetryAction::AfterBackoff,
        _ => RetryAction::Never,
    }
}

pub(crate) fn may_succeed_later(action: &RetryAction) -> bool {
    match action {
        RetryAction::AfterBackoff | RetryAction::WhenRateAllows | RetryAction::WhenBudgetResets => {
            true
        }
        RetryAction::Never | RetryAction::AfterRenewal | RetryAction::AtAddress(_) => false,
    }
}

impl AttemptError {
    /// An error that another attempt would not change.
    pub(crate) fn last(error: Error) -> Self {
        Self {
            error,
            action: RetryAction::Never,
            may_have_run: false,
        }
    }

    /// An error that another attempt may not have.
    pub(crate) fn passing(kind: ErrorKind, message: String) -> Self {
        Self {
            error: Error::new(kind, message).with_retryable(true),
            action: RetryAction::AfterBackoff,
            may_have_run: false,
        }
    }

    /// The same for a request that the portal may have executed or not.
    pub(crate) fn after(self, may_have_run: bool) -> Self {
        Self {
            may_have_run,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(http_status: u16, code: &str) -> AttemptError {
        ErrorResponse {
            server: "https://portal.bitrix24.com",
            codes: &[],
            http_status,
            code,
            description: "",
            retry_after: None,
        }
        .attempt_error()
    }

    #[test]
    fn codes_are_known_in_either_case() {
        for row in COMMON {
            for code in [row.code.to_ascii_lowercase(), row.code.to_ascii_uppercase()] {
                let refused = refused(400, &code);
                assert_eq!(
                    (refused.error.kind(), refused.action),
                    (row.kind, row.action.clone())
                );
                assert_eq!(refused.error.portal_code(), code);
            }
        }
    }

    #[test]
    fn what_was_refused_before_it_was_executed_may_be_sent_again() {
        for (status, code, may_have_run) in [
            (503, "QUERY_LIMIT_EXCEEDED", false),
            (429, "OPERATION_TIME_LIMIT", false),
            (401, "expired_token", false),
            (500, "INTERNAL_SERVER_ERROR", true),
            (502, "SOMETHING_NEW", true),
            (400, "SOMETHING_NEW", false),
        ] {
            assert_eq!(refused(status, code).may_have_run, may_have_run, "{code}");
        }
    }

    #[test]
    fn unknown_codes_are_judged_by_their_status() {
        for (status, kind, action) in [
            (400, Portal, RetryAction::Never),
            (401, Auth, RetryAction::Never),
            (403, AccessDenied, RetryAction::Never),
            (429, RateLimited, RetryAction::Never),
            (500, Portal, RetryAction::Never),
            (502, Portal, RetryAction::AfterBackoff),
        ] {
            let refused = refused(status, "SOMETHING_NEW");
            assert_eq!(
                (refused.error.kind(), refused.action),
                (kind, action),
                "{status}"
            );
        }
    }
}
