//! An option's name and value.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some((name, value)) = text.split_once('=') {
        fuzzing::option(name, value);
    }
});
