//! The protocol, without any traffic: what is written, what is read, and what a refusal means.

pub(crate) mod error_table;
pub(crate) mod form;
pub(crate) mod renewal_response;
pub(crate) mod response;
