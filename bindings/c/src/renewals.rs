//! `b24_renewals_wait`: the renewals of the process, which belong to no handle.

use crate::error::{attempt, b24_code, b24_error};
use b24_messageservice::{Error, ErrorKind, renewals_wait};
use std::time::Duration;

/// Waits until no renewal of tokens is under way in this process, for timeout_ms at most.
///
/// A renewal outlives the call that began it: when its request has been sent, the old refresh token
/// may be spent, and the answer holds the only good pair. It is awaited and stored on a thread of
/// its own, also after the call timed out or was cancelled, or its client was freed. So call this
/// before the process ends: before main returns, or before exit; 45000 milliseconds outlast any renewal.
/// A process that ends by _exit, abort or a signal loses the answer. A forked child has no renewal of its
/// parent: the parent finishes it.
///
/// Any thread but that of a b24_renewal_callback. B24_TIMEOUT if one is still under way, at once if
/// timeout_ms is 0; B24_INVALID_ARGUMENT if timeout_ms is negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_renewals_wait(
    timeout_ms: i64,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let timeout = u64::try_from(timeout_ms).map_err(|_| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    "timeout_ms is negative: give the milliseconds to wait, 0 or more",
                )
            })?;
            renewals_wait(Duration::from_millis(timeout))
        })
    }
}
