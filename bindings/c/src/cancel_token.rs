//! `b24_cancel_token`, and what handles with limits have in common.

use crate::ffi::{Handle, guard};
use b24_messageservice::{CancelToken, Error, ErrorKind};
use std::time::Duration;

/// Cancels calls one by one: those of handles that b24_client_limited or b24_provider_limited made
/// with it. Once it is cancelled, it stays so. Any number of threads may use one token at once.
pub struct b24_cancel_token {
    _private: [u8; 0],
}

impl Handle for b24_cancel_token {
    type Value = CancelToken;
}

/// Makes a token that is not cancelled.
///
/// The caller frees it with b24_cancel_token_free. Any thread. NULL only after a bug in the library.
#[unsafe(no_mangle)]
pub extern "C" fn b24_cancel_token_new() -> *mut b24_cancel_token {
    guard(std::ptr::null_mut(), || {
        b24_cancel_token::give(CancelToken::new())
    })
}

/// Ends the calls that have this token and are under way with B24_CANCELLED, whatever they wait for,
/// and those that begin later, which send nothing. Other calls go on. An update that is cancelled may
/// have been stored. NULL is allowed.
///
/// Any thread; not from a signal handler. In a forked child it cancels calls of the child alone.
/// Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_cancel_token_cancel(token: *mut b24_cancel_token) {
    // SAFETY: by the header's conventions, `token` is NULL or live.
    let token = unsafe { b24_cancel_token::borrow(token) };
    guard((), || token.map_or((), CancelToken::cancel));
}

/// Frees a token. Handles that were made with it keep what they need of it, and cannot be cancelled
/// by it any more. NULL is allowed.
///
/// Any thread, once, when no other thread is inside a call of it. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_cancel_token_free(token: *mut b24_cancel_token) {
    // SAFETY: by the header's conventions, the caller owns `token` and nobody uses it any more.
    guard((), || unsafe { b24_cancel_token::free(token) });
}

/// The limits of a handle: its timeout, unless that stays as it is, and its token, if there is one.
pub(crate) struct Limits<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) token: Option<&'a CancelToken>,
}

/// Reads the arguments of b24_client_limited and b24_provider_limited.
///
/// # Safety
/// By the header's conventions: `token` is NULL or live during `'a`.
pub(crate) unsafe fn read_limits<'a>(
    timeout_ms: i64,
    token: *const b24_cancel_token,
) -> Result<Limits<'a>, Error> {
    let timeout = u64::try_from(timeout_ms).map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            "timeout_ms is negative: give milliseconds, or 0 to leave it as it is",
        )
    })?;
    Ok(Limits {
        timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
        // SAFETY: as for this function.
        token: unsafe { b24_cancel_token::borrow(token) },
    })
}
