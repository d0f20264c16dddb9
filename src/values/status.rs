//! A status, and an update: the status of a message.

use super::error::{Error, ErrorKind};
use super::shown::shown;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The statuses of a message, under the portal's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted by the provider, not yet sent.
    Queued,
    /// Handed to the network.
    Sent,
    /// Arrived.
    Delivered,
    /// Could not be delivered.
    Undelivered,
    /// Could not be sent.
    Failed,
}

impl Status {
    /// All statuses, in the order a message may pass through them.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Failed,
    ];

    /// The name that the portal accepts: lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
        }
    }
}

impl AsRef<str> for Status {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    /// Reads a status in any case.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!(
                        "status {} is not one of queued, sent, delivered, undelivered, failed",
                        shown(text)
                    ),
                )
            })
    }
}

/// One update as the caller gave it, not checked yet. A clone is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Update {
    /// Code, line feed, message id, status: in one text, as there may be a million of them.
    text: Arc<str>,
    code_end: usize,
    message_end: usize,
}

impl Update {
    /// An update for a batch. If it cannot be sent, its outcome in the batch says so.
    pub fn new(
        code: impl Into<String>,
        message_id: impl Into<String>,
        status: impl AsRef<str>,
    ) -> Self {
        let mut text = code.into();
        let code_end = text.len();
        text.push('\n');
        text.push_str(&message_id.into());
        let message_end = text.len();
        text.push_str(status.as_ref());
        Self {
            text: text.into(),
            code_end,
            message_end,
        }
    }

    pub(crate) fn check(&self) -> Result<ValidUpdate<'_>, Error> {
        ValidUpdate::new(self.code(), self.message_id(), self.status())
    }

    /// Code and message id. For updates that can be sent they are equal only for the same message.
    pub(crate) fn message(&self) -> &str {
        self.text.get(..self.message_end).unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.text.get(..self.code_end).unwrap_or_default()
    }

    fn message_id(&self) -> &str {
        let from = self.code_end + 1;
        self.text.get(from..self.message_end).unwrap_or_default()
    }

    fn status(&self) -> &str {
        self.text.get(self.message_end..).unwrap_or_default()
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("code", &self.code())
            .field("message_id", &self.message_id())
            .field("status", &self.status())
            .finish()
    }
}

/// An update that may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValidUpdate<'a> {
    pub(crate) code: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) status: Status,
}

const MESSAGE_ID_MAX_CHARS: usize = 128;

impl<'a> ValidUpdate<'a> {
    pub(crate) fn new(code: &'a str, message_id: &'a str, status: &str) -> Result<Self, Error> {
        let status = status.parse()?;
        check_code(code)?;
        check_message_id(message_id)?;
        Ok(Self {
            code,
            message_id,
            status,
        })
    }
}

pub(crate) fn check_code(code: &str) -> Result<(), Error> {
    let problem = if code.is_empty() {
        "is empty"
    } else if code == "0" {
        "is \"0\", which the portal treats as empty"
    } else if !code
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        "may contain only letters A-Z a-z, digits, '.', '_' and '-'"
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("provider code {} {problem}", shown(code)),
    ))
}

fn check_message_id(message_id: &str) -> Result<(), Error> {
    let problem = if message_id.is_empty() {
        "is empty"
    } else if message_id == "0" {
        "is \"0\", which the portal treats as empty"
    } else if message_id.chars().count() > MESSAGE_ID_MAX_CHARS {
        "is longer than 128 characters"
    } else if message_id.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("message id {} {problem}", shown(message_id)),
    ))
}
