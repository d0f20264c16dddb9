//! The texts of the C ABI: any bytes, with a NUL behind them.
#![no_main]

use std::ffi::{CString, c_char, c_void};
use std::ptr::null_mut;

unsafe extern "C" {
    fn b24_config_new() -> *mut c_void;
    fn b24_config_set(
        config: *mut c_void,
        name: *const c_char,
        value: *const c_char,
        error: *mut *mut c_void,
    ) -> i32;
    fn b24_config_free(config: *mut c_void);
    fn b24_batch_new() -> *mut c_void;
    fn b24_batch_add(
        batch: *mut c_void,
        code: *const c_char,
        message_id: *const c_char,
        status: *const c_char,
    );
    fn b24_batch_len(batch: *const c_void) -> usize;
    fn b24_batch_free(batch: *mut c_void);
    fn b24_error_message(error: *const c_void) -> *const c_char;
    fn b24_error_free(error: *mut c_void);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let mut text = || CString::new(parts.next().unwrap_or_default()).unwrap_or_default();
    let (first, second, third) = (text(), text(), text());
    // SAFETY: every text is NUL-terminated and outlives the calls; every handle is freed once.
    unsafe {
        let config = b24_config_new();
        let mut error = null_mut();
        let code = b24_config_set(config, first.as_ptr(), second.as_ptr(), &raw mut error);
        assert_eq!(code == 0, error.is_null());
        assert!(error.is_null() || *b24_error_message(error) != 0);
        b24_error_free(error);
        b24_config_free(config);
        let batch = b24_batch_new();
        b24_batch_add(batch, first.as_ptr(), second.as_ptr(), third.as_ptr());
        assert_eq!(b24_batch_len(batch), 1);
        b24_batch_free(batch);
    }
});
