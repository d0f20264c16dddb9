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

/// Rows that have a value for each of the names.
pub(crate) struct List {
    names: &'static [&'static CStr],
    /// Those of the first row, then those of the next.
    values: Vec<CString>,
}

impl List {
    pub(crate) fn new<const N: usize>(
        names: &'static [&'static CStr; N],
        rows: impl IntoIterator<Item = [CString; N]>,
    ) -> Self {
        Self {
            names,
            values: rows.into_iter().flatten().collect(),
        }
    }

    /// Rows of one value each.
    pub(crate) fn of_texts(name: &'static [&'static CStr; 1], texts: &[String]) -> Self {
        Self::new(name, texts.iter().map(|text| [c_string(text)]))
    }

    fn len(&self) -> usize {
        self.values.chunks(self.names.len().max(1)).len()
    }

    fn get(&self, row: size_t, name: &CStr) -> Option<&CStr> {
        let column = self.names.iter().position(|known| *known == name)?;
        let at = row.checked_mul(self.names.len())?.checked_add(column)?;
        self.values.get(at).map(CString::as_c_str)
    }
}

/// How many rows a list has. 0 for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_list_len(list: *const b24_list) -> size_t {
    // SAFETY: by the header's conventions, `list` is NULL or live.
    unsafe { b24_list::borrow(list) }.map_or(0, List::len)
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
