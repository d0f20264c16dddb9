//! How the portal is to behave: what `/reset` and `/set` take.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

const MAX_PORTALS: usize = 20_000;

/// How the portal is to behave. Every member has a default, given with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// The access token that the portal accepts; `*` accepts any. `access-0000000000000001`
    pub access_token: String,
    /// The refresh token that the authorization server accepts, once. `refresh-0000000000000001`
    pub refresh_token: String,
    /// The application's identifier, also accepted as `application`. `app.1`
    #[serde(alias = "application")]
    pub client_id: String,
    /// The application's secret. `secret-0000000000000001`
    pub client_secret: String,
    /// The portal's identifier, sent in the answer to a renewal. `a223c6b3710f85df22e9377d6c4f7553`
    pub member_id: String,
    /// What the portal's requests to the provider prove themselves with.
    /// `application-0000000000000001`
    pub application_token: String,
    /// The user who installed the application; the next number is another user's. 67
    pub user_id: u64,
    /// Whether the user who installed it is an administrator. true
    pub admin: bool,
    /// Further portals, with hosts `p1.bitrix24.test` and so on. At most 20000. 0
    pub portals: usize,
    /// Hosts that answer everything with a proxy's page, status 502. `[]`
    pub down: BTreeSet<String>,
    /// Hosts that answer every call with `QUERY_LIMIT_EXCEEDED`. `[]`
    pub throttled: BTreeSet<String>,
    /// How `app.info` is answered. `full`
    pub app_info: AppInfo,
    /// How many seconds an access token is valid. 3600
    pub expires_in: i64,
    /// The present access token has expired already. false
    pub expired: bool,
    /// The messages that exist, as `CODE|MESSAGE_ID`; `CODE|*` and `*` stand for any. `["*"]`
    pub messages: Vec<String>,
    /// The provider codes whose messages can be found; `*` stands for any. `["*"]`
    pub providers: Vec<String>,
    /// The codes of the senders that are installed from the beginning. `[]`
    pub senders: Vec<String>,
    /// The application's address, whose host the handlers of its senders must have. none
    pub application_url: Option<String>,
    /// What `messageservice.message.status.get` answers for these internal numbers. `{}`
    pub message_statuses: BTreeMap<u64, String>,
    /// Every update gets this answer. none
    pub answer: Option<Refusal>,
    /// The leaky bucket of each host name. none
    pub rate: Option<Rate>,
    /// How much faster than real time the rate limit and the time budget run. 1.0
    pub speed: f64,
    /// The budget of execution time. none
    pub operating: Option<Operating>,
    /// Milliseconds that each portal request waits before it is executed. 0
    pub latency_ms: u64,
    /// How many seconds the clock in the header `Date` is ahead of this machine's; without a number there is
    /// no such header. none
    pub date_ahead_s: Option<i64>,
    /// Whether connections stay open after an answer. true
    pub keep_alive: bool,
    /// A connection ends after this many requests. none
    pub keep_alive_requests: Option<u64>,
    /// Connections are closed without `Connection: close`. false
    pub close_silently: bool,
    /// Answers have the member `time`. true
    pub time: bool,
    /// `/rest/USER/SECRET/METHOD` is a webhook; otherwise no such page. true
    pub webhook: bool,
    /// Old addresses of the portal. none
    #[serde(deserialize_with = "one_or_many")]
    pub moved: Vec<Moved>,
    /// Every renewal gets this answer. none
    pub oauth: Option<Refusal>,
    /// Milliseconds that a renewal waits before it is executed. 0
    pub oauth_latency_ms: u64,
    /// The `client_endpoint` of renewals. none: the host that last called the portal
    pub client_endpoint: Option<String>,
    /// Plain HTTP is answered with `INVALID_REQUEST`. false
    pub require_https: bool,
    /// How the maps of a batch's answer are written. `php`
    pub batch_result_shape: Shape,
    /// How many requests `/seen` lists; older ones are forgotten. 10000
    pub log: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_token: "access-0000000000000001".into(),
            refresh_token: "refresh-0000000000000001".into(),
            client_id: "app.1".into(),
            client_secret: "secret-0000000000000001".into(),
            member_id: "a223c6b3710f85df22e9377d6c4f7553".into(),
            application_token: "application-0000000000000001".into(),
            user_id: 67,
            admin: true,
            portals: 0,
            down: BTreeSet::new(),
            throttled: BTreeSet::new(),
            app_info: AppInfo::Told(Told::Full),
            expires_in: 3600,
            expired: false,
            messages: vec!["*".into()],
            providers: vec!["*".into()],
            senders: Vec::new(),
            application_url: None,
            message_statuses: BTreeMap::new(),
            answer: None,
            rate: None,
            speed: 1.0,
            operating: None,
            latency_ms: 0,
            date_ahead_s: None,
            keep_alive: true,
            keep_alive_requests: None,
            close_silently: false,
            time: true,
            webhook: true,
            moved: Vec::new(),
            oauth: None,
            oauth_latency_ms: 0,
            client_endpoint: None,
            require_https: false,
            batch_result_shape: Shape::Php,
            log: 10_000,
        }
    }
}

impl Settings {
    /// Defaults, changed by the members of a JSON object.
    ///
    /// # Errors
    /// A text that names the member that is unknown or has a wrong value.
    pub fn from_json(changes: &Value) -> Result<Self, String> {
        Self::default().merged(changes)
    }

    /// These settings, changed by the members of a JSON object.
    ///
    /// # Errors
    /// A text that names the member that is unknown or has a wrong value.
    pub fn merged(&self, changes: &Value) -> Result<Self, String> {
        let changes = match changes {
            Value::Null => return Ok(self.clone()),
            Value::Object(changes) => changes,
            _ => return Err("settings must be a JSON object".into()),
        };
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let Value::Object(all) = &mut all {
            for (name, value) in changes {
                let name = if name == "application" {
                    "client_id"
                } else {
                    name
                };
                all.insert(name.to_owned(), value.clone());
            }
        }
        let merged: Self = serde_json::from_value(all).map_err(|error| error.to_string())?;
        if merged.portals > MAX_PORTALS {
            return Err(format!("portals: there can be {MAX_PORTALS}"));
        }
        Ok(merged)
    }
}

/// How `app.info` is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AppInfo {
    /// With the installation, or a part of it.
    Told(Told),
    /// With this answer.
    Refused(Refusal),
}

/// What `app.info` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// Everything.
    Full,
    /// Neither the application nor the portal.
    Bare,
}

/// An answer other than success.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusal {
    /// The HTTP status. 400
    pub status: u16,
    /// The error code; an empty one leaves the member out.
    pub error: String,
    /// The description; none leaves the member out.
    pub description: Option<String>,
    /// The answer is a front-end proxy's HTML page instead of JSON. false
    pub html: bool,
    /// The answer's whole body, instead of an error object. none
    pub body: Option<String>,
}

impl Default for Refusal {
    fn default() -> Self {
        Self {
            status: 400,
            error: String::new(),
            description: None,
            html: false,
            body: None,
        }
    }
}

/// A leaky bucket.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests that fit in.
    pub x: f64,
    /// Requests that leak out each second.
    pub y: f64,
}

/// A budget of execution time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Operating {
    /// Seconds of execution allowed in a window. 480
    pub limit: f64,
    /// Seconds that one executed update costs. 0.1
    pub cost: f64,
    /// Seconds that a window lasts, in ten equal baskets. 600
    pub window: f64,
}

impl Default for Operating {
    fn default() -> Self {
        Self {
            limit: 480.0,
            cost: 0.1,
            window: 600.0,
        }
    }
}

/// An old address of the portal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The old host name.
    pub from: String,
    /// The HTTP status. 302
    #[serde(default = "found")]
    pub status: u16,
    /// The new origin, to which the request's path is appended.
    pub location: String,
    /// `location` is the whole value of the header. false
    #[serde(default)]
    pub raw_location: bool,
}

fn found() -> u16 {
    302
}

/// How the maps of a batch's answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// `[]` when empty, a list when the keys are 0, 1, 2…
    Php,
    /// Always an object.
    Object,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Moved>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<Moved>),
        One(Moved),
    }
    Ok(match Option::<OneOrMany>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::One(moved)) => vec![moved],
        Some(OneOrMany::Many(moved)) => moved,
    })
}
