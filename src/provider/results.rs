//! What a provider returns: counts of a drain, states of portals, and refused receipts.

use crate::store::receipts;
use crate::store::references;
use crate::values::error::{Error, ErrorKind};
use std::time::Duration;

/// What a drain has done, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// How many receipts portals have stored.
    pub sent: u64,
    /// How many were refused for good. [`Provider::refused`](crate::Provider::refused) lists them with their reasons.
    pub refused: u64,
    /// How many are in the store for portals that are held.
    pub held: u64,
    /// How many others are in the store.
    pub waiting: u64,
    /// How long until the first of those can be sent; `None` if there is none.
    pub next_due: Option<Duration>,
}

/// What was moved from one store to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// How many installations, removed ones included.
    pub installations: u64,
    /// How many messages with a status, settled ones included.
    pub receipts: u64,
}

/// What the store has about a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortalState {
    /// The portal's permanent id.
    pub member_id: String,
    /// Its REST address; empty if it is not known.
    pub client_endpoint: String,
    /// `active`, `waiting` (after a failure of the portal), `held`, `uninstalled` or `unknown`.
    pub state: &'static str,
    /// Why it is waiting or held; empty otherwise.
    pub reason: String,
    /// Receipts that are not sent yet, held ones included.
    pub waiting: u64,
    /// Receipts that were refused and are kept with the reason.
    pub refused: u64,
    /// How old the oldest of those that wait is.
    pub oldest: Option<Duration>,
    /// How long until the next can be sent.
    pub next_due: Option<Duration>,
}

/// A receipt that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedReceipt {
    /// What to give to [`Provider::refused`](crate::Provider::refused) to get those after this one.
    pub cursor: String,
    /// The portal's permanent id; empty for a reference that was never tracked.
    pub member_id: String,
    /// The provider code.
    pub code: String,
    /// The portal's id of the message.
    pub message_id: String,
    /// The operator of `reference`.
    pub operator: String,
    /// The operator's reference, if it was reported by that and never tracked.
    pub reference: String,
    /// The status that was not sent.
    pub status: &'static str,
    /// When the status came about, in Unix milliseconds.
    pub at_ms: i64,
    /// Why: the portal's code, or what happened.
    pub reason: String,
}

impl PortalState {
    pub(super) fn new(member_id: &str) -> Self {
        Self {
            member_id: member_id.to_owned(),
            client_endpoint: String::new(),
            state: "unknown",
            reason: String::new(),
            waiting: 0,
            refused: 0,
            oldest: None,
            next_due: None,
        }
    }
}

impl RefusedReceipt {
    pub(super) fn of_message(refused: receipts::Refusal) -> Self {
        Self {
            cursor: Cursor::message(&refused.member_id, &refused.code, &refused.message_id),
            member_id: refused.member_id,
            code: refused.code,
            message_id: refused.message_id,
            operator: String::new(),
            reference: String::new(),
            status: refused.status.as_str(),
            at_ms: refused.happened_at,
            reason: refused.reason,
        }
    }

    pub(super) fn of_reference(refused: references::RefusedReference) -> Self {
        Self {
            cursor: Cursor::reference(&refused.operator, &refused.reference),
            member_id: String::new(),
            code: String::new(),
            message_id: String::new(),
            operator: refused.operator,
            reference: refused.reference,
            status: refused.status.as_str(),
            at_ms: refused.happened_at,
            reason: refused.reason,
        }
    }
}

/// A place in the list of refused receipts: first those of messages, then those of references.
pub(super) enum Cursor {
    Message(String, String, String),
    Reference(String, String),
}

impl Cursor {
    fn message(member_id: &str, code: &str, message_id: &str) -> String {
        // Texts can always be written as JSON.
        serde_json::to_string(&[member_id, code, message_id]).unwrap_or_default()
    }

    fn reference(operator: &str, reference: &str) -> String {
        serde_json::to_string(&[operator, reference]).unwrap_or_default()
    }

    pub(super) fn read(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::Message(String::new(), String::new(), String::new()));
        }
        let parts: Vec<String> = serde_json::from_str(text).unwrap_or_default();
        match <[String; 3]>::try_from(parts) {
            Ok([member_id, code, message_id]) => Ok(Self::Message(member_id, code, message_id)),
            Err(parts) => match <[String; 2]>::try_from(parts) {
                Ok([operator, reference]) => Ok(Self::Reference(operator, reference)),
                Err(_) => Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "after is not the cursor of a refused receipt: give that of the last one of the \
                     list before, or an empty text",
                )),
            },
        }
    }
}
