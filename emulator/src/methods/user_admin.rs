//! `user.admin`: whether the user of the token is an administrator.

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Value};
use crate::state::State;

use super::method::Method;

pub(super) const METHOD: Method = Method {
    name: "user.admin",
    at: At::UserAdmin,
    parameters: &[],
    needs_application: true,
    execute,
};

#[expect(clippy::unnecessary_wraps, reason = "has the form of every method")]
fn execute(state: &mut State, _: &Array<Value>) -> Result<Value, Problem> {
    Ok(Value::Bool(state.user.is_admin(&state.settings)))
}
