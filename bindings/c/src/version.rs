//! Which version of the library is loaded, and whether it fits the header.

use crate::code::b24_code;
use crate::error::{attempt, b24_error};
use b24_messageservice::{Error, ErrorKind};
use libc::c_char;
use std::ffi::CStr;

const MAJOR: i32 = number(env!("CARGO_PKG_VERSION_MAJOR"));
const MINOR: i32 = number(env!("CARGO_PKG_VERSION_MINOR"));
const PATCH: i32 = number(env!("CARGO_PKG_VERSION_PATCH"));
/// As the header's `B24_VERSION_NUMBER`.
const NUMBER: i32 = MAJOR * 1_000_000 + MINOR * 1000 + PATCH;

/// Reads digits, when this is compiled.
const fn number(digits: &str) -> i32 {
    match i32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("Cargo's version is one of three numbers"),
    }
}

/// The version of the library that was loaded, such as "1.2.3".
///
/// A static string: never freed. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn b24_version() -> *const c_char {
    const VERSION: &[u8] = concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes();
    CStr::from_bytes_with_nul(VERSION)
        .unwrap_or_default()
        .as_ptr()
}

/// The version of the library that was loaded as a number, such as 1002003 for 1.2.3. The header's
/// own is B24_VERSION_NUMBER.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn b24_version_number() -> i32 {
    NUMBER
}

/// Checks whether the library that was loaded fits the header that the program was compiled with:
/// call b24_version_check(B24_VERSION_NUMBER, &error) when the program starts.
///
/// The library fits if it has the same major version, and not an earlier minor version. Any thread.
/// B24_INVALID_ARGUMENT if it does not; the message names both versions, and says what to install.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_version_check(header: i32, error: *mut *mut b24_error) -> b24_code {
    // SAFETY: by the header's conventions, `error` is NULL or a place.
    unsafe { attempt(error, || check(header)) }
}

fn check(header: i32) -> Result<(), Error> {
    let (major, minor, patch) = (header / 1_000_000, header / 1000 % 1000, header % 1000);
    let advice = if header <= 0 {
        "which is no version: pass B24_VERSION_NUMBER"
    } else if major != MAJOR {
        "another major version: install the library of the header, or compile with the library's own header"
    } else if minor > MINOR {
        "a later one: install the library of the header, or see that the program loads no other"
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "the library is {}, and the header of the program {major}.{minor}.{patch}, {advice}",
            env!("CARGO_PKG_VERSION")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_major_version_and_no_later_minor_one_fits() {
        assert!(check(NUMBER).is_ok());
        assert!(check(MAJOR * 1_000_000 + MINOR * 1000 + 999).is_ok());
        assert!(check(MAJOR * 1_000_000).is_ok());
        for (header, text, advice) in [
            (
                NUMBER + 1000,
                format!("{MAJOR}.{}.{PATCH}", MINOR + 1),
                "later",
            ),
            (
                NUMBER + 1_000_000,
                format!("{}.{MINOR}.{PATCH}", MAJOR + 1),
                "major",
            ),
            (
                NUMBER - 1_000_000,
                format!("{}.{MINOR}.{PATCH}", MAJOR - 1),
                "B24_VERSION_NUMBER",
            ),
            (i32::MIN, "-2147.".to_owned(), "B24_VERSION_NUMBER"),
        ] {
            let refused = check(header).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            let message = refused.message();
            assert!(message.contains(env!("CARGO_PKG_VERSION")), "{message}");
            assert!(
                message.contains(&text) && message.contains(advice),
                "{message}"
            );
        }
    }
}
