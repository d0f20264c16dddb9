//! The pair of tokens that a call is made with.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A snapshot of an installation's tokens. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) client_endpoint: String,
    pub(crate) member_id: String,
    pub(crate) expires: Option<i64>,
}

impl Tokens {
    /// The token that calls are made with.
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// The token of the next renewal; empty if there is none. It works once.
    pub fn refresh_token(&self) -> &str {
        &self.refresh_token
    }

    /// The portal's REST address (`https://portal.bitrix24.com/rest/`), moves included.
    pub fn client_endpoint(&self) -> &str {
        &self.client_endpoint
    }

    /// The portal's permanent id; empty until a renewal has told it.
    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// When the access token expires, in Unix time, if that is known.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("client_endpoint", &self.client_endpoint)
            .field("member_id", &self.member_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What a client knows of its installation's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) tokens: Tokens,
    /// When the access token expires by the clock of this machine, in Unix time, if it is known.
    pub(crate) expires_here: Option<i64>,
}

impl Credentials {
    /// Whether the access token is known to have expired.
    pub(crate) fn have_expired(&self) -> bool {
        self.expires_here.is_some_and(|at| at <= unix_now())
    }

    /// Whether these may be good though the others were refused.
    pub(crate) fn are_good_after(&self, refused: &Self) -> bool {
        self.tokens.access_token != refused.tokens.access_token && !self.have_expired()
    }
}

/// Tells a refresh token of an application from all others, and nothing else of it. The same in every
/// version of this library: it stands in files.
pub(crate) fn fingerprint(client_id: &str, refresh_token: &str) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(client_id.as_bytes());
    context.update(b"\0");
    context.update(refresh_token.as_bytes());
    let digest = context.finish();
    digest
        .as_ref()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The time of this machine's clock, in seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}
