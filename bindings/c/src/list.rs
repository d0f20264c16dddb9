//! `b24_list`.

use crate::ffi::{Handle, c_string, guard};
use libc::{c_char, size_t};
use std::ffi::{CStr, CString};

/// The result of a call: rows, whose values have names. It never changes, so any number of threads
/// may read it at once.
pub struct b24_list {
    _private: [u8; 0],
}

impl Handle for b24_list {
    type Value = List;
}

/// Rows of one value each, all under the same name.
pub(crate) struct List {
    name: &'static CStr,
    values: Vec<CString>,
}

impl List {
    pub(crate) fn new(name: &'static CStr, values: &[String]) -> Self {
        Self {
            name,
            values: values.iter().map(|value| c_string(value)).collect(),
        }
    }

    fn get(&self, row: size_t, name: &CStr) -> Option<&CStr> {
        let value = self.values.get(row)?;
        (name == self.name).then_some(value)
    }
}

/// How many rows a list has. 0 for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_list_len(list: *const b24_list) -> size_t {
    // SAFETY: by the header's conventions, `list` is NULL or live.
    unsafe { b24_list::borrow(list) }.map_or(0, |list| list.values.len())
}

/// The value with this name in a row, counted from 0; the function that made the list says which
/// names there are. "" if there is no such row or name.
///
/// The text lives as long as the list. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_list_get(
    list: *const b24_list,
    row: size_t,
    name: *const c_char,
) -> *const c_char {
    if name.is_null() {
        return c"".as_ptr();
    }
    // SAFETY: by the header's conventions, `list` is NULL or live, and `name` is NUL-terminated.
    let (list, name) = unsafe { (b24_list::borrow(list), CStr::from_ptr(name)) };
    list.and_then(|list| list.get(row, name))
        .unwrap_or_default()
        .as_ptr()
}

/// Frees a list and its texts. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_list_free(list: *mut b24_list) {
    // SAFETY: by the header's conventions, the caller owns `list` and does not use it again.
    guard((), || unsafe { b24_list::free(list) });
}
