//! A Bitrix24 portal for tests.
//!
//! It has the REST methods of the `messageservice` scope over HTTP and TLS, with the errors,
//! batches, limits and token renewal of a real portal. It also fails when a test tells it to: it
//! drops connections, hangs, moves, or runs out of its time budget. A program in another language
//! starts the binary `b24-portal` and uses its control API; a Rust test uses [`Portal`].
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
mod messages;
mod methods;
mod oauth;
pub mod php;
mod portal;
mod portals;
mod requests;
mod senders;
mod settings;
mod state;
mod tls;
mod tokens;

pub use fault::{At, Fault, Kind};
pub use portal::Portal;
pub use settings::{AppInfo, Moved, Operating, Rate, Refusal, Settings, Shape, Told};
pub use state::{Answered, LogEntry, Seen};

/// The examples of the README are tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
