//! `messageservice.message.status.update`: the status of a message that an application sent.

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Value};
use crate::state::State;

use super::method::{Method, is_empty, message_not_found, sender_code, text};

pub(super) const METHOD: Method = Method {
    name: "messageservice.message.status.update",
    at: At::Update,
    parameters: &["CODE", "MESSAGE_ID", "STATUS"],
    needs_application: true,
    execute,
};

const STATUSES: [&str; 5] = ["queued", "sent", "delivered", "undelivered", "failed"];
const MAX_MESSAGE_ID: usize = 128;

fn execute(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let code = sender_code(params)?;
    let message_id = text(params, "MESSAGE_ID");
    let message_id = message_id
        .filter(|id| !is_empty(id))
        .ok_or_else(message_not_found)?;
    let status = text(params, "STATUS").unwrap_or_default();
    let status = STATUSES
        .into_iter()
        .find(|known| *known == status)
        .ok_or_else(|| {
            Problem::new(
                400,
                "ERROR_MESSAGE_STATUS_INCORRECT",
                "Message status incorrect!",
            )
        })?;
    let key = format!("{code}|{message_id}");
    let messages = &state.portals.here().messages;
    let exists = messages.was_sent(&key)
        || message_id.chars().count() <= MAX_MESSAGE_ID
            && state
                .settings
                .providers
                .iter()
                .any(|known| known == "*" || *known == code)
            && state.settings.messages.iter().any(|known| {
                known == "*" || *known == key || known.strip_suffix("|*") == Some(&code)
            });
    if !exists {
        return Err(message_not_found());
    }
    state.portals.here_mut().messages.store(key, status);
    Ok(Value::Bool(true))
}
