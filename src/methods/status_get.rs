//! `messageservice.message.status.get`: the status of a message, by the portal's own number.

use crate::engine::installation::Installation;
use crate::engine::method::{Method, Request, write_json};
use crate::engine::operation::Operation;
use crate::process::cancellation::Limits;
use crate::protocol::error_table::{AttemptError, CodeRow, RetryAction, row};
use crate::protocol::response::{Operating, Response, Source, read};
use crate::values::error::{Error, ErrorKind};
use serde::Serialize;
use std::sync::Arc;

pub(crate) static METHOD: Method = Method {
    path: "/rest/messageservice.message.status.get",
    idempotent: true,
    budget: "messageservice.message.status.get",
    codes: CODES,
    after_timeout: "call again",
};

/// The same code as for an update, but it is another number that is wrong.
const CODES: &[CodeRow] = &[row(
    "ERROR_MESSAGE_NOT_FOUND",
    ErrorKind::MessageNotFound,
    RetryAction::Never,
    "Give the portal's own number of the message, not the id that the handler got",
)];

/// The English name of the status; empty if the message has none.
pub(crate) fn get(
    installation: &Arc<Installation>,
    limits: &Limits,
    message_id: u64,
) -> Result<String, Error> {
    if message_id == 0 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "message id must not be 0; give the portal's own number of the message",
        ));
    }
    let mut operation = Operation::begin(installation, limits, &METHOD)?;
    operation.post(&StatusGet { message_id })
}

struct StatusGet {
    message_id: u64,
}

impl Request for StatusGet {
    type Output = String;

    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "MESSAGE_ID")]
            message_id: u64,
            auth: &'a str,
        }
        let content = Body {
            message_id: self.message_id,
            auth: token,
        };
        write_json(body, &content)
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<(String, Operating), AttemptError> {
        read(response, source, |envelope| {
            let status = envelope
                .result_as()
                .ok_or("an answer that is neither a status nor an error")?;
            Ok((status, envelope.operating()))
        })
    }
}
