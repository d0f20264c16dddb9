//! The C ABI: opaque handles, and functions that convert types, errors and lifetimes.
//!
//! The header `include/b24_messageservice.h` is generated from the comments here, so they are
//! written for readers of C. One file for each C type. The conventions are at the top of the
//! header, from `bindings/c/cbindgen.toml`.
#![allow(
    non_camel_case_types,
    reason = "the names are those of the header, which C programs use"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "the contract of every pointer stands once, at the top of the header"
)]
#![allow(
    clippy::doc_markdown,
    reason = "the comments are C's, where an underscore needs no backticks"
)]

mod ffi;

pub mod code;

// The order of the header, from the first call that a program makes to the last.
pub mod config;

pub mod client;

pub mod cancel_token;

pub mod batch;

pub mod sender;

pub mod list;

pub mod tokens;

pub mod renewals;

pub mod provider;

pub mod request;

pub mod drained;

pub mod vocabulary;

pub mod error;

pub mod log;

use libc::c_char;
use std::ffi::CStr;

/// The version of this library, such as "1.2.3".
///
/// A static string: never freed. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn b24_version() -> *const c_char {
    const VERSION: &[u8] = concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes();
    CStr::from_bytes_with_nul(VERSION)
        .unwrap_or_default()
        .as_ptr()
}
