//! A request that the portal has made to the provider's handler.

use std::fmt;

/// What a portal wants of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A message is to be sent.
    Message,
    /// The application was installed (`ONAPPINSTALL`). It is installed already when this is
    /// returned.
    Install,
    /// The application was removed (`ONAPPUNINSTALL`). Its tokens are gone already when this is
    /// returned.
    Uninstall,
    /// A page of the application was opened in a frame. Nothing was stored.
    Frame,
}

impl RequestKind {
    /// Its name in every language: `message`, `install`, `uninstall`, `frame`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Frame => "frame",
        }
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
