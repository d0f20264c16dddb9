//! The bytes of an answer, as far as ureq gets them.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else {
        return;
    };
    fuzzing::answer_bytes(*size, bytes);
});
