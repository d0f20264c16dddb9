//! The answer to a request for the list of senders.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    fuzzing::list_answer(u16::from_le_bytes(*status), body);
});
