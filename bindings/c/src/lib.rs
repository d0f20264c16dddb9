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
pub mod version;

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
