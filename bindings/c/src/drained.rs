//! `b24_drained`.

use crate::ffi::{Handle, guard};

/// What a drain has done, and what is left. It comes from b24_provider_drain. It never changes, so
/// any number of threads may read it at once.
pub struct b24_drained {
    _private: [u8; 0],
}

impl Handle for b24_drained {
    type Value = Counts;
}

#[derive(Default)]
pub(crate) struct Counts {
    sent: u64,
    refused: u64,
    held: u64,
    waiting: u64,
    next_due_ms: i64,
}

#[cfg(feature = "provider")]
impl From<b24_messageservice::Drained> for Counts {
    fn from(drained: b24_messageservice::Drained) -> Self {
        Self {
            sent: drained.sent,
            refused: drained.refused,
            held: drained.held,
            waiting: drained.waiting,
            next_due_ms: drained.next_due.map_or(-1, crate::ffi::in_ms),
        }
    }
}

/// One count; 0 for NULL.
///
/// # Safety
/// `drained` is NULL or live.
unsafe fn count(drained: *const b24_drained, of: impl FnOnce(&Counts) -> u64) -> u64 {
    // SAFETY: the caller vouches for the handle, which outlives this call.
    unsafe { b24_drained::borrow(drained) }.map_or(0, of)
}

/// How many receipts portals have stored during this drain. 0 for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_drained_sent(drained: *const b24_drained) -> u64 {
    // SAFETY: by the header's conventions, `drained` is NULL or live.
    unsafe { count(drained, |counts| counts.sent) }
}

/// How many receipts were refused for good during this drain; b24_provider_refused lists them with
/// their reasons. 0 for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_drained_refused(drained: *const b24_drained) -> u64 {
    // SAFETY: by the header's conventions, `drained` is NULL or live.
    unsafe { count(drained, |counts| counts.refused) }
}

/// How many receipts are in the store for portals that are held; b24_provider_inspect lists these
/// portals. 0 for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_drained_held(drained: *const b24_drained) -> u64 {
    // SAFETY: by the header's conventions, `drained` is NULL or live.
    unsafe { count(drained, |counts| counts.held) }
}

/// How many other receipts are in the store. 0 for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_drained_waiting(drained: *const b24_drained) -> u64 {
    // SAFETY: by the header's conventions, `drained` is NULL or live.
    unsafe { count(drained, |counts| counts.waiting) }
}

/// How many milliseconds after the drain the first of those that wait can be sent; -1 if none
/// waits, and for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_drained_next_due_ms(drained: *const b24_drained) -> i64 {
    // SAFETY: by the header's conventions, `drained` is NULL or live.
    unsafe { b24_drained::borrow(drained) }.map_or(-1, |counts| counts.next_due_ms)
}

/// Frees what b24_provider_drain gave. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_drained_free(drained: *mut b24_drained) {
    // SAFETY: by the header's conventions, the caller owns `drained` and does not use it again.
    guard((), || unsafe { b24_drained::free(drained) });
}
