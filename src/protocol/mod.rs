//! The protocol, without any traffic: requests, answers, and the meaning of error codes.

pub(crate) mod error_table;
#[allow(dead_code, reason = "the provider reads requests with it")]
pub(crate) mod fields;
pub(crate) mod form;
pub(crate) mod renewal_response;
pub(crate) mod response;
