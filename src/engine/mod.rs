//! The engine: one operation from its first attempt to its end, for any method.

pub(crate) mod installation;
pub(crate) mod known_tokens;
pub(crate) mod method;
pub(crate) mod operation;
pub(crate) mod rate_limit;
pub(crate) mod renewal;
mod retry;
