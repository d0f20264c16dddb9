//! The one error type, and the kinds a caller can act on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One kind of error, as every language has it.
#[derive(Debug)]
pub struct KindRow {
    /// The kind.
    pub kind: ErrorKind,
    /// `MESSAGE_NOT_FOUND`.
    pub name: &'static str,
    /// When it occurs, in Markdown, with a space before each line.
    pub documentation: &'static str,
    /// What the caller can do, in Markdown.
    pub advice: &'static str,
    /// Whether such an error is retryable, and when.
    pub retryable: &'static str,
    /// Its exception class in languages that have exceptions.
    pub class: &'static str,
    /// The built-in class of Python that is most like it; empty if none is.
    pub python_base: &'static str,
    /// The built-in class of PHP that is most like it.
    pub php_base: &'static str,
}

/// Writes [`ErrorKind`], its names and [`KINDS`] from one row for each kind.
macro_rules! error_kinds {
    ($(
        $(#[doc = $documentation:literal])+
        $kind:ident = $number:literal {
            name: $name:literal,
            $($column:ident: $value:literal,)+
        }
    )+) => {
        /// What went wrong, as far as callers act differently on it.
        ///
        /// The discriminants are those of `b24_code` in the C header, and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum ErrorKind {
            $($(#[doc = $documentation])+ $kind = $number,)+
        }

        impl ErrorKind {
            /// The name that it has in every language: `MESSAGE_NOT_FOUND`. In C `b24_code` has it with
            /// `B24_` before it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }

        /// Every kind of error, by number.
        pub static KINDS: &[KindRow] = &[$(KindRow {
            kind: ErrorKind::$kind,
            name: $name,
            documentation: concat!($($documentation),+),
            $($column: $value,)+
        }),+];
    };
}

error_kinds! {
    /// An argument is not valid: it was not sent, or the portal refused it.
    InvalidArgument = 1 {
        name: "INVALID_ARGUMENT",
        advice: "Correct the program that made the call.",
        retryable: "no",
        class: "InvalidArgument",
        python_base: "ValueError",
        php_base: "InvalidArgumentException",
    }
    /// An option is unknown, malformed, missing, or contradicts another, or a file that it names
    /// cannot be used.
    InvalidConfig = 2 {
        name: "INVALID_CONFIG",
        advice: "Correct the option that the message names.",
        retryable: "no",
        class: "InvalidConfig",
        python_base: "ValueError",
        php_base: "InvalidArgumentException",
    }
    /// No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke.
    Transport = 3 {
        name: "TRANSPORT",
        advice: "Check the network, DNS, the proxy and `ca_file`.",
        retryable: "yes, but not after a certificate that is not trusted or a proxy's refusal",
        class: "TransportError",
        python_base: "ConnectionError",
        php_base: "RuntimeException",
    }
    /// The deadline of the call passed. The portal may or may not have executed it.
    Timeout = 4 {
        name: "TIMEOUT",
        advice: "The message says whether to call again.",
        retryable: "yes",
        class: "CallTimeout",
        python_base: "TimeoutError",
        php_base: "RuntimeException",
    }
    /// The answer is not one of a portal.
    Protocol = 5 {
        name: "PROTOCOL",
        advice: "Check what answers at the address in `portal`.",
        retryable: "depends on the HTTP status",
        class: "ProtocolError",
        python_base: "",
        php_base: "UnexpectedValueException",
    }
    /// The tokens are no longer valid, and could not be renewed.
    Auth = 6 {
        name: "AUTH",
        advice: "Have the application authorized or installed again.",
        retryable: "no",
        class: "AuthError",
        python_base: "",
        php_base: "RuntimeException",
    }
    /// The tokens are valid but do not allow this call.
    AccessDenied = 7 {
        name: "ACCESS_DENIED",
        advice: "Check the application's scope, the user's rights and the portal's plan.",
        retryable: "no",
        class: "AccessDenied",
        python_base: "PermissionError",
        php_base: "RuntimeException",
    }
    /// The portal knows no such message of this application and provider code.
    MessageNotFound = 8 {
        name: "MESSAGE_NOT_FOUND",
        advice: "Drop the update.",
        retryable: "no",
        class: "MessageNotFound",
        python_base: "LookupError",
        php_base: "OutOfBoundsException",
    }
    /// The portal's limits do not allow the call before its deadline.
    RateLimited = 9 {
        name: "RATE_LIMITED",
        advice: "Call again after the time that the error says, and send batches.",
        retryable: "yes, but not after `OVERLOAD_LIMIT`",
        class: "RateLimited",
        python_base: "",
        php_base: "RuntimeException",
    }
    /// Any other refusal by the portal.
    Portal = 10 {
        name: "PORTAL",
        advice: "See the portal's own error code.",
        retryable: "depends on the portal's code and the HTTP status",
        class: "PortalError",
        python_base: "",
        php_base: "RuntimeException",
    }
    /// The portal moved to an address that the token may not be sent to.
    PortalMoved = 11 {
        name: "PORTAL_MOVED",
        advice: "Check the address in the message. If it is the customer's, add its host to `redirect_hosts`.",
        retryable: "no",
        class: "PortalMoved",
        python_base: "",
        php_base: "RuntimeException",
    }
    /// The call was cancelled while it was under way. The portal may or may not have executed it.
    Cancelled = 12 {
        name: "CANCELLED",
        advice: "Call again if it is still wanted.",
        retryable: "no",
        class: "Cancelled",
        python_base: "",
        php_base: "RuntimeException",
    }
    /// A bug in this library, or there was no free file descriptor or thread. The client can still be
    /// used.
    Internal = 13 {
        name: "INTERNAL",
        advice: "Raise the limit that the message names. If it names none, please report the bug.",
        retryable: "only if there was no free file descriptor or thread",
        class: "InternalError",
        python_base: "",
        php_base: "LogicException",
    }
    /// The store, or a file in `state_dir`, could not be read, written or locked. The message names it.
    Storage = 14 {
        name: "STORAGE",
        advice: "Check disk space, permissions and the limit of open files.",
        retryable: "depends on the cause: yes after a full disk, no without permissions",
        class: "StorageError",
        python_base: "OSError",
        php_base: "RuntimeException",
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

    /// With a further sentence for people.
    pub(crate) fn and_advice(mut self, advice: &str) -> Self {
        let details = Arc::make_mut(&mut self.0);
        let message = details.message.trim_end_matches('.');
        details.message = format!("{message}. {advice}");
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
