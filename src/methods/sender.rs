//! `messageservice.sender.add`, `.update`, `.delete` and `.list`: the application's SMS providers.

use crate::engine::installation::Installation;
use crate::engine::method::{Method, Request, write_json};
use crate::engine::operation::Operation;
use crate::process::cancellation::Limits;
use crate::protocol::error_table::{AttemptError, CodeRow, RetryAction, row};
use crate::protocol::response::{Operating, Response, Source, read, read_true};
use crate::values::LOG;
use crate::values::error::{Error, ErrorKind};
use crate::values::sender::{Sender, Text, check_sender_code};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// A second one is refused with `ERROR_SENDER_ALREADY_INSTALLED`.
pub(crate) static ADD: Method = Method {
    path: "/rest/messageservice.sender.add",
    idempotent: false,
    budget: "messageservice.sender.add",
    codes: CODES,
    after_timeout: "ask sender_list whether the sender was added before you add it again",
};

pub(crate) static UPDATE: Method = Method {
    path: "/rest/messageservice.sender.update",
    idempotent: true,
    budget: "messageservice.sender.update",
    codes: CODES,
    after_timeout: "call again, which is harmless if the sender was changed already",
};

/// A second one is refused with `ERROR_SENDER_NOT_FOUND`.
pub(crate) static DELETE: Method = Method {
    path: "/rest/messageservice.sender.delete",
    idempotent: false,
    budget: "messageservice.sender.delete",
    codes: CODES,
    after_timeout: "ask sender_list whether the sender is gone before you delete it again",
};

pub(crate) static LIST: Method = Method {
    path: "/rest/messageservice.sender.list",
    idempotent: true,
    budget: "messageservice.sender.list",
    codes: CODES,
    after_timeout: "call again",
};

pub(crate) const CODES: &[CodeRow] = &[
    row(
        "ERROR_SENDER_ALREADY_INSTALLED",
        ErrorKind::Portal,
        RetryAction::Never,
        "The code is registered already: use sender_update to change the sender",
    ),
    row(
        "ERROR_SENDER_ADD_FAILURE",
        ErrorKind::Portal,
        RetryAction::Never,
        "The portal could not register the sender: ask its administrator if this lasts",
    ),
    row(
        "ERROR_SENDER_UPDATE_FAILURE",
        ErrorKind::Portal,
        RetryAction::Never,
        "The portal could not change the sender: ask its administrator if this lasts",
    ),
    row(
        "ERROR_SENDER_CODE_REQUIRED",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "Give the code of the sender",
    ),
    row(
        "ERROR_SENDER_OTHER_PARAMS_REQUIRED",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "Give a handler, name or description",
    ),
    row(
        "ERROR_SENDER_NOT_FOUND",
        ErrorKind::Portal,
        RetryAction::Never,
        "Give a code that sender_list returns",
    ),
    row(
        "ERROR_SENDER_VALIDATION_FAILURE",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "Give what the portal says is missing or wrong",
    ),
    row(
        "ERROR_UNSUPPORTED_PROTOCOL",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "Give an http or https address as the handler",
    ),
    row(
        "ERROR_WRONG_HANDLER_URL",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "Give the complete address of the handler, such as https://provider.example.com/send",
    ),
    row(
        "ERROR_HANDLER_URL_MATCH",
        ErrorKind::InvalidArgument,
        RetryAction::Never,
        "Give a handler on the host of the application's own address",
    ),
];

/// Registers a sender. First asks whether it is registered already. If then the answer to the
/// registration is lost and the sender is in the list, this call has registered it.
pub(crate) fn add(
    installation: &Arc<Installation>,
    limits: &Limits,
    sender: &Sender,
) -> Result<(), Error> {
    sender.check_add()?;
    let mut operation = Operation::begin(installation, limits, &ADD)?;
    let before = operation.post(&ListRequest)?;
    let code = sender.code();
    operation.next_request();
    let added = operation.post(&SenderRequest(&ADD, sender));
    match added {
        Err(error) if operation.may_have_run() && !before.iter().any(|known| known == code) => {
            ask_list(&mut operation, error, |codes| codes.contains(&code))
        }
        outcome => outcome,
    }
}

/// Changes a sender.
pub(crate) fn update(
    installation: &Arc<Installation>,
    limits: &Limits,
    sender: &Sender,
) -> Result<(), Error> {
    sender.check_update()?;
    Operation::begin(installation, limits, &UPDATE)?.post(&SenderRequest(&UPDATE, sender))
}

/// Removes a sender. If the answer is lost and the sender is not in the list, it was removed.
pub(crate) fn delete(
    installation: &Arc<Installation>,
    limits: &Limits,
    code: &str,
) -> Result<(), Error> {
    check_sender_code(code)?;
    let mut operation = Operation::begin(installation, limits, &DELETE)?;
    match operation.post(&SenderRequest(&DELETE, &Sender::new(code))) {
        Err(error) if operation.may_have_run() => {
            ask_list(&mut operation, error, |codes| !codes.contains(&code))
        }
        outcome => outcome,
    }
}

/// The codes of all senders.
pub(crate) fn list(
    installation: &Arc<Installation>,
    limits: &Limits,
) -> Result<Vec<String>, Error> {
    Operation::begin(installation, limits, &LIST)?.post(&ListRequest)
}

/// Finds out whether a request whose answer was lost was executed.
fn ask_list(
    operation: &mut Operation<'_>,
    lost: Error,
    is_done: impl FnOnce(&[&str]) -> bool,
) -> Result<(), Error> {
    operation.next_request();
    match operation.post(&ListRequest) {
        Ok(codes) => {
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            if is_done(&codes) {
                Ok(())
            } else {
                Err(lost.with_retryable(true))
            }
        }
        Err(error) => {
            log::info!(target: LOG, "whether the request was executed is not known: {error}");
            Err(lost)
        }
    }
}

/// Adds, changes or removes a sender.
struct SenderRequest<'a>(&'static Method, &'a Sender);

impl Request for SenderRequest<'_> {
    type Output = ();

    fn method(&self) -> &'static Method {
        self.0
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "UPPERCASE")]
        struct Body<'a> {
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            r#type: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            handler: Option<&'a str>,
            #[serde(skip_serializing_if = "Text::is_unset")]
            name: &'a Text,
            #[serde(skip_serializing_if = "Text::is_unset")]
            description: &'a Text,
            #[serde(rename = "auth")]
            token: &'a str,
        }
        let content = Body {
            code: self.1.code(),
            r#type: std::ptr::eq(self.0, &raw const ADD).then(|| self.1.type_or_default()),
            handler: self.1.handler_if_set(),
            name: self.1.name_text(),
            description: self.1.description_text(),
            token,
        };
        write_json(body, &content)
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<((), Operating), AttemptError> {
        read_true(response, source)
    }
}

/// Asks for the codes of all senders.
pub(crate) struct ListRequest;

impl Request for ListRequest {
    type Output = Vec<String>;

    fn method(&self) -> &'static Method {
        &LIST
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            auth: &'a str,
        }
        write_json(body, &Body { auth: token })
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<(Vec<String>, Operating), AttemptError> {
        read(response, source, |envelope| {
            let codes = envelope
                .result_as()
                .and_then(codes_of)
                .ok_or("an answer that is neither a list of codes nor an error")?;
            Ok((codes, envelope.operating()))
        })
    }
}

/// A list as PHP writes it: an array, or an object if the keys are not 0, 1, 2….
fn codes_of(list: Value) -> Option<Vec<String>> {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match list {
        Value::Array(list) => list.into_iter().map(text).collect(),
        Value::Object(map) => map.into_iter().map(|(_, value)| text(value)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_read_in_each_shape_that_php_writes() {
        let codes = |list| codes_of(list);
        assert_eq!(codes(json!([])), Some(Vec::new()));
        assert_eq!(codes(json!(["a", 12])), Some(vec!["a".into(), "12".into()]));
        assert_eq!(
            codes(json!({"1": "a", "3": "b"})),
            Some(vec!["a".into(), "b".into()])
        );
        for wrong in [
            json!(null),
            json!(true),
            json!("a"),
            json!([["a"]]),
            json!([null]),
        ] {
            assert_eq!(codes(wrong.clone()), None, "{wrong}");
        }
    }
}
