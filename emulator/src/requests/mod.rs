//! What the portal sends to a provider: messages, and the installation and uninstallation of the
//! application. A test gets the request, or lets it be sent.

mod body;
mod forge;
mod order;
mod send;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use serde_json::{Map, Value, json};

use crate::oauth::{self, Granted};
use crate::state::{Shared, State};
use crate::tokens::{User, unix_now};

use body::{Body, Fields};
use forge::Forge;
use order::{Common, Form, Install, Message, Module, Uninstall, WhichPair};

const LANGUAGE: &str = "en";

/// A request as it is made up, before it is encoded.
struct Draft {
    fields: Fields,
    /// The parameters in the URL, of a page in a frame.
    query: Option<Fields>,
    json: bool,
    /// What a test is told besides.
    told: Map<String, Value>,
}

/// Where a portal is, as its requests say.
struct Address {
    portal: usize,
    domain: String,
    client_endpoint: String,
    server_endpoint: String,
    member_id: String,
    application_token: String,
}

impl Address {
    fn of(state: &mut State, common: &Common) -> Self {
        let host = common.host.as_deref().map(str::to_ascii_lowercase);
        let portal = host.as_deref().map_or(0, |host| state.portals.number(host));
        if portal == 0 {
            state.portals.call_main(host.as_deref());
        }
        let settings = &state.settings;
        let data = state.portals.get(portal);
        let server = match state.ports.oauth {
            443 => oauth::HOST.to_owned(),
            port => format!("{}:{port}", oauth::HOST),
        };
        Self {
            portal,
            domain: state.portals.domain(portal, settings),
            client_endpoint: state.portals.client_endpoint(portal, settings),
            server_endpoint: format!("https://{server}/rest/"),
            member_id: data.member_id.clone(),
            application_token: data.application_token.clone(),
        }
    }

    /// The members of `auth` that every event has.
    fn auth(&self, fields: &mut Fields) {
        fields.set("auth[domain]", &self.domain);
        fields.set("auth[server_endpoint]", &self.server_endpoint);
        fields.set("auth[client_endpoint]", &self.client_endpoint);
        fields.set("auth[member_id]", &self.member_id);
        fields.set("auth[application_token]", &self.application_token);
    }
}

/// Installs the application, or shows an installation again.
pub(crate) fn install(shared: &Shared, order: Value) -> Result<Value, String> {
    let (mut common, mut install) = order::read::<Install>(order)?;
    if common.forge == Some(Forge::FrameAsEvent) {
        install.form = Form::Event;
        install.pair.get_or_insert(WhichPair::User);
        common.forge = Some(Forge::Token);
    }
    let mut state = shared.lock();
    let draft = draft_install(&mut state, &common, &install)?;
    finish(&state, common, draft).and_then(|finished| {
        drop(state);
        finished.send()
    })
}

fn draft_install(state: &mut State, common: &Common, install: &Install) -> Result<Draft, String> {
    let mut address = Address::of(state, common);
    let portal = address.portal;
    let lifetime = state.settings.expires_in;
    if install.again || !state.tokens.installed(portal) {
        state.tokens.install(portal, lifetime);
    }
    if let Some(token) = &install.application_token {
        let data = state.portals.get_mut(portal);
        data.application_token.clone_from(token);
        address.application_token.clone_from(token);
    }
    let number = match install.pair {
        None | Some(WhichPair::First) => 0,
        Some(WhichPair::New) => state.tokens.add_pair(portal, User::Installer, lifetime),
        Some(WhichPair::User) => state.tokens.add_pair(portal, User::Other, lifetime),
    };
    let pair = state.tokens.pairs(portal).get(number);
    let pair = pair.ok_or("there is no such pair")?;
    let mut fields = Fields::default();
    let mut query = None;
    match install.form {
        Form::Event => {
            fields.set("event", "ONAPPINSTALL");
            fields.set("data[VERSION]", "1");
            fields.set("data[ACTIVE]", "Y");
            fields.set("data[INSTALLED]", "Y");
            fields.set("data[LANGUAGE_ID]", LANGUAGE);
            fields.set("ts", &common.ts());
            fields.set("auth[access_token]", &pair.access);
            fields.set("auth[refresh_token]", &pair.refresh);
            fields.set("auth[expires_in]", &lifetime);
            fields.set("auth[scope]", "messageservice");
            fields.set("auth[status]", "F");
            address.auth(&mut fields);
        }
        Form::Frame => {
            let mut parameters = Fields::default();
            parameters.set("DOMAIN", &address.domain);
            parameters.set("PROTOCOL", "1");
            parameters.set("LANG", LANGUAGE);
            parameters.set("APP_SID", &made_up());
            query = Some(parameters);
            fields.set("AUTH_ID", &pair.access);
            fields.set("AUTH_EXPIRES", &lifetime);
            fields.set("REFRESH_ID", &pair.refresh);
            fields.set("member_id", &address.member_id);
            fields.set("status", "F");
            fields.set("PLACEMENT", "DEFAULT");
            if install.newer {
                fields.set("SERVER_ENDPOINT", &address.server_endpoint);
                fields.set("APPLICATION_TOKEN", &address.application_token);
                fields.set("APPLICATION_SCOPE", "messageservice");
            }
        }
        Form::Oauth => {
            let granted = Granted::of(state, portal, number);
            let granted = serde_json::to_value(granted).map_err(|error| error.to_string())?;
            for (name, value) in granted.as_object().into_iter().flatten() {
                fields.set(name, &order::text(value).unwrap_or_default());
            }
        }
    }
    Ok(Draft {
        fields,
        query,
        json: common.json || install.form == Form::Oauth,
        told: Map::from_iter([("pair".to_owned(), number.into())]),
    })
}

/// Sends a message to a provider.
pub(crate) fn message(shared: &Shared, order: Value) -> Result<Value, String> {
    let (common, message) = order::read::<Message>(order)?;
    let mut state = shared.lock();
    let draft = draft_message(&mut state, &common, message)?;
    finish(&state, common, draft).and_then(|finished| {
        drop(state);
        finished.send()
    })
}

fn draft_message(state: &mut State, common: &Common, message: Message) -> Result<Draft, String> {
    let address = Address::of(state, common);
    let portal = address.portal;
    let lifetime = state.settings.expires_in;
    let id = message.id.unwrap_or_else(made_up);
    let user = if message.user {
        User::Other
    } else {
        User::Installer
    };
    let access = state.tokens.message_token(portal, user, lifetime);
    let messages = &mut state.portals.get_mut(portal).messages;
    messages.note_sent(format!("{}|{id}", message.code));
    let mut fields = Fields::default();
    match message.module {
        Module::Crm => {
            fields.set("module_id", "crm");
            for (number, binding) in message.bindings.iter().enumerate() {
                for (name, value) in binding {
                    let value = order::text(value).ok_or("a binding is not a text")?;
                    fields.set(&format!("bindings[{number}][{name}]"), &value);
                }
            }
        }
        Module::Bizproc => {
            fields.set("module_id", "bizproc");
            fields.set("workflow_id", "5e2d1c0b3a4958.67216350");
            for value in ["crm", "CCrmDocumentLead", "LEAD_7"] {
                fields.add("document_id[]", value);
            }
            for value in ["crm", "CCrmDocumentLead", "LEAD"] {
                fields.add("document_type[]", value);
            }
        }
    }
    fields.set("properties[phone_number]", &message.phone);
    fields.set("properties[message_text]", &message.text);
    fields.set("type", "SMS");
    fields.set("code", &message.code);
    fields.set("message_id", &id);
    fields.set("message_to", &message.phone);
    fields.set("message_body", &message.text);
    fields.set("ts", &common.ts());
    fields.set("auth[expires]", &state.tokens.expires(&access));
    fields.set("auth[access_token]", &access);
    fields.set("auth[expires_in]", &lifetime);
    fields.set("auth[scope]", "messageservice");
    fields.set("auth[status]", "F");
    fields.set("auth[user_id]", &user.id(&state.settings));
    address.auth(&mut fields);
    Ok(Draft {
        fields,
        query: None,
        json: common.json,
        told: Map::from_iter([("message_id".to_owned(), id.into())]),
    })
}

/// Uninstalls the application.
pub(crate) fn uninstall(shared: &Shared, order: Value) -> Result<Value, String> {
    let (common, uninstall) = order::read::<Uninstall>(order)?;
    let mut state = shared.lock();
    let address = Address::of(&mut state, &common);
    if !uninstall.keep {
        state.tokens.uninstall(address.portal);
    }
    let mut fields = Fields::default();
    fields.set("event", "ONAPPUNINSTALL");
    fields.set("data[CLEAN]", &u8::from(uninstall.clean));
    fields.set("data[LANGUAGE_ID]", LANGUAGE);
    fields.set("ts", &common.ts());
    address.auth(&mut fields);
    let draft = Draft {
        fields,
        query: None,
        json: common.json,
        told: Map::new(),
    };
    finish(&state, common, draft).and_then(|finished| {
        drop(state);
        finished.send()
    })
}

/// A request that is ready to be sent.
struct Finished {
    common: Common,
    body: Body,
    query: Option<String>,
    told: Map<String, Value>,
}

/// Forges what is ordered, and encodes the request.
fn finish(state: &State, common: Common, mut draft: Draft) -> Result<Finished, String> {
    if let Some(forge) = common.forge {
        forge.values(state, &mut draft.fields, draft.query.as_mut())?;
    }
    for (name, value) in &common.fields {
        match value {
            Value::Null => draft.fields.remove(name),
            value => {
                let text = order::text(value).ok_or(format!("field {name:?} is not a text"))?;
                draft.fields.set(name, &text);
            }
        }
    }
    let mut body = Body::new(&draft.fields, draft.json)?;
    if let Some(forge) = common.forge {
        forge.shape(&mut body);
    }
    Ok(Finished {
        common,
        body,
        query: draft.query.map(|query| query.encode()),
        told: draft.told,
    })
}

impl Finished {
    /// Sends it as often as is ordered, and tells what it is.
    fn send(self) -> Result<Value, String> {
        let mut told = self.told;
        let text = self.body.to_text();
        if let Some(to) = &self.common.to {
            let target = send::Target::parse(to, self.query.as_deref())?;
            let replies: Vec<_> = (0..self.common.times)
                .map(|_| target.post(self.body.content_type(), &text))
                .collect();
            told.insert("reply".into(), json!(replies.last()));
            told.insert("replies".into(), json!(replies));
        }
        if let Some(query) = self.query {
            told.insert("query".into(), query.into());
        }
        told.insert("content_type".into(), self.body.content_type().into());
        told.insert("body".into(), text.into());
        Ok(told.into())
    }
}

impl Common {
    fn ts(&self) -> i64 {
        self.ts.unwrap_or_else(unix_now)
    }
}

/// 32 hexadecimal digits that were not there before.
fn made_up() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
