//! `messageservice.message.status.update`: the status of one message.

use crate::engine::installation::Installation;
use crate::engine::method::{Method, Request, write_json};
use crate::engine::operation::Operation;
use crate::process::cancellation::Limits;
use crate::process::keyed_queue::{Key, KeyedQueues, queues};
use crate::protocol::error_table::{AttemptError, CodeRow, RetryAction, row};
use crate::protocol::response::{Operating, Response, Source, read_true};
use crate::values::error::{Error, ErrorKind};
use crate::values::status::ValidUpdate;
use serde::Serialize;
use std::sync::Arc;

pub(crate) const NAME: &str = "messageservice.message.status.update";

/// Reporting a status again is harmless: the portal keeps what arrives last.
pub(crate) static METHOD: Method = Method {
    path: "/rest/messageservice.message.status.update",
    idempotent: true,
    budget: NAME,
    codes: CODES,
    after_timeout: "send the update again, which is harmless if it was stored already",
};

/// The error codes of an update, also in a batch.
pub(super) const CODES: &[CodeRow] = &[
    row(
        "ERROR_MESSAGE_STATUS_INCORRECT",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "This portal takes other statuses; try sent, delivered, undelivered or failed",
    ),
    row(
        "ERROR_MESSAGE_NOT_FOUND",
        ErrorKind::MessageNotFound,
        RetryAction::Never,
        "Give the message_id and code that this portal sent to the handler of the same application",
    ),
];

/// Sends one update, after earlier ones for the same message.
pub(crate) fn update(
    installation: &Arc<Installation>,
    limits: &Limits,
    update: ValidUpdate<'_>,
) -> Result<(), Error> {
    let mut operation = Operation::begin(installation, limits, &METHOD)?;
    let queues = queues(&operation.process);
    let turn = queues.queue_up(turn_key(installation, &queues, update));
    turn.wait(&operation.call).map_err(|interrupt| {
        let doing = "waiting for an earlier update of the same message";
        operation.call.error(interrupt, doing)
    })?;
    operation.post(&update)
}

/// The queue of a message, which all clients of its portal share. A portal that has moved is still
/// identified by the configured address.
pub(super) fn turn_key(
    installation: &Installation,
    queues: &KeyedQueues,
    update: ValidUpdate<'_>,
) -> Key {
    queues.key((&installation.portal, update.code, update.message_id))
}

impl Request for ValidUpdate<'_> {
    type Output = ();

    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        write_json(
            body,
            &Body {
                code: self.code,
                message_id: self.message_id,
                status: self.status.as_str(),
                auth: token,
            },
        )
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<((), Operating), AttemptError> {
        read_true(response, source)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "CODE")]
    code: &'a str,
    #[serde(rename = "MESSAGE_ID")]
    message_id: &'a str,
    #[serde(rename = "STATUS")]
    status: &'a str,
    auth: &'a str,
}
