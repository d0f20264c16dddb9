//! What a portal posts: its content type in the first line, then the body.
#![no_main]

use b24_messageservice::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    if let (Some(content_type), Some(body)) = (parts.next(), parts.next())
        && let Ok(content_type) = std::str::from_utf8(content_type)
    {
        fuzzing::fields(content_type, body);
    }
});
