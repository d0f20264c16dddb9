//! The methods of the client by name: a row of the `match` for each.

use b24_messageservice::{Client, Error, Update};
use serde_json::Value;

/// What a method returned.
pub(crate) enum Returned {
    Nothing,
    /// One for each update of a batch.
    Outcomes(Vec<Result<(), Error>>),
}

/// Calls the method; `None` if there is none of this name.
pub(crate) fn call(
    client: &Client,
    method: &str,
    arguments: &Value,
) -> Option<Result<Returned, Error>> {
    let text = |name: &str| text(arguments.get(name));
    Some(match method {
        "message_status_update" => client
            .message_status_update(&text("code"), &text("message_id"), text("status"))
            .map(|()| Returned::Nothing),
        "message_status_update_batch" => Ok(Returned::Outcomes(
            client.message_status_update_batch(updates(arguments)),
        )),
        _ => return None,
    })
}

fn updates(arguments: &Value) -> Vec<Update> {
    let rows = arguments.get("updates").and_then(Value::as_array);
    rows.into_iter()
        .flatten()
        .map(|row| Update::new(text(row.get(0)), text(row.get(1)), text(row.get(2))))
        .collect()
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}
