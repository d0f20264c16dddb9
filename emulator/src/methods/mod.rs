//! The methods of the `messageservice` scope, and those that every application has, as the portal's own code checks them. A method is a
//! [`Method`] in a file of this folder, its place in [`METHODS`], and its name in [`At`].

mod app_info;
mod sender;
mod status_get;
mod status_update;
mod user_admin;

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Key, Value};
use crate::state::State;

pub(crate) use app_info::app_info;
pub(crate) use sender::Senders;

const METHODS: [&Method; 8] = [
    &status_update::METHOD,
    &status_get::METHOD,
    &sender::ADD,
    &sender::UPDATE,
    &sender::DELETE,
    &sender::LIST,
    &app_info::METHOD,
    &user_admin::METHOD,
];

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
    parameters: &'static [&'static str],
    /// Whether it asks for an installed application, which a webhook is not.
    needs_application: bool,
    execute: fn(&mut State, &Array<Value>) -> Result<Value, Problem>,
}

/// On whose behalf a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// An installed application, by an access token.
    Application,
    /// An inbound webhook, which is no application.
    Webhook,
}

/// The method of this name, written in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Method> {
    METHODS.into_iter().find(|method| method.name == name)
}

/// Calls a method; none is one that does not exist.
pub(crate) fn call(
    state: &mut State,
    caller: Caller,
    method: Option<&Method>,
    params: &Array<Value>,
) -> Result<Value, Problem> {
    let method =
        method.ok_or_else(|| Problem::new(404, "ERROR_METHOD_NOT_FOUND", "Method not found!"))?;
    if method.needs_application && caller == Caller::Webhook {
        return Err(Problem::new(
            403,
            "ACCESS_DENIED",
            "Application context required",
        ));
    }
    if let (At::Update, Some(refusal)) = (method.at, &state.settings.answer) {
        return Err(refusal.clone().into());
    }
    if let Some(budget) = state.settings.operating {
        let now = state.clock.now();
        if !state.operating_mut(method.at).admit(budget, now) {
            return Err(Problem::new(
                429,
                "OPERATION_TIME_LIMIT",
                "Method is blocked due to operation time limit.",
            ));
        }
    }
    (method.execute)(state, params)
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
fn text(params: &Array<Value>, name: &str) -> Option<String> {
    Some(params.get_any_case(name)?.to_text()?.into_owned())
}

/// PHP's `empty()` for text.
fn is_empty(text: &str) -> bool {
    text.is_empty() || text == "0"
}

/// The parameter `CODE`, checked as most methods check it.
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

fn message_not_found() -> Problem {
    Problem::new(400, "ERROR_MESSAGE_NOT_FOUND", "Message not found!")
}

fn invalid_sender(description: &str) -> Problem {
    Problem::new(400, "ERROR_SENDER_VALIDATION_FAILURE", description)
}
