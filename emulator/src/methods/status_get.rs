//! `messageservice.message.status.get`: the status of a message, by the portal's own number of it.
//! It asks for no installed application, unlike its neighbours.

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Value};
use crate::state::State;

use super::method::{Method, message_not_found, text};

pub(super) const METHOD: Method = Method {
    name: "messageservice.message.status.get",
    at: At::StatusGet,
    parameters: &["MESSAGE_ID"],
    needs_application: false,
    execute,
};

/// A message that the settings do not number has its place in the order in which messages were
/// first told a status.
fn execute(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let number = text(params, "MESSAGE_ID").and_then(|number| number.parse().ok());
    let number: u64 = number.ok_or_else(message_not_found)?;
    if let Some(status) = state.settings.message_statuses.get(&number) {
        return Ok(Value::Str(status.clone()));
    }
    let status = state.portals.here().messages.by_number(number);
    let status = status.ok_or_else(message_not_found)?;
    let (initial, rest) = status.split_at(1);
    Ok(Value::Str(initial.to_ascii_uppercase() + rest))
}
