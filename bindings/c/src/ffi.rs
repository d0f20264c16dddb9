//! How every function of the ABI handles pointers, strings and panics. Below all other modules.

use b24_messageservice::{Error, ErrorKind};
use libc::{c_char, c_void};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::time::Duration;

/// An opaque C struct that stands for a boxed Rust value.
///
/// The struct has no size and is never created. Only its address is used, cast from and to that of
/// the value.
pub(crate) trait Handle: Sized {
    /// The value behind the handle.
    type Value;

    /// Gives a value to the caller, who has to free it.
    fn give(value: Self::Value) -> *mut Self {
        Box::into_raw(Box::new(value)).cast()
    }

    /// Lends a value to the caller, who must not free it.
    fn lend(value: &Self::Value) -> *const Self {
        std::ptr::from_ref(value).cast()
    }

    /// The value of a handle, to read; `None` for NULL.
    ///
    /// # Safety
    /// `handle` is NULL or came from `give` or `lend` and lives on, unchanged, during `'a`.
    unsafe fn borrow<'a>(handle: *const Self) -> Option<&'a Self::Value> {
        // SAFETY: the caller vouches for the pointer; `give` and `lend` made it from a `Value`.
        unsafe { handle.cast::<Self::Value>().as_ref() }
    }

    /// The value of a handle, to change; `None` for NULL.
    ///
    /// # Safety
    /// As `borrow`, with a handle from `give` that nobody else uses during `'a`.
    unsafe fn borrow_mut<'a>(handle: *mut Self) -> Option<&'a mut Self::Value> {
        // SAFETY: the caller vouches for the pointer and for being alone with it.
        unsafe { handle.cast::<Self::Value>().as_mut() }
    }

    /// Drops the value of a handle; does nothing with NULL.
    ///
    /// # Safety
    /// `handle` is NULL or came from `give`, and is not used again.
    unsafe fn free(handle: *mut Self) {
        if handle.is_null() {
            return;
        }
        // SAFETY: `give` made the pointer from a box of `Value`, and the caller gives it back.
        let value = unsafe { Box::from_raw(handle.cast::<Self::Value>()) };
        guard((), move || drop(value));
    }
}

/// Writes to an out-parameter, which may be NULL.
///
/// # Safety
/// `out` is NULL or points to a place for one pointer.
pub(crate) unsafe fn set_out<T>(out: *mut *mut T, value: *mut T) {
    if !out.is_null() {
        // SAFETY: the caller vouches for the place; whatever it held is not read.
        unsafe { out.write(value) };
    }
}

/// Gives a new handle through an out-parameter. If that is NULL, the handle is not made, since
/// nobody could free it.
///
/// # Safety
/// As `set_out`.
pub(crate) unsafe fn give_out<T: Handle>(out: *mut *mut T, value: T::Value) {
    if !out.is_null() {
        // SAFETY: as for this function.
        unsafe { set_out(out, T::give(value)) };
    }
}

/// Reads a string argument.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that lives on, unchanged, during `'a`.
pub(crate) unsafe fn read<'a>(text: *const c_char, name: &str) -> Result<&'a str, Error> {
    if text.is_null() {
        return Err(is_null(name));
    }
    // SAFETY: not NULL, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{name} is not UTF-8: convert the text before the call"),
        )
    })
}

/// The error for an argument that must not be NULL.
pub(crate) fn is_null(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{name} is NULL, but a value is needed"),
    )
}

/// Reads the bytes of an argument, of which there may be none: `bytes` may then be NULL.
///
/// # Safety
/// `bytes` is NULL or points to `length` bytes that live on, unchanged, during `'a`.
pub(crate) unsafe fn read_bytes<'a>(
    bytes: *const c_void,
    length: usize,
    name: &str,
) -> Result<&'a [u8], Error> {
    if length == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() {
        return Err(is_null(name));
    }
    // No object is larger; a slice of that length must not even be made.
    if isize::try_from(length).is_err() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("the length of {name} is not one of an object in memory"),
        ));
    }
    // SAFETY: not NULL and not too long, and the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts(bytes.cast(), length) })
}

/// Reads a time that must not be negative.
pub(crate) fn read_duration(
    count: i64,
    name: &str,
    unit: fn(u64) -> Duration,
) -> Result<Duration, Error> {
    u64::try_from(count).map(unit).map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{name} is negative: give 0 or more"),
        )
    })
}

/// A time in milliseconds, rounded up, so that who waits so long has waited long enough.
pub(crate) fn in_ms(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// A text for C. A NUL in it, which can only come from the network, is replaced by a visible
/// character, so that it does not cut the text off.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text)
        .or_else(|_| CString::new(text.replace('\0', "\u{FFFD}")))
        .unwrap_or_default()
}

/// Runs the body of a function that cannot report a failure; `fallback` is its result after a
/// panic.
pub(crate) fn guard<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch(body).unwrap_or(fallback)
}

/// Turns a panic into an error of kind `Internal`.
///
/// The values that the body changes belong to one handle, and every core type is usable after a
/// panic, hence `AssertUnwindSafe`.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| panic::set_hook(Box::new(note)));
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|_| {
        let place = PLACE.take();
        Error::new(
            ErrorKind::Internal,
            format!(
                "a bug in the library at {place}: please report it; the handle can still be used"
            ),
        )
    })
}

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The panic hook of this library. It logs only the place, because the text of a panic may quote
/// data that is secret. It prints nothing, because standard error belongs to the host program.
fn note(info: &PanicHookInfo<'_>) {
    let place = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    log::error!(target: "b24_messageservice", "a bug in the library at {place}");
    PLACE.set(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(std::rc::Rc<()>);

    struct counted {
        _private: [u8; 0],
    }

    impl Handle for counted {
        type Value = Counted;
    }

    #[test]
    fn after_a_panic_the_fallback_is_given() {
        assert_eq!(guard(7, || panic!()), 7);
    }

    #[test]
    fn a_handle_owns_its_value_until_the_free() {
        let witness = std::rc::Rc::new(());
        let handle = counted::give(Counted(witness.clone()));
        // SAFETY: `handle` was just given, and is freed once, after its last use.
        unsafe {
            let value = counted::borrow(handle).unwrap();
            assert_eq!(std::rc::Rc::strong_count(&value.0), 2);
            counted::free(handle);
            assert!(counted::borrow(std::ptr::null()).is_none());
            counted::free(std::ptr::null_mut());
        }
        assert_eq!(std::rc::Rc::strong_count(&witness), 1);
    }

    #[test]
    fn without_an_out_parameter_nothing_is_made() {
        let witness = std::rc::Rc::new(());
        // SAFETY: NULL is allowed.
        unsafe { give_out::<counted>(std::ptr::null_mut(), Counted(witness.clone())) };
        assert_eq!(std::rc::Rc::strong_count(&witness), 1);
    }

    #[test]
    fn a_nul_inside_a_text_is_shown() {
        assert_eq!(c_string("be\0fore").to_str(), Ok("be\u{FFFD}fore"));
    }
}
