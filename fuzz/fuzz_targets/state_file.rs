//! A file of the state directory.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzzing::state_file(data);
});
