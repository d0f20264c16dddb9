//! A receipt: the status of a message of a portal, and when it came about.

#[cfg(feature = "provider")]
use super::error::{Error, ErrorKind};
#[cfg(feature = "provider")]
use super::shown::shown;
use super::status::Update;
use std::time::SystemTime;

/// The status of one message of one portal, as a provider reports it. A clone is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) member_id: String,
    pub(crate) update: Update,
    pub(crate) at: Option<SystemTime>,
}

impl Receipt {
    /// A receipt that came about now. If it cannot be stored, its outcome says so.
    pub fn new(
        member_id: impl Into<String>,
        code: impl Into<String>,
        message_id: impl Into<String>,
        status: impl AsRef<str>,
    ) -> Self {
        Self {
            member_id: member_id.into(),
            update: Update::new(code, message_id, status),
            at: None,
        }
    }

    #[cfg(feature = "provider")]
    pub(crate) fn of(member_id: &str, update: Update) -> Self {
        Self {
            member_id: member_id.to_owned(),
            update,
            at: None,
        }
    }

    /// The same, with the time when the status came about.
    #[must_use]
    pub fn at(mut self, at: SystemTime) -> Self {
        self.at = Some(at);
        self
    }
}

/// What an operator calls a message by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    pub(crate) operator: &'a str,
    pub(crate) reference: &'a str,
}

impl<'a> Reference<'a> {
    /// A reference, 1 to 255 bytes.
    pub fn new(reference: &'a str) -> Self {
        Self {
            operator: "",
            reference,
        }
    }

    /// The same reference of one operator, whose references are its own. At most 64 bytes.
    #[must_use]
    pub fn of_operator(mut self, operator: &'a str) -> Self {
        self.operator = operator;
        self
    }
}

#[cfg(feature = "provider")]
impl Reference<'_> {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fault = |what: &str, text: &str, problem: &str| {
            Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{what} {} {problem}", shown(text)),
            ))
        };
        for (what, text, max) in [
            ("reference", self.reference, 255),
            ("operator", self.operator, 64),
        ] {
            if text.len() > max {
                return fault(what, text, &format!("is longer than {max} bytes"));
            }
            if text.chars().any(char::is_control) {
                return fault(what, text, "contains a control character");
            }
        }
        if self.reference.is_empty() {
            return fault("reference", "", "is empty");
        }
        Ok(())
    }
}

impl<'a> From<&'a str> for Reference<'a> {
    fn from(reference: &'a str) -> Self {
        Self::new(reference)
    }
}
