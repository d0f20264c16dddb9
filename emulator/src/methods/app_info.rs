//! `app.info`: the installation that an access token belongs to. The authorization server has it as
//! well.

use crate::answer::Problem;
use crate::fault::At;
use crate::php::{Array, Key, Value};
use crate::settings::{AppInfo, Told};
use crate::state::State;

use super::method::Method;

pub(super) const METHOD: Method = Method {
    name: "app.info",
    at: At::AppInfo,
    parameters: &[],
    needs_application: true,
    execute,
};

fn execute(state: &mut State, _: &Array<Value>) -> Result<Value, Problem> {
    app_info(state, state.portals.current(), state.expires)
}

/// The installation on a portal, and until when the access token is valid.
pub(crate) fn app_info(state: &State, portal: usize, expires: i64) -> Result<Value, Problem> {
    let settings = &state.settings;
    let full = match &settings.app_info {
        AppInfo::Refused(refusal) => return Err(refusal.clone().into()),
        AppInfo::Told(told) => *told == Told::Full,
    };
    let text = |text: &str| Value::Str(text.to_owned());
    let mut install = map([
        ("installed", Value::Bool(true)),
        ("version", text("1")),
        ("status", text("F")),
    ]);
    let mut info = map([
        ("scope", text("messageservice")),
        ("expires", Value::Int(expires)),
        ("status", text("F")),
    ]);
    if full {
        let endpoint = state.portals.client_endpoint(portal, settings);
        install.extend(map([
            ("member_id", text(&state.portals.get(portal).member_id)),
            ("domain", Value::Str(state.portals.domain(portal, settings))),
            ("client_endpoint", Value::Str(endpoint)),
        ]));
        info.extend(map([("client_id", text(&settings.client_id))]));
    }
    info.extend(map([("install", Value::Array(install))]));
    Ok(Value::Array(info))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Array<Value> {
    let mut map = Array::default();
    map.extend(entries.map(|(name, value)| (Key::from(name), value)));
    map
}
