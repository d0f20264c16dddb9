//! `b24_tokens`.

use crate::ffi::{Handle, c_string, guard};
use b24_messageservice::Tokens;
use libc::c_char;
use std::ffi::CString;

/// The tokens of an installation at one moment. Store them, to start with them the next time. They
/// never change, so any number of threads may read them at once. The two tokens are secrets.
pub struct b24_tokens {
    _private: [u8; 0],
}

impl Handle for b24_tokens {
    type Value = Snapshot;
}

/// Tokens, and their texts as C strings.
#[derive(Default)]
pub(crate) struct Snapshot {
    access_token: CString,
    refresh_token: CString,
    client_endpoint: CString,
    member_id: CString,
    expires: i64,
}

impl From<&Tokens> for Snapshot {
    fn from(tokens: &Tokens) -> Self {
        Self {
            access_token: c_string(tokens.access_token()),
            refresh_token: c_string(tokens.refresh_token()),
            client_endpoint: c_string(tokens.client_endpoint()),
            member_id: c_string(tokens.member_id()),
            expires: tokens.expires().unwrap_or(0),
        }
    }
}

/// One text of a snapshot; "" for NULL.
///
/// # Safety
/// `tokens` is NULL or a live snapshot.
unsafe fn text(tokens: *const b24_tokens, of: impl FnOnce(&Snapshot) -> &CString) -> *const c_char {
    // SAFETY: the caller vouches for the handle, which outlives this call.
    unsafe { b24_tokens::borrow(tokens) }.map_or(c"".as_ptr(), |snapshot| of(snapshot).as_ptr())
}

/// The token that calls use.
///
/// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_tokens_access_token(tokens: *const b24_tokens) -> *const c_char {
    // SAFETY: by the header's conventions, `tokens` is NULL or live.
    unsafe { text(tokens, |s| &s.access_token) }
}

/// The token for the next renewal, which works once; "" if there is none.
///
/// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_tokens_refresh_token(tokens: *const b24_tokens) -> *const c_char {
    // SAFETY: by the header's conventions, `tokens` is NULL or live.
    unsafe { text(tokens, |s| &s.refresh_token) }
}

/// The portal's REST address, such as "https://portal.bitrix24.com/rest/"; the new one if the
/// portal has moved.
///
/// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_tokens_client_endpoint(tokens: *const b24_tokens) -> *const c_char {
    // SAFETY: by the header's conventions, `tokens` is NULL or live.
    unsafe { text(tokens, |s| &s.client_endpoint) }
}

/// The portal's permanent id; "" until the first renewal.
///
/// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_tokens_member_id(tokens: *const b24_tokens) -> *const c_char {
    // SAFETY: by the header's conventions, `tokens` is NULL or live.
    unsafe { text(tokens, |s| &s.member_id) }
}

/// When the access token expires, in Unix time (seconds); 0 if unknown, and for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_tokens_expires(tokens: *const b24_tokens) -> i64 {
    // SAFETY: by the header's conventions, `tokens` is NULL or live.
    unsafe { b24_tokens::borrow(tokens) }.map_or(0, |snapshot| snapshot.expires)
}

/// Frees a snapshot and its texts. NULL is allowed; the one given to a b24_renewal_callback must
/// not be freed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_tokens_free(tokens: *mut b24_tokens) {
    // SAFETY: by the header's conventions, the caller owns `tokens` and does not use it again.
    guard((), || unsafe { b24_tokens::free(tokens) });
}
