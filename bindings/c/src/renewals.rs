//! `b24_renewals_wait`: renewals belong to the process, not to a handle.

use crate::code::b24_code;
use crate::error::{attempt, b24_error};
use crate::ffi::read_duration;
use b24_messageservice::renewals_wait;
use std::time::Duration;

/// Waits until no renewal of tokens is under way in this process, for timeout_ms at most.
///
/// A renewal may take longer than the call that started it. Once its request has been sent, the old
/// refresh token may no longer work, and only the answer has a pair that does. A thread of its own
/// waits for the answer and stores it, even if the call has timed out or was cancelled, or its
/// client was freed. So call this function before the process ends: before main returns, or before
/// exit. With the default connect_timeout_ms, 45000 milliseconds are enough for a renewal. If
/// the process ends by _exit, abort or a signal, the answer is lost. After a fork, renewals stay
/// with the parent, which finishes them.
///
/// Any thread but that of a b24_renewal_callback. B24_TIMEOUT if a renewal is still under way; at
/// once if timeout_ms is 0. B24_INVALID_ARGUMENT if timeout_ms is negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_renewals_wait(
    timeout_ms: i64,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            renewals_wait(read_duration(
                timeout_ms,
                "timeout_ms",
                Duration::from_millis,
            )?)
        })
    }
}
