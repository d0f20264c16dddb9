//! Tells Bitrix24 what became of a message: `messageservice.message.status.update`.
#![forbid(unsafe_code)]
#![doc(html_no_source)]

mod client;
mod config;
mod error;
mod status;
mod tokens;

pub use client::Client;
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use status::{Status, Update};
pub use tokens::Tokens;

/// The version of this library, `1.2.3`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
