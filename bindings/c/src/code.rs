//! `b24_code`. Written by `make generate` from the kinds of error in `src/values/error.rs`.

use b24_messageservice::ErrorKind;
use std::ffi::CStr;

/// The outcome of a call. The values never change. Later versions may add some, so treat one that
/// you do not know as B24_INTERNAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum b24_code {
    /// Success.
    B24_OK = 0,
    /// An argument is not valid: it was not sent, or the portal refused it. Correct the program
    /// that made the call.
    B24_INVALID_ARGUMENT = 1,
    /// An option is unknown, malformed, missing, or contradicts another, or a file that it names
    /// cannot be used. Correct the option that the message names.
    B24_INVALID_CONFIG = 2,
    /// No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke. Check the network,
    /// DNS, the proxy and ca_file.
    B24_TRANSPORT = 3,
    /// The deadline of the call passed. The portal may or may not have executed it. The message
    /// says whether to call again.
    B24_TIMEOUT = 4,
    /// The answer is not one of a portal. Check what answers at the address in portal.
    B24_PROTOCOL = 5,
    /// The tokens are no longer valid, and could not be renewed. Have the application authorized or
    /// installed again.
    B24_AUTH = 6,
    /// The tokens are valid but do not allow this call. Check the application's scope, the user's
    /// rights and the portal's plan.
    B24_ACCESS_DENIED = 7,
    /// The portal knows no such message of this application and provider code. Drop the update.
    B24_MESSAGE_NOT_FOUND = 8,
    /// The portal's limits do not allow the call before its deadline. Call again after the time
    /// that the error says, and send batches.
    B24_RATE_LIMITED = 9,
    /// Any other refusal by the portal. See the portal's own error code.
    B24_PORTAL = 10,
    /// The portal moved to an address that the token may not be sent to. Check the address in the
    /// message. If it is the customer's, add its host to redirect_hosts.
    B24_PORTAL_MOVED = 11,
    /// The call was cancelled while it was under way. The portal may or may not have executed it.
    /// Call again if it is still wanted.
    B24_CANCELLED = 12,
    /// A bug in this library, or there was no free file descriptor or thread. The client can still
    /// be used. Raise the limit that the message names. If it names none, please report the bug.
    B24_INTERNAL = 13,
    /// The store, or a file in state_dir, could not be read, written or locked. The message names
    /// it. Check disk space, permissions and the limit of open files.
    B24_STORAGE = 14,
}

impl From<ErrorKind> for b24_code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => Self::B24_INVALID_ARGUMENT,
            ErrorKind::InvalidConfig => Self::B24_INVALID_CONFIG,
            ErrorKind::Transport => Self::B24_TRANSPORT,
            ErrorKind::Timeout => Self::B24_TIMEOUT,
            ErrorKind::Protocol => Self::B24_PROTOCOL,
            ErrorKind::Auth => Self::B24_AUTH,
            ErrorKind::AccessDenied => Self::B24_ACCESS_DENIED,
            ErrorKind::MessageNotFound => Self::B24_MESSAGE_NOT_FOUND,
            ErrorKind::RateLimited => Self::B24_RATE_LIMITED,
            ErrorKind::Portal => Self::B24_PORTAL,
            ErrorKind::PortalMoved => Self::B24_PORTAL_MOVED,
            ErrorKind::Cancelled => Self::B24_CANCELLED,
            ErrorKind::Storage => Self::B24_STORAGE,
            // INTERNAL; there is no other, as long as this file is up to date.
            _ => Self::B24_INTERNAL,
        }
    }
}

/// The names, by value.
pub(crate) const NAMES: &[&CStr] = &[
    c"B24_OK",
    c"B24_INVALID_ARGUMENT",
    c"B24_INVALID_CONFIG",
    c"B24_TRANSPORT",
    c"B24_TIMEOUT",
    c"B24_PROTOCOL",
    c"B24_AUTH",
    c"B24_ACCESS_DENIED",
    c"B24_MESSAGE_NOT_FOUND",
    c"B24_RATE_LIMITED",
    c"B24_PORTAL",
    c"B24_PORTAL_MOVED",
    c"B24_CANCELLED",
    c"B24_INTERNAL",
    c"B24_STORAGE",
];
