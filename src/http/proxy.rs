//! Proxies: the one of the option, or that of the environment as curl reads it.
//!
//! ureq reads one proxy for all schemes, and also an upper-case `HTTP_PROXY`. In its `no_proxy`
//! there are no ranges of addresses, and a domain does not include the hosts below it. Tunnels are
//! made by ureq.

use super::exchange::Failure;
use crate::options::read_proxy_url;
use crate::values::error::Error;
use std::net::IpAddr;

/// A proxy, and the hosts that are reached without it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Chosen {
    url: String,
    /// As curl's `no_proxy`, comma-separated.
    except: String,
}

impl Chosen {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            except: String::new(),
        }
    }

    /// The proxy of the environment for `https` or `http` addresses. An upper-case `HTTP_PROXY` is
    /// never read, because in a CGI program it is the `Proxy` header of a web client.
    pub(super) fn from_env(https: bool) -> Option<Self> {
        let own: &[&str] = if https {
            &["https_proxy", "HTTPS_PROXY"]
        } else {
            &["http_proxy"]
        };
        let first = |names: &[&str]| {
            names
                .iter()
                .filter_map(|name| std::env::var(name).ok())
                .find(|value| !value.is_empty())
        };
        Some(Self {
            url: first(own).or_else(|| first(&["all_proxy", "ALL_PROXY"]))?,
            except: first(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
        })
    }

    pub(super) fn build(&self) -> Result<ureq::Proxy, Error> {
        read_proxy_url(&self.url)
    }

    pub(super) fn direct(&self) -> Direct {
        let words = self.except.split([',', ' ', '\t']);
        let words = words.filter(|word| !word.is_empty());
        Direct(words.map(Entry::new).collect())
    }
}

/// The hosts that are reached without a proxy, as curl reads `no_proxy`.
#[derive(Debug, Default)]
pub(super) struct Direct(Vec<Entry>);

#[derive(Debug)]
enum Entry {
    Any,
    /// An address, and how many of its bits are compared.
    Network(IpAddr, u32),
    /// A host, and all hosts below it.
    Domain(String),
}

impl Entry {
    fn new(word: &str) -> Self {
        if word == "*" {
            return Self::Any;
        }
        let (address, bits) = match word.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok()),
            None => (word, Some(u32::MAX)),
        };
        if let (Ok(ip), Some(bits)) = (bare(address).parse(), bits) {
            return Self::Network(ip, bits);
        }
        let name = word.trim_start_matches("*.").trim_matches('.');
        Self::Domain(name.to_ascii_lowercase())
    }

    fn holds(&self, host: &str) -> bool {
        match (self, host.parse()) {
            (Self::Any, _) => true,
            (Self::Network(network, bits), Ok(ip)) => is_within(ip, *network, *bits),
            (Self::Domain(name), Err(_)) => host
                .strip_suffix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            (Self::Network(..), Err(_)) | (Self::Domain(_), Ok(_)) => false,
        }
    }
}

impl Direct {
    pub(super) fn holds(&self, host: &str) -> bool {
        let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|entry| entry.holds(&host))
    }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (ip.to_bits() ^ network.to_bits()).leading_zeros() >= bits.min(u32::BITS)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            (ip.to_bits() ^ network.to_bits()).leading_zeros() >= bits.min(u128::BITS)
        }
        _ => false,
    }
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Why there is no tunnel. ureq returns the status in a text: "… responded STATUS/…".
pub(super) fn failure(reason: &str) -> Failure {
    let status = reason
        .rsplit(' ')
        .next()
        .and_then(|word| word.split('/').next()?.parse::<u16>().ok());
    let Some(status) = status else {
        return Failure::Network("the proxy closed the connection".to_owned());
    };
    let why = format!("the proxy refused to connect with HTTP {status}");
    match status {
        407 => Failure::Proxy(format!(
            "{why}: check the user name and password in the URL of the option proxy, or of the \
             environment's proxy"
        )),
        500..=599 => Failure::Network(why),
        _ => Failure::Proxy(format!(
            "{why}: have the proxy's rules allow CONNECT to this address, and check that the option \
             proxy names a proxy"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        for (entries, host, direct) in [
            ("", "a.test", false),
            ("*", "a.test", true),
            ("*", "10.1.2.3", true),
            ("b.test, a.test", "a.test", true),
            ("A.test", "a.TEST.", true),
            ("a.test", "www.a.test", true),
            (".a.test", "a.test", true),
            ("*.a.test", "www.a.test", true),
            ("a.test.", "a.test", true),
            ("a.test", "aa.test", false),
            ("a.test", "a.test.evil", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("2.3", "10.1.2.3", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "10.0.0.1.test", false),
            ("192.168.1.128/25", "192.168.1.127", false),
            ("192.168.1.128/25", "192.168.1.200", true),
            ("192.168.1.1/32", "192.168.1.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "[::1]", false),
            ("10.0.0.0/x", "10.0.0.1", false),
            ("::1/128", "[::1]", true),
            ("[::1]", "[::1]", true),
            ("fd00::/8", "[fd12:3456::1]", true),
            ("fd00::/8", "[fe80::1]", false),
            ("::ffff:0:0/96", "10.0.0.1", false),
        ] {
            let chosen = Chosen {
                url: String::new(),
                except: entries.to_owned(),
            };
            assert_eq!(chosen.direct().holds(host), direct, "{host} in {entries}");
        }
    }
}
