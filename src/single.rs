//! A single update.

use crate::answer::read_update;
use crate::client::Inner;
use crate::order::Key;
use crate::process::Process;
use crate::run::{Method, Run};
use crate::status::Checked;
use crate::{Error, ErrorKind};
use serde::Serialize;
use std::sync::Arc;

/// Sends one update, in its turn among those for the same message.
pub(crate) fn update(client: &Arc<Inner>, update: Checked<'_>) -> Result<(), Error> {
    let mut run = Run::begin(client)?;
    let process = Arc::clone(&run.call.process);
    let turn = process.order.queue_up(turn_key(client, &process, update));
    turn.wait(&run.call)
        .map_err(|stop| stop.error("waiting for an earlier update of the same message"))?;
    post(&mut run, update)
}

/// The queue of a message: one for all clients of its portal, whoever they call it for. A portal
/// that has moved is still the one of the configuration.
pub(crate) fn turn_key(client: &Inner, process: &Process, update: Checked<'_>) -> Key {
    let message = (&client.portal, update.code, update.message_id);
    process.order.key(message)
}

/// Sends one update whose turn it is.
pub(crate) fn post(run: &mut Run<'_>, update: Checked<'_>) -> Result<(), Error> {
    let operating = run.post(
        Method::Update,
        |body, token| {
            let content = Body {
                code: update.code,
                message_id: update.message_id,
                status: update.status.as_str(),
                auth: token,
            };
            serde_json::to_writer(body, &content).map_err(|e| unwritable(&e))
        },
        read_update,
    )?;
    run.note_operating(operating);
    Ok(())
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

/// Text always makes JSON; but if it should not, the caller is told and nothing is sent.
pub(crate) fn unwritable(error: &serde_json::Error) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the request could not be written: {error}"),
    )
}
