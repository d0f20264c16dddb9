//! `messageservice.sender.add`, `.update`, `.delete` and `.list`: the message providers of an
//! application.

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Key, Value};
use crate::senders::Sender;
use crate::state::State;

use super::method::{Method, invalid_sender, is_empty, sender_code, text};

pub(super) const ADD: Method = Method {
    name: "messageservice.sender.add",
    at: At::SenderAdd,
    parameters: &["CODE", "TYPE", "HANDLER", "NAME", "DESCRIPTION"],
    needs_application: true,
    execute: add,
};

pub(super) const UPDATE: Method = Method {
    name: "messageservice.sender.update",
    at: At::SenderUpdate,
    parameters: &["CODE", "HANDLER", "NAME", "DESCRIPTION"],
    needs_application: true,
    execute: update,
};

pub(super) const DELETE: Method = Method {
    name: "messageservice.sender.delete",
    at: At::SenderDelete,
    parameters: &["CODE"],
    needs_application: true,
    execute: delete,
};

pub(super) const LIST: Method = Method {
    name: "messageservice.sender.list",
    at: At::SenderList,
    parameters: &[],
    needs_application: true,
    execute: list,
};

/// What the columns of the portal's table hold.
const MAX_CODE: usize = 128;
const MAX_HANDLER: usize = 1000;

fn add(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    if params
        .iter()
        .all(|(key, _)| matches!(key, Key::Str(name) if name == "auth"))
    {
        return Err(invalid_sender("Empty data!"));
    }
    let code = sender_code(params)?;
    let handler = text(params, "HANDLER").unwrap_or_default();
    check_handler(&handler, state.settings.application_url.as_deref())?;
    let name = params.get_any_case("NAME").filter(|name| !is_none(name));
    let name = name.ok_or_else(|| invalid_sender("Empty sender NAME!"))?;
    match text(params, "TYPE").unwrap_or_default().as_str() {
        "" | "0" => return Err(invalid_sender("Empty sender message TYPE!")),
        "SMS" => {}
        _ => return Err(invalid_sender("Unknown sender message TYPE!")),
    }
    note_bad_texts(state, params);
    if state.portals.here().senders.has(&state.application, &code) {
        return Err(Problem::new(
            400,
            "ERROR_SENDER_ALREADY_INSTALLED",
            "Sender already installed!",
        ));
    }
    if code.len() > MAX_CODE || handler.chars().count() > MAX_HANDLER {
        return Err(Problem::new(
            400,
            "ERROR_SENDER_ADD_FAILURE",
            "Sender save error!",
        ));
    }
    let description = params.get_any_case("DESCRIPTION").cloned();
    let senders = &mut state.portals.here_mut().senders;
    senders.add(Sender {
        application: state.application.clone(),
        code,
        kind: "SMS".into(),
        handler,
        name: name.clone(),
        description: description.unwrap_or(Value::Str(String::new())),
    });
    Ok(Value::Bool(true))
}

fn update(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let code = text(params, "CODE").filter(|code| !is_empty(code));
    let code =
        code.ok_or_else(|| Problem::new(400, "ERROR_SENDER_CODE_REQUIRED", "CODE is required!"))?;
    let given = |name| params.get_any_case(name).filter(|value| !is_none(value));
    let (name, description) = (given("NAME"), given("DESCRIPTION"));
    let handler = given("HANDLER").map(|handler| handler.to_text().unwrap_or_default());
    if handler.is_none() && name.is_none() && description.is_none() {
        return Err(Problem::new(
            400,
            "ERROR_SENDER_OTHER_PARAMS_REQUIRED",
            "At least one other parameter is required!",
        ));
    }
    if let Some(handler) = &handler {
        check_handler(handler, state.settings.application_url.as_deref())?;
    }
    note_bad_texts(state, params);
    let senders = &mut state.portals.here_mut().senders;
    let sender = senders
        .get_mut(&state.application, &code)
        .ok_or_else(sender_not_found)?;
    if let Some(handler) = handler {
        if handler.chars().count() > MAX_HANDLER {
            return Err(Problem::new(
                400,
                "ERROR_SENDER_UPDATE_FAILURE",
                "Sender update error!",
            ));
        }
        sender.handler = handler.into_owned();
    }
    if let Some(name) = name {
        sender.name = name.clone();
    }
    if let Some(description) = description {
        sender.description = description.clone();
    }
    Ok(Value::Bool(true))
}

fn delete(state: &mut State, params: &Array<Value>) -> Result<Value, Problem> {
    let code = sender_code(params)?;
    let senders = &mut state.portals.here_mut().senders;
    if senders.remove(&state.application, &code) {
        Ok(Value::Bool(true))
    } else {
        Err(sender_not_found())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "has the form of every method")]
fn list(state: &mut State, _: &Array<Value>) -> Result<Value, Problem> {
    let mut codes = Array::default();
    for code in state.portals.here().senders.codes(&state.application) {
        codes.push(Value::Str(code.to_owned()));
    }
    Ok(Value::Array(codes))
}

/// PHP's `empty()`.
fn is_none(value: &Value) -> bool {
    match value {
        Value::Array(array) => array.is_empty(),
        other => other.to_text().is_none_or(|text| is_empty(&text)),
    }
}

/// Notes a name or description that is neither a text nor a map of language to text: the portal
/// checks neither.
fn note_bad_texts(state: &mut State, params: &Array<Value>) {
    for name in ["NAME", "DESCRIPTION"] {
        let sound = match params.get_any_case(name) {
            None | Some(Value::Str(_)) => true,
            Some(Value::Array(texts)) => texts
                .iter()
                .all(|entry| matches!(entry, (Key::Str(_), Value::Str(_)))),
            Some(_) => false,
        };
        if !sound {
            state.note_bad(format!(
                "{name} of a sender is neither a text nor a map of language to text"
            ));
        }
    }
}

/// A handler is an HTTP address with a dot in its host, which is the application's host if the
/// application has an address.
fn check_handler(handler: &str, application: Option<&str>) -> Result<(), Problem> {
    let refusal = |code, description| Err(Problem::new(400, code, description));
    let Some(host) = host(handler).filter(|host| host.find('.').is_some_and(|at| at > 0)) else {
        return refusal("ERROR_WRONG_HANDLER_URL", "Wrong handler URL");
    };
    if !handler.starts_with("http://") && !handler.starts_with("https://") {
        return refusal("ERROR_UNSUPPORTED_PROTOCOL", "Unsupported handler protocol");
    }
    match application.and_then(self::host) {
        Some(own) if own != host && own != "localhost" => refusal(
            "ERROR_HANDLER_URL_MATCH",
            "Handler URL host doesn't match application URL",
        ),
        _ => Ok(()),
    }
}

/// The host of an address, without user and port. None if it has none.
fn host(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("//")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.split(':').next()?;
    (!host.is_empty()).then_some(host)
}

fn sender_not_found() -> Problem {
    Problem::new(400, "ERROR_SENDER_NOT_FOUND", "Sender not found!")
}

#[cfg(test)]
mod tests {
    use super::check_handler;

    #[test]
    fn handlers_are_checked_as_the_portal_checks_them() {
        const WRONG: &str = "ERROR_WRONG_HANDLER_URL";
        const PROTOCOL: &str = "ERROR_UNSUPPORTED_PROTOCOL";
        const MATCH: &str = "ERROR_HANDLER_URL_MATCH";
        let own = Some("https://app.test/install");
        for (handler, application, expected) in [
            ("https://h.test", None, ""),
            ("http://h.test:8080/path?a=b", None, ""),
            ("https://user:secret@h.test/", None, ""),
            ("", None, WRONG),
            ("h.test/path", None, WRONG),
            ("https:///path", None, WRONG),
            ("https://localhost/", None, WRONG),
            ("https://.test/", None, WRONG),
            ("https://host/a.b", None, WRONG),
            ("ftp://h.test/", None, PROTOCOL),
            ("HTTPS://h.test/", None, PROTOCOL),
            ("//h.test/", None, PROTOCOL),
            ("https://app.test/handler", own, ""),
            ("http://app.test:81", own, ""),
            ("https://h.test/", own, MATCH),
            ("https://sub.app.test/", own, MATCH),
            ("https://h.test/", Some("http://localhost/"), ""),
        ] {
            let error = check_handler(handler, application).err();
            let error = error.map(|problem| problem.error).unwrap_or_default();
            assert_eq!(error, expected, "{handler} of {application:?}");
        }
    }
}
