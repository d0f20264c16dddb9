//! Every way a portal or authorization server can refuse, and what follows from it.

use crate::address::Origin;
use crate::{Error, ErrorKind};
use std::time::Duration;

/// A failed attempt: the error that the caller gets if nothing more can be done, and what can.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) error: Error,
    pub(crate) repeat: Repeat,
}

/// What can be done about a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Nothing: the same again would fail the same.
    Never,
    /// The same again, after a back-off.
    Later,
    /// The same again when the portal's bucket has room: it is fuller than was thought.
    WhenBucketDrained,
    /// The same again when the method's time budget is given back.
    WhenTimeGivenBack,
    /// The same again with a renewed token.
    Renewed,
    /// The same again at another address.
    At(Origin),
}

/// One row of the protocol's error tables.
struct Row {
    code: &'static str,
    kind: ErrorKind,
    repeat: Repeat,
    /// Completes "…: the portal's text. ".
    advice: &'static str,
}

const fn row(code: &'static str, kind: ErrorKind, repeat: Repeat, advice: &'static str) -> Row {
    Row {
        code,
        kind,
        repeat,
        advice,
    }
}

use ErrorKind::{AccessDenied, Auth, InvalidArgument, MessageNotFound, Portal, RateLimited};

/// The codes are compared without case. An unknown code is judged by its HTTP status.
const TABLE: &[Row] = &[
    row(
        "ERROR_SENDER_VALIDATION_FAILURE",
        InvalidArgument,
        Repeat::Never,
        "Give the provider code under which messageservice.sender.add registered the provider",
    ),
    row(
        "ERROR_MESSAGE_STATUS_INCORRECT",
        InvalidArgument,
        Repeat::Never,
        "This portal takes other statuses; try sent, delivered, undelivered or failed",
    ),
    row(
        "ERROR_MESSAGE_NOT_FOUND",
        MessageNotFound,
        Repeat::Never,
        "Give the message_id and code that this portal sent to the handler of the same application",
    ),
    row(
        "ACCESS_DENIED",
        AccessDenied,
        Repeat::Never,
        "Use the token of an installed application on a plan with REST, from the user who sent the \
         message or an administrator",
    ),
    row(
        "insufficient_scope",
        AccessDenied,
        Repeat::Never,
        "Give the application the scope messageservice, and install it again",
    ),
    row(
        "user_access_error",
        AccessDenied,
        Repeat::Never,
        "Let an administrator give this user access to the application",
    ),
    row(
        "INVALID_CREDENTIALS",
        AccessDenied,
        Repeat::Never,
        "Use the token of a user who has the rights",
    ),
    row(
        "PAYMENT_REQUIRED",
        AccessDenied,
        Repeat::Never,
        "The application's paid period has ended: have it extended",
    ),
    row(
        "expired_token",
        Auth,
        Repeat::Renewed,
        "Set refresh_token, client_id and client_secret so that it is renewed, or give a fresh \
         access_token",
    ),
    row(
        "invalid_token",
        Auth,
        Repeat::Never,
        "Give the access token that this very portal issued",
    ),
    row(
        "NO_AUTH_FOUND",
        Auth,
        Repeat::Never,
        "Give the access token that this very portal issued",
    ),
    row(
        "APPLICATION_NOT_FOUND",
        Auth,
        Repeat::Never,
        "The application is not installed on this portal: install it again",
    ),
    row(
        "INVALID_REQUEST",
        Portal,
        Repeat::Never,
        "Give the portal's https address",
    ),
    row(
        "ERROR_METHOD_NOT_FOUND",
        Portal,
        Repeat::Never,
        "The portal lacks the module messageservice: have it installed",
    ),
    row(
        "QUERY_LIMIT_EXCEEDED",
        RateLimited,
        Repeat::WhenBucketDrained,
        "Send updates as a batch, share state_dir among the processes, and check rate_limit",
    ),
    row(
        "OVERLOAD_LIMIT",
        RateLimited,
        Repeat::Never,
        "The vendor has blocked REST on this portal by hand: ask its support",
    ),
    row(
        "OPERATION_TIME_LIMIT",
        RateLimited,
        Repeat::WhenTimeGivenBack,
        "The portal's time budget for the method is spent: send fewer updates in ten minutes",
    ),
    row(
        "INTERNAL_SERVER_ERROR",
        Portal,
        Repeat::Later,
        "Try again later",
    ),
    row(
        "ERROR_UNEXPECTED_ANSWER",
        Portal,
        Repeat::Later,
        "Try again later",
    ),
    row(
        "PORTAL_DELETED",
        Portal,
        Repeat::Never,
        "The portal is gone: stop calling it",
    ),
    row(
        "ERROR_BATCH_LENGTH_EXCEEDED",
        Portal,
        Repeat::Never,
        "Send fewer updates at once",
    ),
];

/// What the authorization server says besides, or means differently.
const RENEWAL_TABLE: &[Row] = &[
    row(
        "invalid_grant",
        Auth,
        Repeat::Never,
        "The refresh token is spent or too old: have the application authorized again, and share \
         state_dir among all processes that renew",
    ),
    row(
        "invalid_client",
        Auth,
        Repeat::Never,
        "Check client_id and client_secret",
    ),
    row(
        "wrong_client",
        Auth,
        Repeat::Never,
        "Check client_id and client_secret",
    ),
    row(
        "invalid_scope",
        Auth,
        Repeat::Never,
        "Give the application the scope messageservice, and install it again",
    ),
    row(
        "NOT_INSTALLED",
        Auth,
        Repeat::Never,
        "The application is not installed on this portal: install it again",
    ),
    row(
        "invalid_request",
        Auth,
        Repeat::Never,
        "Check refresh_token, client_id and client_secret",
    ),
];

/// What a server said when it refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    /// Who said it, for the message: a portal's or authorization server's address.
    pub(crate) server: &'a str,
    /// Whether it is the authorization server.
    pub(crate) renewal: bool,
    pub(crate) http_status: u16,
    pub(crate) code: &'a str,
    pub(crate) description: &'a str,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal<'_> {
    pub(crate) fn fault(&self) -> Fault {
        let own: &[Row] = if self.renewal { RENEWAL_TABLE } else { &[] };
        let known = own
            .iter()
            .chain(TABLE)
            .find(|row| row.code.eq_ignore_ascii_case(self.code));
        let (kind, repeat, advice) = match known {
            Some(row) => (row.kind, row.repeat.clone(), row.advice),
            None => (
                kind_of_status(self.http_status),
                repeat_of_status(self.http_status),
                "",
            ),
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
            .with_retryable(may_succeed_later(&repeat))
            .with_retry_after(self.retry_after);
        Fault { error, repeat }
    }
}

/// The same refusal of a token that was renewed just now: to set up renewal is no advice then.
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

/// An answer without an error of the protocol in it: a front-end's page, or nothing readable.
pub(crate) fn unreadable(
    server: &str,
    http_status: u16,
    what: &str,
    retry_after: Option<Duration>,
) -> Fault {
    let (kind, repeat) = match http_status {
        200..=299 => (ErrorKind::Protocol, Repeat::Later),
        500..=599 => (Portal, Repeat::Later),
        401 | 403 | 429 => (kind_of_status(http_status), Repeat::Never),
        _ => (ErrorKind::Protocol, Repeat::Never),
    };
    let error = Error::new(
        kind,
        format!(
            "{server} answered HTTP {http_status} with {what}. If this lasts, check that portal \
             names a Bitrix24 portal and that no proxy answers in its place"
        ),
    )
    .with_http_status(http_status)
    .with_retryable(may_succeed_later(&repeat) || http_status == 429)
    .with_retry_after(retry_after);
    Fault { error, repeat }
}

fn kind_of_status(http_status: u16) -> ErrorKind {
    match http_status {
        401 => Auth,
        403 => AccessDenied,
        429 => RateLimited,
        _ => Portal,
    }
}

fn repeat_of_status(http_status: u16) -> Repeat {
    match http_status {
        502..=504 => Repeat::Later,
        _ => Repeat::Never,
    }
}

fn may_succeed_later(repeat: &Repeat) -> bool {
    match repeat {
        Repeat::Later | Repeat::WhenBucketDrained | Repeat::WhenTimeGivenBack => true,
        Repeat::Never | Repeat::Renewed | Repeat::At(_) => false,
    }
}

impl Fault {
    /// A fault that the same again would not mend.
    pub(crate) fn last(error: Error) -> Self {
        Self {
            error,
            repeat: Repeat::Never,
        }
    }

    /// A fault that may pass.
    pub(crate) fn passing(kind: ErrorKind, message: String) -> Self {
        Self {
            error: Error::new(kind, message).with_retryable(true),
            repeat: Repeat::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(http_status: u16, code: &str) -> Fault {
        Refusal {
            server: "https://portal.bitrix24.com",
            renewal: false,
            http_status,
            code,
            description: "",
            retry_after: None,
        }
        .fault()
    }

    #[test]
    fn codes_are_known_in_either_case() {
        for row in TABLE {
            for code in [row.code.to_ascii_lowercase(), row.code.to_ascii_uppercase()] {
                let fault = fault(400, &code);
                assert_eq!(
                    (fault.error.kind(), fault.repeat),
                    (row.kind, row.repeat.clone())
                );
                assert_eq!(fault.error.portal_code(), code);
            }
        }
    }

    #[test]
    fn unknown_codes_are_judged_by_their_status() {
        for (status, kind, repeat) in [
            (400, Portal, Repeat::Never),
            (401, Auth, Repeat::Never),
            (403, AccessDenied, Repeat::Never),
            (429, RateLimited, Repeat::Never),
            (500, Portal, Repeat::Never),
            (502, Portal, Repeat::Later),
        ] {
            let fault = fault(status, "SOMETHING_NEW");
            assert_eq!(
                (fault.error.kind(), fault.repeat),
                (kind, repeat),
                "{status}"
            );
        }
    }
}
