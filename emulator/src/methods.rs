//! The methods of the `messageservice` scope, as the portal's own code checks them.

use crate::answer::Problem;
use crate::php::{Array, Key, Value};
use crate::state::State;

/// The method that this portal is about.
pub(crate) const STATUS_UPDATE: &str = "messageservice.message.status.update";

const STATUSES: [&str; 5] = ["queued", "sent", "delivered", "undelivered", "failed"];
const MAX_MESSAGE_ID: usize = 128;
/// The characters that a provider's code may have besides letters and digits.
const CODE_PUNCTUATION: [char; 3] = ['.', '_', '-'];

/// On whose behalf a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// An installed application, by an access token.
    Application,
    /// An inbound webhook, which is no application.
    Webhook,
}

/// Calls a method.
pub(crate) fn call(
    state: &mut State,
    caller: Caller,
    method: &str,
    params: &Array<Value>,
) -> Result<Value, Problem> {
    let method: fn(&mut State, &Array<Value>) -> Result<Value, Problem> = match method {
        STATUS_UPDATE => update_status,
        "messageservice.message.status.get" => get_status,
        "messageservice.sender.add" => add_sender,
        "messageservice.sender.update" => update_sender,
        "messageservice.sender.delete" => delete_sender,
        "messageservice.sender.list" => list_senders,
        _ => {
            return Err(Problem::new(
                404,
                "ERROR_METHOD_NOT_FOUND",
                "Method not found!",
            ));
        }
    };
    if caller == Caller::Webhook {
        return Err(Problem::new(
            403,
            "ACCESS_DENIED",
            "Application context required",
        ));
    }
    method(state, params)
}

fn update_status(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    if let Some(refusal) = &state.settings.answer {
        return Err(refusal.clone().into());
    }
    if let Some(budget) = state.settings.operating {
        let now = state.clock.now();
        if !state.operating_mut().admit(budget, now) {
            return Err(Problem::new(
                429,
                "OPERATION_TIME_LIMIT",
                "Method is blocked due to operation time limit.",
            ));
        }
    }
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
    let exists =
        message_id.chars().count() <= MAX_MESSAGE_ID
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
    state.messages.store(key, status);
    Ok(Value::Bool(true))
}

/// Here messages are numbered in the order in which they were first told a status.
fn get_status(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let number = text(params, "MESSAGE_ID").and_then(|number| number.parse().ok());
    let status = number.and_then(|number| state.messages.by_number(number));
    let status = status.ok_or_else(message_not_found)?;
    let (initial, rest) = status.split_at(1);
    Ok(Value::Str(initial.to_ascii_uppercase() + rest))
}

fn add_sender(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let code = sender_code(params)?;
    let handler = text(params, "HANDLER").unwrap_or_default();
    check_handler(&handler)?;
    if params
        .get_any_case("NAME")
        .is_none_or(|name| matches!(name, Value::Str(text) if is_empty(text)))
    {
        return Err(invalid_sender("Empty sender NAME!"));
    }
    match text(params, "TYPE").unwrap_or_default().as_str() {
        "" | "0" => return Err(invalid_sender("Empty sender message TYPE!")),
        "SMS" => {}
        _ => return Err(invalid_sender("Unknown sender message TYPE!")),
    }
    if state.senders.contains(&code) {
        return Err(Problem::new(
            400,
            "ERROR_SENDER_ALREADY_INSTALLED",
            "Sender already installed!",
        ));
    }
    state.senders.push(code);
    Ok(Value::Bool(true))
}

fn update_sender(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let code = sender_code(params)?;
    if !["HANDLER", "NAME", "DESCRIPTION"]
        .iter()
        .any(|name| params.get_any_case(name).is_some())
    {
        return Err(invalid_sender("No fields to update!"));
    }
    if let Some(handler) = text(params, "HANDLER") {
        check_handler(&handler)?;
    }
    if !state.senders.contains(&code) {
        return Err(sender_not_found());
    }
    Ok(Value::Bool(true))
}

fn delete_sender(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let code = sender_code(params)?;
    let position = state.senders.iter().position(|known| *known == code);
    state.senders.remove(position.ok_or_else(sender_not_found)?);
    Ok(Value::Bool(true))
}

#[expect(clippy::unnecessary_wraps, reason = "has the form of every method")]
fn list_senders(state: &mut State, _: &Array<Value>) -> Result<Value, Problem> {
    let mut codes = Array::default();
    for code in &state.senders {
        codes.push(Value::Str(code.clone()));
    }
    Ok(Value::Array(codes))
}

fn sender_code(params: &Array<Value>) -> Result<String, Problem> {
    let given = params.get_any_case("CODE");
    let code = match given {
        Some(Value::Array(array)) if !array.is_empty() => None,
        _ => Some(text(params, "CODE").unwrap_or_default()),
    };
    match code {
        Some(code) if is_empty(&code) => Err(invalid_sender("Empty sender code!")),
        Some(code)
            if code
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || CODE_PUNCTUATION.contains(&c)) =>
        {
            Ok(code)
        }
        _ => Err(invalid_sender("Wrong sender code!")),
    }
}

fn check_handler(handler: &str) -> Result<(), Problem> {
    match handler.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(()),
        Some(("http" | "https", _)) | None => Err(Problem::new(
            400,
            "ERROR_WRONG_HANDLER_URL",
            "Wrong handler URL",
        )),
        Some(_) => Err(Problem::new(
            400,
            "ERROR_UNSUPPORTED_PROTOCOL",
            "Unsupported event handler protocol",
        )),
    }
}

/// A parameter as text; None if it is missing or an array.
fn text(params: &Array<Value>, name: &str) -> Option<String> {
    Some(params.get_any_case(name)?.to_text()?.into_owned())
}

/// PHP's `empty()` for text.
fn is_empty(text: &str) -> bool {
    text.is_empty() || text == "0"
}

fn message_not_found() -> Problem {
    Problem::new(400, "ERROR_MESSAGE_NOT_FOUND", "Message not found!")
}

fn sender_not_found() -> Problem {
    Problem::new(400, "ERROR_SENDER_NOT_FOUND", "Sender not found!")
}

fn invalid_sender(description: &str) -> Problem {
    Problem::new(400, "ERROR_SENDER_VALIDATION_FAILURE", description)
}

/// The names of an update's parameters that are not written as the protocol asks.
pub(crate) fn misspelt_names(params: &Array<Value>) -> impl Iterator<Item = &str> {
    params.iter().filter_map(|(key, _)| match key {
        Key::Str(name) if !matches!(name.as_str(), "CODE" | "MESSAGE_ID" | "STATUS" | "auth") => {
            Some(name.as_str())
        }
        _ => None,
    })
}
