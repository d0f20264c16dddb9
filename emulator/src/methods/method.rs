//! What a method of the portal is, and how several of them read their parameters.

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Key, Value};
use crate::state::State;

/// The characters that a provider's code may have besides letters and digits.
const CODE_PUNCTUATION: [char; 3] = ['.', '_', '-'];

/// A method that the portal executes.
#[derive(Debug)]
pub(crate) struct Method {
    /// Its name in lower case: the portal finds it in any.
    pub(crate) name: &'static str,
    /// What faults call it.
    pub(crate) at: At,
    /// The names of its parameters, as they are documented.
    pub(super) parameters: &'static [&'static str],
    /// Whether it asks for an installed application, which a webhook is not.
    pub(super) needs_application: bool,
    pub(super) execute: fn(&mut State, &Array<Value>) -> Result<Value, Problem>,
}

impl Method {
    /// The parameters that are not written as the protocol asks.
    pub(crate) fn misspelt(&self, params: &Array<Value>) -> Vec<String> {
        let known = |name: &str| name == "auth" || self.parameters.contains(&name);
        let texts = params.iter().filter_map(|(key, _)| match key {
            Key::Str(name) if !known(name) => Some(format!("parameter {name:?} of {}", self.name)),
            _ => None,
        });
        texts.collect()
    }
}

/// A parameter as text; None if it is missing or an array.
pub(super) fn text(params: &Array<Value>, name: &str) -> Option<String> {
    Some(params.get_any_case(name)?.to_text()?.into_owned())
}

/// PHP's `empty()` for text.
pub(super) fn is_empty(text: &str) -> bool {
    text.is_empty() || text == "0"
}

/// The parameter `CODE`, checked as most methods check it.
pub(super) fn sender_code(params: &Array<Value>) -> Result<String, Problem> {
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

pub(super) fn message_not_found() -> Problem {
    Problem::new(400, "ERROR_MESSAGE_NOT_FOUND", "Message not found!")
}

pub(super) fn invalid_sender(description: &str) -> Problem {
    Problem::new(400, "ERROR_SENDER_VALIDATION_FAILURE", description)
}
