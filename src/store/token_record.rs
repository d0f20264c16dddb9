//! What is known about one installation: its newest pair of tokens, and which pairs that has
//! replaced.

use crate::values::tokens::{Credentials, fingerprint};
use serde::{Deserialize, Serialize};

/// The refresh tokens that were replaced, oldest first, as fingerprints.
///
/// A refresh token is valid for 180 days, and is replaced at most once an hour. So this many may
/// still be in somebody's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReplacedTokens(Vec<u64>);

impl ReplacedTokens {
    const MAX: usize = 180 * 24;

    fn contains(&self, fingerprint: u64) -> bool {
        self.0.contains(&fingerprint)
    }

    fn push(&mut self, fingerprint: u64) {
        if !self.contains(fingerprint) {
            self.0.push(fingerprint);
        }
        let over = self.0.len().saturating_sub(Self::MAX);
        self.0.drain(..over);
    }
}

/// The content of a file of tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TokenRecord {
    pub(crate) credentials: Credentials,
    replaced: ReplacedTokens,
    /// Whether the tokens were moved to a provider's store. There are none here then.
    pub(super) moved_to_store: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    credentials: Credentials,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<String>,
    /// How many fingerprints follow.
    replaced: usize,
}

/// What a file says whose tokens were moved.
const MOVED: &str = "moved to store";

impl TokenRecord {
    const VERSION: u32 = 2;

    /// A record of the present pair, which is of the same installation as another refresh token.
    #[cfg(feature = "provider")]
    pub(super) fn of(credentials: Credentials, client_id: &str, other_token: &str) -> Self {
        let mut record = Self {
            credentials,
            ..Self::default()
        };
        record.replace(client_id, [fingerprint(client_id, other_token)]);
        record
    }

    /// The newest refresh token as a fingerprint, if there is one.
    pub(super) fn newest(&self, client_id: &str) -> Option<u64> {
        let token = &self.credentials.tokens.refresh_token;
        (!token.is_empty()).then(|| fingerprint(client_id, token))
    }

    /// Whether this refresh token is the newest of the installation or one that it replaced.
    pub(crate) fn knows(&self, client_id: &str, refresh_token: &str) -> bool {
        !refresh_token.is_empty()
            && (self.credentials.tokens.refresh_token == refresh_token
                || self
                    .replaced
                    .contains(fingerprint(client_id, refresh_token)))
    }

    /// Whether the recorded pair is to be used instead of this one, which is of the same
    /// installation if its refresh token is known here.
    pub(crate) fn replaces(&self, client_id: &str, mine: &Credentials) -> bool {
        let (newest, mine) = (&self.credentials.tokens, &mine.tokens);
        if mine.refresh_token.is_empty() {
            return mine.access_token.is_empty() && !newest.access_token.is_empty();
        }
        let same =
            newest.access_token == mine.access_token && newest.refresh_token == mine.refresh_token;
        !same && self.knows(client_id, &mine.refresh_token)
    }

    /// Records the pair that the renewal of `used` has returned.
    pub(crate) fn renew(&mut self, client_id: &str, used: &Credentials, fresh: &Credentials) {
        let former = self.newest(client_id);
        self.credentials = fresh.clone();
        let token = &used.tokens.refresh_token;
        let used = (!token.is_empty()).then(|| fingerprint(client_id, token));
        self.replace(client_id, former.into_iter().chain(used));
    }

    /// Records that these refresh tokens, as fingerprints, are of this installation and older than
    /// its newest.
    pub(crate) fn replace(&mut self, client_id: &str, older: impl IntoIterator<Item = u64>) {
        let newest = self.newest(client_id);
        for fingerprint in older {
            if Some(fingerprint) != newest {
                self.replaced.push(fingerprint);
            }
        }
    }

    /// Takes the tokens out, and notes where they are. They are still known as this installation's.
    #[cfg(feature = "provider")]
    pub(super) fn move_to_store(&mut self, client_id: &str) {
        let newest = self.newest(client_id);
        let tokens = std::mem::take(&mut self.credentials).tokens;
        self.credentials.tokens.client_endpoint = tokens.client_endpoint;
        self.credentials.tokens.member_id = tokens.member_id;
        self.replace(client_id, newest);
        self.moved_to_store = true;
    }

    /// Adds what an older record of the same installation knows.
    pub(super) fn absorb(&mut self, client_id: &str, older: &Self) {
        let tokens = older.replaced.0.iter().copied();
        self.replace(client_id, tokens.chain(older.newest(client_id)));
    }

    /// A line of JSON, and eight bytes for each replaced token.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&Head {
            version: Self::VERSION,
            credentials: self.credentials.clone(),
            moved: self.moved_to_store.then(|| MOVED.to_owned()),
            replaced: self.replaced.0.len(),
        })?;
        bytes.push(b'\n');
        for fingerprint in &self.replaced.0 {
            bytes.extend(fingerprint.to_le_bytes());
        }
        Ok(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = bytes.split_at(end);
        let head: Head = serde_json::from_slice(head).ok()?;
        let (fingerprints, left) = rest.get(1..)?.as_chunks::<8>();
        let whole = left.is_empty() && head.replaced == fingerprints.len();
        (head.version == Self::VERSION && whole).then(|| Self {
            credentials: head.credentials,
            moved_to_store: head.moved.is_some(),
            replaced: ReplacedTokens(
                fingerprints
                    .iter()
                    .map(|f| u64::from_le_bytes(*f))
                    .collect(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: usize) -> Credentials {
        let mut pair = Credentials::default();
        pair.tokens.access_token = format!("access-{number}");
        pair.tokens.refresh_token = format!("refresh-{number}");
        pair
    }

    #[test]
    fn every_token_of_180_days_is_known_in_35_kilobytes() {
        let mut record = TokenRecord::default();
        for number in 0..5000 {
            record.renew("app.1", &pair(number), &pair(number + 1));
        }
        for number in 680..5000 {
            assert!(record.replaces("app.1", &pair(number)), "{number}");
        }
        assert!(!record.replaces("app.1", &pair(5000)));
        assert!(!record.knows("app.1", "refresh-9999"));
        assert!(!record.knows("app.2", "refresh-4999"));
        let bytes = record.to_bytes().unwrap();
        assert!(bytes.len() < 35 * 1024, "{}", bytes.len());
        assert_eq!(TokenRecord::from_bytes(&bytes), Some(record));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut record = TokenRecord::default();
        record.renew("app.1", &pair(0), &pair(1));
        let whole = record.to_bytes().unwrap();
        for end in 0..whole.len() {
            assert_eq!(TokenRecord::from_bytes(&whole[..end]), None, "{end}");
        }
        for text in ["", "\n", "null\n", "{\"version\":2}\n", "[[[[\n"] {
            assert_eq!(TokenRecord::from_bytes(text.as_bytes()), None, "{text:?}");
        }
    }
}
