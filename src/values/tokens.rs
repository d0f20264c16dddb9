//! The pair of tokens that a call uses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The tokens of an installation at one moment. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) client_endpoint: String,
    pub(crate) member_id: String,
    pub(crate) expires: Option<i64>,
}

impl Tokens {
    /// The token that calls use.
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// The token for the next renewal, which works once; empty if there is none.
    pub fn refresh_token(&self) -> &str {
        &self.refresh_token
    }

    /// The portal's REST address (`https://portal.bitrix24.com/rest/`): the new one if it has
    /// moved.
    pub fn client_endpoint(&self) -> &str {
        &self.client_endpoint
    }

    /// The portal's permanent id; empty until the first renewal.
    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// When the access token expires, in Unix time; `None` if unknown.
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

/// What a client knows about its installation's tokens.
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

    /// Whether these tokens may be valid although the others were refused.
    pub(crate) fn are_good_after(&self, refused: &Self) -> bool {
        self.tokens.access_token != refused.tokens.access_token && !self.have_expired()
    }
}

/// A hash that identifies a refresh token of an application without showing it. It must stay the
/// same in every version of this library, because files contain it.
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
