//! A request that a portal has made to the provider's handler.

use crate::protocol::fields::Fields;
use crate::values::error::{Error, ErrorKind};
use std::fmt;
use std::sync::Arc;

/// What a portal wants of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A message is to be sent.
    Message,
    /// The application was installed (`ONAPPINSTALL`). It is in the store when this is returned.
    Install,
    /// The application was removed (`ONAPPUNINSTALL`). Its tokens are gone when this is returned.
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

/// A request of a portal, as [`Provider::receive`](crate::Provider::receive) returns it. It was
/// checked to be the portal's, except a frame. A clone is cheap. `Debug` shows no values, because
/// tokens are among them.
#[derive(Clone)]
pub struct Request {
    kind: RequestKind,
    fields: Arc<Fields>,
}

impl Request {
    /// Reads a body, and finds out what it is.
    pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Self, Error> {
        let unreadable = |why: &str| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "the request cannot be read: {why}. Give the body and its Content-Type as they \
                     came"
                ),
            )
        };
        let fields = Fields::read(content_type, body).map_err(|why| unreadable(&why))?;
        let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_empty());
        let event = fields.get("event").unwrap_or_default().to_ascii_uppercase();
        let kind = match event.as_str() {
            "ONAPPINSTALL" => RequestKind::Install,
            "ONAPPUNINSTALL" => RequestKind::Uninstall,
            "" if has("AUTH_ID") && has("REFRESH_ID") => RequestKind::Frame,
            "" if has("message_id") && has("code") => RequestKind::Message,
            _ => {
                return Err(unreadable(
                    "it is neither a message, nor an installation or uninstallation, nor the page \
                     of a frame",
                ));
            }
        };
        Ok(Self {
            kind,
            fields: Arc::new(fields),
        })
    }

    /// What the portal wants.
    pub fn kind(&self) -> RequestKind {
        self.kind
    }

    /// The portal's permanent id; empty if a frame does not say it.
    pub fn member_id(&self) -> &str {
        self.auth("member_id")
    }

    /// The portal's REST address as the request says it; empty if it does not. Only the
    /// authorization server is believed about it, so a client does not use this.
    pub fn client_endpoint(&self) -> &str {
        self.auth("client_endpoint")
    }

    /// A field of the request under the portal's own name, such as `message_id` or
    /// `auth[user_id]`. `None` if there is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter()
    }

    /// A member of `auth`, or of a frame, which has some of them at the top.
    pub(super) fn auth(&self, name: &str) -> &str {
        let name = match (self.kind, name) {
            (RequestKind::Frame, "access_token") => "AUTH_ID",
            (RequestKind::Frame, "refresh_token") => "REFRESH_ID",
            (RequestKind::Frame, "expires_in") => "AUTH_EXPIRES",
            (RequestKind::Frame, "application_token") => "APPLICATION_TOKEN",
            (RequestKind::Frame, name) => name,
            (_, name) => return self.get(&format!("auth[{name}]")).unwrap_or_default(),
        };
        self.get(name).unwrap_or_default()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("kind", &self.kind)
            .field("member_id", &self.member_id())
            .finish_non_exhaustive()
    }
}
