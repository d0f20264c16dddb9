//! The one error type, and the kinds a caller can act on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What went wrong, as far as callers act differently on it.
///
/// The discriminants are those of `b24_code` in the C header, and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorKind {
    /// An argument of the call cannot be sent; nothing was.
    InvalidArgument = 1,
    /// A configuration option is unknown, malformed, missing or contradicts another.
    InvalidConfig = 2,
    /// No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke.
    Transport = 3,
    /// The deadline (`timeout_ms`) passed; the update may or may not have been stored.
    Timeout = 4,
    /// The answer is not one of a portal.
    Protocol = 5,
    /// The tokens are no longer valid, and renewing them did not help.
    Auth = 6,
    /// The tokens are valid but do not allow this call.
    AccessDenied = 7,
    /// The portal knows no such message of this application and provider code.
    MessageNotFound = 8,
    /// The portal's limits do not allow the call before its deadline.
    RateLimited = 9,
    /// Any other refusal by the portal.
    Portal = 10,
    /// The portal moved to an address that the token may not be sent to.
    PortalMoved = 11,
    /// `cancel` was called while the call was under way.
    Cancelled = 12,
    /// A bug in this library; the client can still be used.
    Internal = 13,
    /// A file in `state_dir` could not be read, written or locked: disk, permissions, descriptors.
    Storage = 14,
}

impl ErrorKind {
    /// The name that every language and `b24_code` in C has for it: `MESSAGE_NOT_FOUND`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::InvalidConfig => "INVALID_CONFIG",
            Self::Transport => "TRANSPORT",
            Self::Timeout => "TIMEOUT",
            Self::Protocol => "PROTOCOL",
            Self::Auth => "AUTH",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::RateLimited => "RATE_LIMITED",
            Self::Portal => "PORTAL",
            Self::PortalMoved => "PORTAL_MOVED",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
            Self::Storage => "STORAGE",
        }
    }
}

/// Why a call failed, for a program (kind, portal code, retryable) and for people (`Display`).
///
/// No text in it contains a token, a client secret or a webhook path.
///
/// A clone is cheap: the updates of a batch that failed for one reason share one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct Error(Arc<Details>);

#[derive(Clone, PartialEq, Eq)]
struct Details {
    kind: ErrorKind,
    message: String,
    portal_code: String,
    description: String,
    http_status: Option<u16>,
    retryable: bool,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error found by a language binding before it calls the core: a value that is not valid
    /// text, or a panic.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Details {
            kind,
            message: message.into(),
            portal_code: String::new(),
            description: String::new(),
            http_status: None,
            retryable: false,
            retry_after: None,
        }))
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// For people: what happened, and what to do next.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The portal's own error code, as it wrote it (`ERROR_MESSAGE_NOT_FOUND`); empty if none.
    pub fn portal_code(&self) -> &str {
        &self.0.portal_code
    }

    /// The portal's own description; empty if none.
    pub fn description(&self) -> &str {
        &self.0.description
    }

    /// The HTTP status of the answer, if there was one.
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// How long to wait before the same call can succeed, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// With the portal's own code and description.
    pub(crate) fn told_by_portal(mut self, code: &str, description: &str) -> Self {
        let details = Arc::make_mut(&mut self.0);
        code.clone_into(&mut details.portal_code);
        description.clone_into(&mut details.description);
        self
    }

    pub(crate) fn with_http_status(mut self, http_status: u16) -> Self {
        Arc::make_mut(&mut self.0).http_status = Some(http_status);
        self
    }

    pub(crate) fn with_retryable(mut self, retryable: bool) -> Self {
        Arc::make_mut(&mut self.0).retryable = retryable;
        self
    }

    /// If the call may succeed later: not before this time.
    pub(crate) fn wait_at_least(self, step: Duration) -> Self {
        if self.is_retryable() {
            let wait = self.retry_after().unwrap_or_default().max(step);
            self.with_retry_after(Some(wait))
        } else {
            self
        }
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        if self.0.retry_after != retry_after {
            Arc::make_mut(&mut self.0).retry_after = retry_after;
        }
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("message", &self.message())
            .field("portal_code", &self.portal_code())
            .field("http_status", &self.http_status())
            .field("retryable", &self.is_retryable())
            .field("retry_after", &self.retry_after())
            .finish_non_exhaustive()
    }
}
