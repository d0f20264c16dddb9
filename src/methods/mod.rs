//! The REST methods, one file each: a method's name, whether it is idempotent, how its request is
//! written, how its answer is read, and what its error codes mean.

#[cfg(feature = "provider")]
pub(crate) mod application;
pub(crate) mod batch;
pub(crate) mod sender;
pub(crate) mod status_get;
pub(crate) mod status_update;

/// Every method, for the documentation of its error codes.
pub(crate) static ALL: &[&crate::engine::method::Method] = &[
    &status_update::METHOD,
    &batch::METHOD,
    &status_get::METHOD,
    &sender::ADD,
    &sender::UPDATE,
    &sender::DELETE,
    &sender::LIST,
];
