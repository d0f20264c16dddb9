//! What the control API is told about a request that the portal is to send.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::forge::Forge;

/// The members of [`Common`].
const COMMON: [&str; 7] = ["host", "to", "json", "times", "fields", "forge", "ts"];

/// What every request can be told.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Common {
    /// The portal that sends it.
    pub(super) host: Option<String>,
    /// Where it goes; nowhere by default.
    pub(super) to: Option<String>,
    /// It is JSON instead of a form.
    pub(super) json: bool,
    /// How often it is sent.
    pub(super) times: u32,
    /// Values of single fields; null takes the field away.
    pub(super) fields: Map<String, Value>,
    pub(super) forge: Option<Forge>,
    /// When it was made, in Unix time.
    pub(super) ts: Option<i64>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            host: None,
            to: None,
            json: false,
            times: 1,
            fields: Map::new(),
            forge: None,
            ts: None,
        }
    }
}

/// An installation.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Install {
    #[serde(rename = "as")]
    pub(super) form: Form,
    pub(super) pair: Option<WhichPair>,
    /// It is a new installation: the tokens are others.
    pub(super) again: bool,
    pub(super) application_token: Option<String>,
    /// The portal is a newer one, whose frames have more fields.
    pub(super) newer: bool,
}

impl Default for Install {
    fn default() -> Self {
        Self {
            form: Form::Event,
            pair: None,
            again: false,
            application_token: None,
            newer: true,
        }
    }
}

/// How a provider learns of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    Event,
    Frame,
    Oauth,
}

/// The tokens of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhichPair {
    /// Those of the user who installed the application.
    First,
    /// Further ones of that user.
    New,
    /// New ones of a user who is no administrator.
    User,
}

/// A message.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Message {
    pub(super) code: String,
    #[serde(rename = "message_id")]
    pub(super) id: Option<String>,
    pub(super) phone: String,
    pub(super) text: String,
    pub(super) bindings: Vec<Map<String, Value>>,
    pub(super) module: Module,
    /// The author is another user than the one who installed the application.
    pub(super) user: bool,
}

impl Default for Message {
    fn default() -> Self {
        let mut binding = Map::new();
        binding.insert("OWNER_TYPE_ID".into(), "3".into());
        binding.insert("OWNER_ID".into(), "7".into());
        Self {
            code: "provider1".into(),
            id: None,
            phone: "+15550100".into(),
            text: "Your code is 1234".into(),
            bindings: vec![binding],
            module: Module::Crm,
            user: false,
        }
    }
}

/// The part of the portal that sends a message.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Module {
    Crm,
    Bizproc,
}

/// An uninstallation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Uninstall {
    /// The application's data are to be removed.
    pub(super) clean: bool,
    /// The tokens stay valid.
    pub(super) keep: bool,
}

/// Takes an order apart.
pub(super) fn read<T: DeserializeOwned>(order: Value) -> Result<(Common, T), String> {
    let mut members = match order {
        Value::Null => Map::new(),
        Value::Object(members) => members,
        _ => return Err("a request is described by a JSON object".into()),
    };
    let mut common = Map::new();
    for name in COMMON {
        if let Some(value) = members.remove(name) {
            common.insert(name.to_owned(), value);
        }
    }
    let common = serde_json::from_value(common.into()).map_err(|error| error.to_string())?;
    let own = serde_json::from_value(members.into()).map_err(|error| error.to_string())?;
    Ok((common, own))
}

/// A JSON value as the text of a field. None for what is not a single value.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        _ => None,
    }
}
