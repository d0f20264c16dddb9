//! Proxies: the option's own, or the environment's as curl reads it.

use super::{Exchange, Failure};
use crate::Error;
use crate::config::invalid;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Either, Transport,
};

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

    /// The proxy that the environment names for `https` (or else `http`) addresses. An upper-case
    /// `HTTP_PROXY` is never read: in a CGI it is what a web client sent as its `Proxy` header.
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
        let plain = read(&self.url)?;
        let mut builder = ureq::Proxy::builder(plain.protocol())
            .host(plain.host())
            .port(plain.port());
        if let Some(name) = plain.username() {
            builder = builder.username(name);
        }
        if let Some(password) = plain.password() {
            builder = builder.password(password);
        }
        for entry in self.except.split([',', ' ']).filter(|e| !e.is_empty()) {
            if entry == "*" {
                builder = builder.no_proxy("*");
                continue;
            }
            // curl takes a name for itself and everything below it, with or without the dot.
            let name = entry.trim_start_matches("*.").trim_start_matches('.');
            builder = builder.no_proxy(name).no_proxy(&format!(".{name}"));
        }
        builder.build().map_err(|_| fault())
    }
}

/// Has a tunnel made by the proxy. ureq runs the whole chain of connectors for the connection to it;
/// the others must know that this is not yet the connection that was asked for.
#[derive(Debug, Default)]
pub(super) struct ProxyConnector(ConnectProxyConnector);

impl<In: Transport> Connector<In> for ProxyConnector {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if details.config.proxy().is_none() {
            return self.0.connect(details, chained);
        }
        Exchange::with(|exchange| exchange.to_proxy = true)?;
        let tunnel = self.0.connect(details, chained);
        Exchange::with(|exchange| exchange.to_proxy = false)?;
        tunnel
    }
}

/// Why there is no tunnel. ureq gives the status in a text: "… responded STATUS/…".
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

/// Whether the option's value is the URL of a proxy that can be used.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    read(url).map(drop)
}

fn read(url: &str) -> Result<ureq::Proxy, Error> {
    let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(fault());
    }
    ureq::Proxy::new(url).map_err(|_| fault())
}

/// Never quotes the value: there may be a password in it.
fn fault() -> Error {
    invalid(
        "proxy",
        "is not the URL of an HTTP proxy; it takes env (the environment's proxy), none, or a URL \
         such as http://proxy.example.com:3128",
    )
}
