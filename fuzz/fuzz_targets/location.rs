//! A `Location` header.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::location(text);
    }
});
