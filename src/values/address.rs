//! The address of a portal, and to which others it may be followed.

use super::error::{Error, ErrorKind};
use public_suffix::{DEFAULT_PROVIDER, EffectiveTLDProvider};
use std::fmt;
use std::net::IpAddr;
use ureq::http::Uri;

/// A portal's address: scheme, host and port, nothing else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    https: bool,
    /// Lower case; an IPv6 address in its brackets.
    host: String,
    port: u16,
}

/// What is wrong with an address that a caller or a portal gave. It never quotes the path, which
/// may be a webhook's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("is empty")]
    Empty,
    #[error("is not a host name or a URL")]
    Malformed,
    #[error("has a scheme other than https")]
    Scheme,
    #[error("has a user name or password in it")]
    UserInfo,
    #[error(
        "is an inbound webhook, with which this method never works: give the portal's host name \
         and the access token of an installed application"
    )]
    Webhook,
    #[error("has a path, query or fragment that a portal's address does not have")]
    Path,
}

impl Origin {
    /// Reads `portal.bitrix24.com`, an origin, or a `client_endpoint` URL.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let (origin, path) = split(text)?;
        let path = path.trim_matches('/');
        if path.is_empty() || path == "rest" {
            Ok(origin)
        } else if path.starts_with("rest/") {
            Err(AddressError::Webhook)
        } else {
            Err(AddressError::Path)
        }
    }

    /// The vendor's authorization server.
    pub(crate) fn default_oauth() -> Self {
        Self {
            https: true,
            host: "oauth.bitrix.info".to_owned(),
            port: HTTPS_PORT,
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The host, in lower case.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a REST method.
    pub(crate) fn method_uri(&self, method: &str) -> Result<Uri, Error> {
        format!("{self}/rest/{method}").parse().map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!("portal: {self} is not a valid address; it takes a host name or a URL"),
            )
        })
    }

    /// The address as the portal itself would write it: `https://portal.bitrix24.com/rest/`.
    pub(crate) fn client_endpoint(&self) -> String {
        format!("{self}/rest/")
    }

    /// The address to which a portal at this address moves with this `Location`, if the token may
    /// be sent there: over https, to the same method, and to a host under the same parent domain or
    /// one that the caller named.
    pub(crate) fn follow(
        &self,
        location: &str,
        method: &str,
        redirect_hosts: &[String],
    ) -> Result<Self, MoveRefused> {
        let location = location.trim();
        if location.is_empty() {
            return Err(MoveRefused::new("without saying where to"));
        }
        let absolute = if location.starts_with("//") {
            format!("{}:{location}", self.scheme())
        } else if location.starts_with('/') {
            format!("{self}{location}")
        } else {
            location.to_owned()
        };
        if !absolute.contains("://") {
            return Err(MoveRefused::new("to an address that cannot be read"));
        }
        let (to, path) = split(&absolute).map_err(|error| match error {
            AddressError::UserInfo => MoveRefused::new("to an address with a user name in it"),
            AddressError::Scheme => MoveRefused::new("to an address that is not https"),
            _ => MoveRefused::new("to an address that cannot be read"),
        })?;
        let refused = |why: &'static str| MoveRefused {
            to: Some(to.clone()),
            why,
        };
        if !to.https {
            return Err(refused("which is not https"));
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix(".json").unwrap_or(path);
        if path.strip_prefix("/rest/") != Some(method) {
            return Err(refused("to another page than the called method's"));
        }
        if redirect_hosts.contains(&to.host) {
            return Ok(to);
        }
        if to.port != HTTPS_PORT && (to.port != self.port || to.host != self.host) {
            return Err(refused("to a port that is not the portal's"));
        }
        if to.host == self.host || self.is_sibling(&to) {
            Ok(to)
        } else {
            Err(refused("to a host under another domain"))
        }
    }

    /// Whether the other host is under the same parent domain, which must not be a public suffix,
    /// under which anybody can register.
    fn is_sibling(&self, other: &Self) -> bool {
        let is_address = |host: &str| {
            host.starts_with('[') || host.parse::<IpAddr>().is_ok() || host.ends_with('.')
        };
        if is_address(&self.host) || is_address(&other.host) {
            return false;
        }
        let Some((_, parent)) = self.host.split_once('.') else {
            return false;
        };
        DEFAULT_PROVIDER.effective_tld_plus_one(parent).is_ok()
            && other
                .host
                .strip_suffix(parent)
                .is_some_and(|label| label.len() > 1 && label.ends_with('.'))
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

/// `https://host[:port]`, the port only if it is not the scheme's default.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host)?;
        if self.port == default_port(self.https) {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What DNS can hold.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

fn default_port(https: bool) -> u16 {
    if https { HTTPS_PORT } else { HTTP_PORT }
}

/// Splits a URL or a bare authority into its origin and everything after it.
fn split(text: &str) -> Result<(Origin, &str), AddressError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    let (https, rest) = match text.split_once("://") {
        None => (true, text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some(_) => return Err(AddressError::Scheme),
    };
    // Browsers read a backslash as a slash, others as part of the host. No portal has one.
    if rest.contains(['\\', ' ']) || rest.contains(char::is_control) {
        return Err(AddressError::Malformed);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err(AddressError::UserInfo);
    }
    let authority: ureq::http::uri::Authority =
        authority.parse().map_err(|_| AddressError::Malformed)?;
    let host = authority.host().to_ascii_lowercase();
    let is_name = |name: &str| {
        name.len() <= MAX_NAME
            && name.split('.').all(|label| {
                (1..=MAX_LABEL).contains(&label.len())
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            })
    };
    if !host.starts_with('[') && !is_name(host.strip_suffix('.').unwrap_or(&host)) {
        return Err(AddressError::Malformed);
    }
    let port = match authority.port() {
        Some(port) if port.as_u16() == 0 => return Err(AddressError::Malformed),
        Some(port) => port.as_u16(),
        None if authority.as_str().len() > authority.host().len() => {
            return Err(AddressError::Malformed);
        }
        None => default_port(https),
    };
    Ok((Origin { https, host, port }, path))
}

/// Why a portal is not followed to its new address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MoveRefused {
    to: Option<Origin>,
    why: &'static str,
}

impl MoveRefused {
    pub(crate) fn new(why: &'static str) -> Self {
        Self { to: None, why }
    }

    pub(crate) fn error(&self, from: &Origin) -> Error {
        let message = match &self.to {
            Some(to) => format!(
                "portal {from} moved to {to}, {}; the token was not sent there. If the new \
                 address is right, set portal to it, or name its host in redirect_hosts",
                self.why
            ),
            None => format!(
                "portal {from} moved {}; the token was sent nowhere else. Ask the portal's \
                 administrator for its present address and set portal to it",
                self.why
            ),
        };
        Error::new(ErrorKind::PortalMoved, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &str = "messageservice.message.status.update";

    fn follow(from: &str, location: &str, hosts: &[&str]) -> Result<String, &'static str> {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        Origin::parse(from)
            .map_err(|_| "from")?
            .follow(location, METHOD, &hosts)
            .map(|to| to.to_string())
            .map_err(|refusal| refusal.why)
    }

    #[test]
    fn addresses_are_read_in_each_form() {
        for (text, display) in [
            ("portal.bitrix24.com", "https://portal.bitrix24.com"),
            ("Portal.Bitrix24.com:443", "https://portal.bitrix24.com"),
            ("https://p.bitrix24.de/rest/", "https://p.bitrix24.de"),
            ("https://p.bitrix24.de:8443", "https://p.bitrix24.de:8443"),
            ("http://127.0.0.1:8080/rest", "http://127.0.0.1:8080"),
            ("[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), display);
        }
        for (text, error) in [
            ("", AddressError::Empty),
            ("ftp://portal", AddressError::Scheme),
            ("https://user@portal", AddressError::UserInfo),
            ("https://portal/rest/1/abcdef/", AddressError::Webhook),
            ("https://portal/crm/", AddressError::Path),
            ("https://portal?x=1", AddressError::Path),
            ("por tal", AddressError::Malformed),
            ("a..b", AddressError::Malformed),
            ("portal:", AddressError::Malformed),
            ("portal:99999", AddressError::Malformed),
            ("портал.рф", AddressError::Malformed),
            (&format!("{}.test", "a".repeat(64)), AddressError::Malformed),
            (
                &format!("{}test", "a.".repeat(126)),
                AddressError::Malformed,
            ),
        ] {
            assert_eq!(Origin::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_move_is_followed_only_to_where_a_portal_can_be() {
        let path = format!("/rest/{METHOD}");
        let at = |origin: &str| format!("{origin}{path}");
        for (from, location, to) in [
            (
                "a.bitrix24.de",
                at("https://b.bitrix24.de"),
                "https://b.bitrix24.de",
            ),
            (
                "a.bitrix24.de",
                at("https://b.bitrix24.de") + ".json?x=1",
                "https://b.bitrix24.de",
            ),
            (
                "a.bitrix24.de",
                at("//b.bitrix24.de"),
                "https://b.bitrix24.de",
            ),
            ("a.bitrix24.de", path.clone(), "https://a.bitrix24.de"),
            (
                "http://a.bitrix24.de",
                at("https://a.bitrix24.de"),
                "https://a.bitrix24.de",
            ),
            (
                "a.bitrix24.de:8443",
                at("https://a.bitrix24.de:8443"),
                "https://a.bitrix24.de:8443",
            ),
        ] {
            assert_eq!(
                follow(from, &location, &[]).as_deref(),
                Ok(to),
                "{location}"
            );
        }
        for (from, location) in [
            ("a.bitrix24.de", at("http://b.bitrix24.de")),
            ("a.bitrix24.de", at("https://b.bitrix24.com")),
            ("a.bitrix24.de", at("https://bitrix24.de")),
            ("a.bitrix24.de", at("https://evilbitrix24.de")),
            ("a.com.br", at("https://b.com.br")),
            ("bitrix24.de", at("https://other.de")),
            ("10.0.0.1", at("https://11.0.0.1")),
            ("a.bitrix24.de", at("https://a.bitrix24.de@evil.example")),
            ("a.bitrix24.de", at("https://evil.example\\@a.bitrix24.de")),
            ("a.bitrix24.de", at("https://b.bitrix24.de:8443")),
            ("a.bitrix24.de", "https://b.bitrix24.de/login".to_owned()),
            ("a.bitrix24.de", "https://b.bitrix24.de".to_owned()),
            ("a.bitrix24.de", "elsewhere".to_owned()),
            ("a.bitrix24.de", " ".to_owned()),
        ] {
            assert!(follow(from, &location, &[]).is_err(), "{location}");
        }
        let elsewhere = at("https://crm.example.com:8443");
        assert!(follow("a.bitrix24.de", &elsewhere, &[]).is_err());
        assert!(follow("a.bitrix24.de", &elsewhere, &["crm.example.com"]).is_ok());
    }
}
