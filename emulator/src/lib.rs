//! A Bitrix24 portal for tests.
//!
//! It speaks the REST methods of the `messageservice` scope over HTTP and TLS, with the errors, the
//! batch, the limits and the token renewal of the real one, and does what a test orders: drops
//! connections, hangs, moves, runs out of time. A program in another language starts the binary
//! `b24-portal` and talks to its control API; a Rust test has the same as [`Portal`].
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use b24_portal::{Portal, Settings};
//!
//! let portal = Portal::start(Settings::default())?;
//! println!("http://127.0.0.1:{}/rest/", portal.http_port());
//! assert_eq!(portal.seen().requests, 0);
//! # Ok(())
//! # }
//! ```

mod answer;
mod batch;
mod connection;
mod control;
mod directory;
mod exchange;
mod fault;
mod http;
mod limits;
mod listener;
mod methods;
mod oauth;
pub mod php;
mod portal;
mod settings;
mod state;
mod tls;

pub use fault::{At, Fault, Kind};
pub use portal::Portal;
pub use settings::{Moved, Operating, Rate, Refusal, Settings, Shape};
pub use state::{Answered, LogEntry, Seen};

/// The examples of the README are tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
