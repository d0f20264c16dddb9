//! Reports SMS delivery statuses to Bitrix24: the REST methods of `messageservice`.
//!
//! A [`Client`] is made from a [`Config`] and reports the [`Status`] of messages, one at a time or
//! in batches. A call blocks until the portal has stored them or the deadline has passed. The
//! client reuses connections, repeats what may be repeated, respects the portal's rate limit,
//! renews expired tokens once for all threads, and follows a portal that has moved.
//!
//! ```no_run
//! use b24_messageservice::{Client, Config, ErrorKind, Status};
//!
//! let mut config = Config::new();
//! config.portal("portal.bitrix24.com").access_token("ACCESS_TOKEN");
//! let client = Client::new(&config)?;
//! match client.message_status_update("provider1", "6557…", Status::Delivered) {
//!     Err(error) if error.kind() == ErrorKind::MessageNotFound => println!("forget it: {error}"),
//!     Err(error) if error.is_retryable() => println!("later: {error}"),
//!     outcome => outcome?,
//! }
//! # Ok::<(), b24_messageservice::Error>(())
//! ```
//!
//! Each attempt is logged by the [`log`] crate under the target `b24_messageservice`: at level
//! `debug` if it succeeded, at `info` if it failed. A logger must not make calls of this library: they
//! could wait for the one that is logged.
#![forbid(unsafe_code)]

mod client;
mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod methods;
mod net;
mod options;
mod process;
mod protocol;
#[cfg(feature = "provider")]
mod provider;
#[cfg(shuttle)]
#[doc(hidden)]
#[path = "../tests/schedules/properties/mod.rs"]
pub mod schedules;
mod store;
#[doc(hidden)]
pub mod tables;
mod values;

pub use client::Client;
pub use engine::renewal::renewals_wait;
#[doc(hidden)]
pub use engine::renewal::renewals_wait_interruptible;
#[doc(hidden)]
pub use http::probe::{Probe, ProbeStep, probe};
pub use options::Config;
pub use process::cancellation::CancelToken;
#[cfg(feature = "provider")]
pub use provider::Provider;
#[cfg(feature = "provider")]
pub use provider::request::{Request, RequestKind};
#[cfg(feature = "provider")]
pub use provider::results::{Drained, Moved, PortalState, RefusedReceipt};
#[cfg(feature = "provider")]
#[doc(hidden)]
pub use provider::{after_fork, before_fork};
pub use values::error::{Error, ErrorKind};
pub use values::receipt::{Receipt, Reference};
pub use values::sender::Sender;
pub use values::status::{Status, Update};
pub use values::tokens::Tokens;
pub use values::vocabulary::Vocabulary;

/// The version of this library, `1.2.3`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
