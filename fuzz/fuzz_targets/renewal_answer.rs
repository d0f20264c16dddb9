//! The answer of the authorization server.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    fuzzing::renewal_answer(u16::from_le_bytes(*status), body);
});
