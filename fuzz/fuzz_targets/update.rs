//! An update's three texts.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut texts = text.splitn(3, '\n');
    if let (Some(code), Some(id), Some(status)) = (texts.next(), texts.next(), texts.next()) {
        fuzzing::update(code, id, status);
    }
});
