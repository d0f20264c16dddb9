//! The protocol, without any traffic: requests, answers, and the meaning of error codes.

pub(crate) mod error_table;
pub(crate) mod form;
pub(crate) mod renewal_response;
pub(crate) mod response;
