//! Faults, and the queue in which they wait for a request.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::{Map, Value};

/// A fault that waits for the requests that it hits.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Fault {
    /// Which requests it hits. `any`
    pub at: At,
    /// The host that they are for; none for any.
    pub host: Option<String>,
    /// How many of them. 1
    pub count: u64,
    /// What happens to them.
    pub kind: Kind,
}

impl TryFrom<Map<String, Value>> for Fault {
    type Error = serde_json::Error;

    /// `at`, `host` and `count` are beside the members of the kind; unknown members are refused.
    fn try_from(mut members: Map<String, Value>) -> Result<Self, Self::Error> {
        let at = members.remove("at").map(At::deserialize).transpose()?;
        let host = members
            .remove("host")
            .map(String::deserialize)
            .transpose()?;
        let count = members.remove("count").map(u64::deserialize).transpose()?;
        Ok(Self {
            at: at.unwrap_or_default(),
            host: host.map(|host| host.to_ascii_lowercase()),
            count: count.unwrap_or(1),
            kind: Kind::deserialize(Value::Object(members))?,
        })
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// In a fault: every request to the portal or the authorization server. In a request: one that
    /// is none of those below.
    #[default]
    Any,
    /// A single `messageservice.message.status.update`.
    Update,
    /// `messageservice.message.status.get`, named `status.get`.
    #[serde(rename = "status.get")]
    StatusGet,
    /// `messageservice.sender.add`, named `sender.add`; the others likewise.
    #[serde(rename = "sender.add")]
    SenderAdd,
    /// `messageservice.sender.update`.
    #[serde(rename = "sender.update")]
    SenderUpdate,
    /// `messageservice.sender.delete`.
    #[serde(rename = "sender.delete")]
    SenderDelete,
    /// `messageservice.sender.list`.
    #[serde(rename = "sender.list")]
    SenderList,
    /// `app.info` of a portal.
    #[serde(rename = "app.info")]
    AppInfo,
    /// `user.admin`.
    #[serde(rename = "user.admin")]
    UserAdmin,
    /// A batch.
    Batch,
    /// A renewal.
    Oauth,
    /// `app.info` of the authorization server.
    #[serde(rename = "oauth.app.info")]
    OauthAppInfo,
}

/// What happens to a request. Unless it says otherwise, the request is executed.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Nothing: the request is served as if there were no fault.
    Ok,
    /// The connection is closed without executing.
    DropBefore,
    /// The connection is closed without answering.
    DropAfter,
    /// The connection is reset without executing.
    ResetBefore,
    /// The connection is reset without answering.
    ResetAfter,
    /// No answer comes until `/release` or `/reset`, and nothing is executed.
    Hang,
    /// No answer comes until `/release` or `/reset`.
    HangAfter,
    /// The body comes byte by byte.
    Drip {
        /// Milliseconds between two bytes. 50
        #[serde(default = "drip_pace")]
        ms_per_byte: u64,
    },
    /// The head comes byte by byte.
    SlowHeader {
        /// Milliseconds between two bytes. 50
        #[serde(default = "drip_pace")]
        ms_per_byte: u64,
    },
    /// The body ends before its `Content-Length`.
    Truncated,
    /// A front-end proxy answers instead of the portal, which executes nothing.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body is a page of HTML, else it is empty. true
        #[serde(default = "yes")]
        html: bool,
        /// Further headers. none
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// The body is not JSON.
    Garbage,
    /// The body is another one.
    WrongJson {
        /// The whole body. `{"result": "yes"}`
        #[serde(default = "wrong_body")]
        body: String,
    },
    /// The body is valid JSON of enormous size.
    Big {
        /// Its size in MiB. 64
        #[serde(default = "big_size")]
        mib: usize,
    },
    /// The body is valid JSON, nested deeply.
    Nested {
        /// How deeply. 200000
        #[serde(default = "nested_depth")]
        depth: usize,
    },
    /// The portal answers with an error and executes nothing.
    Error {
        /// The HTTP status. 400
        #[serde(default = "bad_request")]
        status: u16,
        /// The error code.
        error: String,
        /// The description; none leaves the member out.
        #[serde(default)]
        description: Option<String>,
        /// Further headers. none
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// The same under HTTP 200.
    #[serde(rename = "error_200")]
    Error200 {
        /// The error code.
        error: String,
        /// The description; none leaves the member out.
        #[serde(default)]
        description: Option<String>,
    },
    /// The connection is closed right after a good answer that did not announce it.
    CloseIdle,
    /// The access token expires now, and the request is refused because of it.
    Expire,
    /// A front-end proxy gives up: it answers 504 with a page of HTML at once, and the request is
    /// executed later.
    ExecuteLate {
        /// Milliseconds until then. 1000
        #[serde(default = "late")]
        ms: u64,
    },
    /// The request is redirected and not executed.
    Redirect {
        /// The HTTP status. 302
        #[serde(default = "found")]
        status: u16,
        /// The value of `Location`, unchanged.
        location: String,
    },
}

fn drip_pace() -> u64 {
    50
}

fn yes() -> bool {
    true
}

fn wrong_body() -> String {
    r#"{"result": "yes"}"#.into()
}

fn big_size() -> usize {
    64
}

fn nested_depth() -> usize {
    200_000
}

fn bad_request() -> u16 {
    400
}

fn late() -> u64 {
    1000
}

fn found() -> u16 {
    302
}

impl At {
    /// Whether it is a call to the portal: a method, or a batch of them.
    pub(crate) fn is_call(self) -> bool {
        !self.is_oauth() && self != Self::Any
    }

    /// Whether it is a request to the authorization server.
    pub(crate) fn is_oauth(self) -> bool {
        matches!(self, Self::Oauth | Self::OauthAppInfo)
    }
}

/// The faults that have not hit a request yet, in the order in which they were queued.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Fault>);

impl Queue {
    pub(crate) fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.0
            .extend(faults.into_iter().filter(|fault| fault.count > 0));
    }

    /// Takes one occurrence of the first fault that hits such a request.
    pub(crate) fn take(&mut self, at: At, host: &str) -> Option<Kind> {
        let position = self.0.iter().position(|fault| {
            let here = fault.host.as_deref().is_none_or(|named| named == host);
            here && (fault.at == At::Any || fault.at == at)
        })?;
        let fault = self.0.get_mut(position)?;
        fault.count -= 1;
        let kind = fault.kind.clone();
        if fault.count == 0 {
            self.0.remove(position);
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::{At, Fault, Kind, Queue};

    #[test]
    fn each_request_takes_the_first_fault_that_matches() {
        let mut queue = Queue::default();
        let faults: Vec<Fault> = serde_json::from_str(
            r#"[{"at": "oauth", "kind": "hang"}, {"host": "Y.test", "kind": "drip"}, {"kind": "garbage", "count": 2}, {"at": "update", "kind": "truncated"}]"#,
        )
        .unwrap_or_default();
        queue.extend(faults);
        assert!(matches!(
            queue.take(At::Update, "x.test"),
            Some(Kind::Garbage)
        ));
        assert!(matches!(
            queue.take(At::Batch, "x.test"),
            Some(Kind::Garbage)
        ));
        assert!(queue.take(At::Batch, "x.test").is_none());
        assert!(matches!(
            queue.take(At::Update, "x.test"),
            Some(Kind::Truncated)
        ));
        assert!(matches!(queue.take(At::Oauth, "x.test"), Some(Kind::Hang)));
        let elsewhere = queue.take(At::Batch, "y.test");
        assert!(matches!(elsewhere, Some(Kind::Drip { .. })));
        assert!(queue.take(At::Oauth, "x.test").is_none());
    }

    #[test]
    fn what_a_fault_does_not_know_is_refused() {
        for text in [
            r#"{"kind": "explode"}"#,
            r#"{"kind": "drip", "ms": 5}"#,
            r#"{"kind": "hang", "at": "nowhere"}"#,
            r#"{"kind": "error", "status": 400}"#,
            r#"{"at": "any"}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(text).is_err(), "{text}");
        }
    }
}
