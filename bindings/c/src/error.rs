//! `b24_error`.

use crate::code::{NAMES, b24_code};
use crate::ffi::{Handle, c_string, catch, guard, in_ms, set_out};
use b24_messageservice::Error;
use libc::{c_char, c_int};
use std::ffi::CString;
use std::sync::{Arc, OnceLock};

/// Why a call failed. It comes from the failed call and is freed with b24_error_free; one from
/// b24_batch_error is borrowed. It never changes, so any number of threads may read it at once.
pub struct b24_error {
    _private: [u8; 0],
}

impl Handle for b24_error {
    type Value = Failure;
}

/// An error, and its texts as C strings, made when one is first asked for.
pub(crate) struct Failure {
    error: Error,
    texts: OnceLock<Texts>,
}

struct Texts {
    message: CString,
    portal_code: CString,
    description: CString,
}

impl Failure {
    pub(crate) fn new(error: Error) -> Self {
        Self {
            error,
            texts: OnceLock::new(),
        }
    }

    /// One for several updates of a batch.
    pub(crate) fn shared(error: Error) -> Arc<Self> {
        Arc::new(Self::new(error))
    }

    fn texts(&self) -> &Texts {
        self.texts.get_or_init(|| Texts {
            message: c_string(self.error.message()),
            portal_code: c_string(self.error.portal_code()),
            description: c_string(self.error.description()),
        })
    }

    pub(crate) fn error(&self) -> &Error {
        &self.error
    }
}

/// Runs the body of a function that returns a code, and reports its failure or panic.
///
/// # Safety
/// `error` is NULL or points to a place for one pointer.
pub(crate) unsafe fn attempt(
    error: *mut *mut b24_error,
    body: impl FnOnce() -> Result<(), Error>,
) -> b24_code {
    let outcome = catch(body).unwrap_or_else(Err);
    let (code, failure) = match outcome {
        Ok(()) => (b24_code::B24_OK, std::ptr::null_mut()),
        Err(reason) if error.is_null() => (reason.kind().into(), std::ptr::null_mut()),
        Err(reason) => (reason.kind().into(), b24_error::give(Failure::new(reason))),
    };
    // SAFETY: the caller vouches for `error`.
    unsafe { set_out(error, failure) };
    code
}

/// Reads an error; `absent` is the result for NULL.
///
/// # Safety
/// `error` is NULL or a live error.
unsafe fn look<T>(error: *const b24_error, absent: T, body: impl FnOnce(&Failure) -> T) -> T {
    // SAFETY: the caller vouches for the handle, which outlives this call.
    match unsafe { b24_error::borrow(error) } {
        Some(failure) => body(failure),
        None => absent,
    }
}

/// The kind of failure. NULL is no failure: B24_OK.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_code(error: *const b24_error) -> b24_code {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe { look(error, b24_code::B24_OK, |f| f.error.kind().into()) }
}

/// For people: what happened and what to do next. It never contains a token or another secret.
///
/// The text lives as long as the error. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_message(error: *const b24_error) -> *const c_char {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe { look(error, c"".as_ptr(), |f| f.texts().message.as_ptr()) }
}

/// The portal's own error code as it wrote it, such as "ERROR_MESSAGE_NOT_FOUND"; "" if none.
///
/// The text lives as long as the error. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_portal_code(error: *const b24_error) -> *const c_char {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe { look(error, c"".as_ptr(), |f| f.texts().portal_code.as_ptr()) }
}

/// The portal's own description of the error; "" if none.
///
/// The text lives as long as the error. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_description(error: *const b24_error) -> *const c_char {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe { look(error, c"".as_ptr(), |f| f.texts().description.as_ptr()) }
}

/// The HTTP status of the answer that decided; 0 if there was none, and for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_http_status(error: *const b24_error) -> i32 {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe { look(error, 0, |f| f.error.http_status().map_or(0, i32::from)) }
}

/// Whether the same call may succeed later without anyone changing anything. false for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_is_retryable(error: *const b24_error) -> bool {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe { look(error, false, |f| f.error.is_retryable()) }
}

/// How many milliseconds to wait before the same call can succeed; -1 if unknown, and for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_retry_after_ms(error: *const b24_error) -> i64 {
    // SAFETY: by the header's conventions, `error` is NULL or live.
    unsafe {
        look(error, -1, |f| match f.error.retry_after() {
            Some(wait) => in_ms(wait),
            None => -1,
        })
    }
}

/// A `b24_code` as C passes it: it may be a value that this version does not know, which an enum of
/// Rust must not be.
#[repr(transparent)]
pub struct AnyCode(c_int);

/// The name of a code: "B24_TIMEOUT" for B24_TIMEOUT. For logs and messages.
///
/// A static string: never freed. "B24_UNKNOWN" for a value that this version does not know. Any
/// thread. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn b24_code_name(code: AnyCode) -> *const c_char {
    let name = usize::try_from(code.0)
        .ok()
        .and_then(|code| NAMES.get(code));
    name.map_or(c"B24_UNKNOWN".as_ptr(), |name| name.as_ptr())
}

/// Frees an error and its texts. NULL is allowed; an error borrowed from a batch is not.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_error_free(error: *mut b24_error) {
    // SAFETY: by the header's conventions, the caller owns `error` and does not use it again.
    guard((), || unsafe { b24_error::free(error) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use b24_messageservice::tables::KINDS;
    use std::ffi::CStr;

    /// The numbers are part of the ABI, and the core documents that its own are the same.
    #[test]
    fn codes_are_the_kinds_of_the_core() {
        for row in KINDS {
            let number = row.kind as i32;
            assert_eq!(b24_code::from(row.kind) as i32, number);
            // SAFETY: a name is static and NUL-terminated.
            let name = unsafe { CStr::from_ptr(b24_code_name(AnyCode(number))) };
            assert_eq!(name.to_str().unwrap(), format!("B24_{}", row.name));
        }
    }

    #[test]
    fn a_panic_becomes_an_error_that_quotes_no_data() {
        let mut error = std::ptr::null_mut();
        // SAFETY: `error` is a place for a pointer.
        let code = unsafe { attempt(&raw mut error, || panic!("token-0001")) };
        assert_eq!(code, b24_code::B24_INTERNAL);
        // SAFETY: `error` was just given, and is freed once.
        unsafe {
            assert_eq!(b24_error_code(error), b24_code::B24_INTERNAL);
            let message = CStr::from_ptr(b24_error_message(error)).to_str().unwrap();
            assert!(message.contains("error.rs"), "{message}");
            assert!(!message.contains("token-0001"), "{message}");
            b24_error_free(error);
        }
    }

    #[test]
    fn a_panic_without_a_place_for_its_error_is_told_by_the_code() {
        // SAFETY: NULL is allowed.
        let code = unsafe { attempt(std::ptr::null_mut(), || panic!()) };
        assert_eq!(code, b24_code::B24_INTERNAL);
    }
}
