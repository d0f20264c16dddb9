//! The methods of the client by name: a row of the `match` for each.

use b24_messageservice::{Client, Error, Sender, Update};
use serde_json::Value;

/// What a method returned.
pub(crate) enum Returned {
    Nothing,
    Value(Value),
    /// One for each update of a batch.
    Outcomes(Vec<Result<(), Error>>),
}

/// Calls the method; `None` if there is no method of this name.
pub(crate) fn call(
    client: &Client,
    method: &str,
    arguments: &Value,
) -> Option<Result<Returned, Error>> {
    let text = |name: &str| text(arguments.get(name));
    Some(match method {
        "message_status_update" => nothing(client.message_status_update(
            &text("code"),
            &text("message_id"),
            text("status"),
        )),
        "message_status_update_batch" => Ok(Returned::Outcomes(
            client.message_status_update_batch(updates(arguments)),
        )),
        "message_status_get" => {
            let number = arguments.get("message_id").and_then(Value::as_u64);
            value(client.message_status_get(number.unwrap_or_default()))
        }
        "sender_add" => nothing(sender(arguments).and_then(|sender| client.sender_add(&sender))),
        "sender_update" => {
            nothing(sender(arguments).and_then(|sender| client.sender_update(&sender)))
        }
        "sender_delete" => nothing(client.sender_delete(&text("code"))),
        "sender_list" => value(client.sender_list()),
        _ => return None,
    })
}

pub(crate) fn nothing(outcome: Result<(), Error>) -> Result<Returned, Error> {
    outcome.map(|()| Returned::Nothing)
}

fn value<T: Into<Value>>(outcome: Result<T, Error>) -> Result<Returned, Error> {
    outcome.map(|value| Returned::Value(value.into()))
}

/// Each argument but the code is a part of the sender: a text, or a map of language to text.
fn sender(arguments: &Value) -> Result<Sender, Error> {
    let mut sender = Sender::new(text(arguments.get("code")));
    for (name, value) in arguments.as_object().into_iter().flatten() {
        match value {
            Value::Object(texts) => {
                for (language, value) in texts {
                    sender.set(name, Some(language), &text(Some(value)))?;
                }
            }
            value if name != "code" => drop(sender.set(name, None, &text(Some(value)))?),
            _ => {}
        }
    }
    Ok(sender)
}

pub(crate) fn updates(arguments: &Value) -> Vec<Update> {
    let rows = arguments.get("updates").and_then(Value::as_array);
    rows.into_iter()
        .flatten()
        .map(|row| Update::new(text(row.get(0)), text(row.get(1)), text(row.get(2))))
        .collect()
}

pub(crate) fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}
