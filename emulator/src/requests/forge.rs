//! Requests that only look like a portal's, and those that are hard to read.

use serde::Deserialize;

use crate::portals::further_member_id;
use crate::state::State;

use super::body::{Body, Fields, pair};

/// What a library may read at most.
const LIMIT: usize = 1024 * 1024;
const DEPTH: usize = 10_000;
const WIDTH: usize = 100_000;
const ATTACKER: &str = "https://attacker.test/rest/";
/// Names that only look like those of real fields. The real ones are still read as they are.
const LOOKALIKES: [&str; 7] = [
    "auth[application_token",
    "auth]",
    "auth]application_token[",
    "[auth][application_token]",
    "auth[[application_token]]",
    "auth[]",
    "auth[application_token ]",
];

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Forge {
    /// Another `application_token`, of the same length.
    Token,
    /// An empty `application_token`.
    TokenEmpty,
    /// The `member_id` of another portal.
    Member,
    /// The addresses of an attacker.
    Address,
    /// A field that is nested deeply.
    Nested,
    /// Very many fields.
    Wide,
    /// A byte more than the limit.
    Huge,
    /// Nothing is wrong, but the body is as long as the limit.
    Limit,
    /// Brackets that do not match, and equal names.
    Brackets,
    /// The same, and `auth` once more, as a text.
    BracketsText,
    /// A form that is said to be JSON.
    JsonText,
    /// Escapes and bytes that are not valid.
    Encoding,
    /// The tokens of a frame in an event, with an `application_token` of the sender's own.
    FrameAsEvent,
}

impl Forge {
    /// Changes values of fields.
    pub(super) fn values(
        self,
        state: &State,
        fields: &mut Fields,
        query: Option<&mut Fields>,
    ) -> Result<(), String> {
        match self {
            Self::Token => change(fields, "application_token", |token| {
                let last = if token.pop() == Some('f') { '0' } else { 'f' };
                token.push(last);
            }),
            Self::TokenEmpty => change(fields, "application_token", String::clear),
            Self::Member => {
                let main = state.portals.get(0).member_id.clone();
                change(fields, "member_id", |member| {
                    *member = if *member == main {
                        further_member_id(1)
                    } else {
                        main.clone()
                    };
                })
            }
            Self::Address => {
                if let Some(domain) = query.and_then(|query| query.get_mut("DOMAIN")) {
                    "attacker.test".clone_into(domain);
                }
                // Each form of a request has some of them.
                let _ = change(fields, "domain", |domain| {
                    "attacker.test".clone_into(domain);
                });
                let _ = change(fields, "client_endpoint", |endpoint| {
                    ATTACKER.clone_into(endpoint);
                });
                let _ = change(fields, "server_endpoint", |endpoint| {
                    ATTACKER.clone_into(endpoint);
                });
                Ok(())
            }
            Self::FrameAsEvent => Err("frame_as_event is an installation's".into()),
            _ => Ok(()),
        }
    }

    /// Changes what is around the fields.
    pub(super) fn shape(self, body: &mut Body) {
        let json = body.json;
        match self {
            Self::Nested => body.surround(Vec::new(), vec![nested(json)]),
            Self::Wide => body.surround(Vec::new(), wide(json)),
            Self::Huge => body.pad(LIMIT + 1),
            Self::Limit => body.pad(LIMIT),
            Self::Brackets => body.surround(lookalikes(json), lookalikes(json)),
            Self::BracketsText => {
                let mut after = lookalikes(json);
                after.push(field("auth", json));
                body.surround(lookalikes(json), after);
            }
            Self::JsonText => {
                body.json = false;
                body.said_to_be_json = true;
            }
            Self::Encoding => body.surround(Vec::new(), vec![invalid(json)]),
            _ => {}
        }
    }
}

/// Changes the field that has this name in any form of a request.
fn change(fields: &mut Fields, name: &str, change: impl FnOnce(&mut String)) -> Result<(), String> {
    for name in [
        format!("auth[{name}]"),
        name.to_owned(),
        name.to_ascii_uppercase(),
    ] {
        if let Some(value) = fields.get_mut(&name) {
            change(value);
            return Ok(());
        }
    }
    Err(format!("this request has no {name} that could be forged"))
}

fn field(name: &str, json: bool) -> String {
    if json {
        format!("\"{name}\":\"forged\"")
    } else {
        pair(name, "forged")
    }
}

fn lookalikes(json: bool) -> Vec<String> {
    let once = LOOKALIKES.iter().map(|name| field(name, json));
    let twice = ["twice", "twice"].into_iter();
    once.chain(twice.map(|name| field(name, json))).collect()
}

fn nested(json: bool) -> String {
    if json {
        let open = "{\"auth\":".repeat(DEPTH);
        format!("\"deep\":{open}1{}", "}".repeat(DEPTH))
    } else {
        pair(&format!("auth{}", "[auth]".repeat(DEPTH)), "1")
    }
}

fn wide(json: bool) -> Vec<String> {
    let field = |number| {
        if json {
            format!("\"{number}\":0")
        } else {
            format!("f{number}=0")
        }
    };
    (0..WIDTH).map(field).collect()
}

fn invalid(json: bool) -> String {
    let text = if json {
        r#""half":"\ud800","nothing":"\u0000""#
    } else {
        "escape=%zz%4&%=%&utf=%C3%28%FF%FE&%FF=1&nothing=%00"
    };
    text.to_owned()
}
