//! Text in URLs, encoded so that the portal's PHP reads it back.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Display;

/// What is not unreserved in a URL (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes everything that is not unreserved in a URL.
pub(crate) fn percent_encode(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

/// The characters that have another meaning in the name of a file.
const NOT_PLAIN: &AsciiSet = &RESERVED.add(b'~');

/// Encodes these characters for the name of a file. The digits are in lower case in every version of
/// this library, because another one would not find the files.
pub(crate) fn percent_encode_file_name(text: &str) -> String {
    let pieces = utf8_percent_encode(text, NOT_PLAIN);
    let in_lower_case = |piece: &str| match piece.strip_prefix('%') {
        Some(digits) => format!("%{}", digits.to_ascii_lowercase()),
        None => piece.to_owned(),
    };
    pieces.map(in_lower_case).collect()
}
