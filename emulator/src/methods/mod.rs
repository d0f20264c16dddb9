//! The methods of the `messageservice` scope, and those that every application has, as the portal's own code checks them. A method is a
//! [`Method`] in a file of this folder, its place in [`METHODS`], and its name in [`At`].

mod app_info;
mod method;
mod sender;
mod status_get;
mod status_update;
mod user_admin;

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Value};
use crate::state::State;

pub(crate) use app_info::app_info;
pub(crate) use method::Method;

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
