//! Configuration: the options, what each takes, and which go together.

use crate::values::address::{AddressError, Origin};
use crate::values::callbacks::{OnInterrupt, OnRenewal};
use crate::values::error::{Error, ErrorKind};
use crate::values::rate::Rate;
use crate::values::tokens::Tokens;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// What a [`Client`](crate::Client) is made from.
///
/// Options are set by name ([`Config::set`], the same names in every language) or by the methods
/// named like them. A value that a method cannot take is reported by
/// [`Client::new`](crate::Client::new). Nothing is read from the environment, except what
/// `proxy` says. `Debug` shows no secret. A `Config` is plain data: clone it, send it to threads.
///
/// ```
/// let mut config = b24_messageservice::Config::new();
/// config.portal("portal.bitrix24.com").access_token("ACCESS_TOKEN");
/// config.set("timeout_ms", "10000")?;
/// let client = b24_messageservice::Client::new(&config)?;
/// # Ok::<(), b24_messageservice::Error>(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) settings: Settings,
    pub(crate) on_renewal: Option<OnRenewal>,
    pub(crate) on_interrupt: Option<OnInterrupt>,
    /// The first value that a method could not take.
    fault: Option<Error>,
}

/// The options as read. Two equal settings make clients that can stand for each other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    pub(crate) portal: Option<Origin>,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) oauth: Origin,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) rate: Option<Rate>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Proxy,
    pub(crate) resolve: Vec<Resolve>,
    pub(crate) redirect_hosts: Vec<String>,
    pub(crate) user_agent: String,
    pub(crate) allow_http: bool,
}

const STANDARD: Rate = Rate {
    burst: 50.0,
    drain: 2.0,
};
const ENTERPRISE: Rate = Rate {
    burst: 250.0,
    drain: 5.0,
};

/// Which proxy connections go through.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Proxy {
    Env,
    None,
    /// A URL, checked, perhaps with a password in it.
    Url(String),
}

/// An address to use for a host and port instead of asking DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resolve {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// A configuration with every default, and no portal yet.
    pub fn new() -> Self {
        Self {
            settings: Settings {
                portal: None,
                access_token: String::new(),
                refresh_token: String::new(),
                client_id: String::new(),
                client_secret: String::new(),
                oauth: Origin::default_oauth(),
                timeout: Duration::from_secs(30),
                connect_timeout: Duration::from_secs(10),
                max_retries: 4,
                rate: Some(STANDARD),
                state_dir: None,
                ca_file: None,
                proxy: Proxy::Env,
                resolve: Vec::new(),
                redirect_hosts: Vec::new(),
                user_agent: String::new(),
                allow_http: false,
            },
            on_renewal: None,
            on_interrupt: None,
            fault: None,
        }
    }

    /// Sets an option by its name, from its text. `docs/options.md` lists them all.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) at once, naming the option and what it takes;
    /// the option then keeps its former value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, Error> {
        let settings = &mut self.settings;
        match name {
            "portal" => settings.portal = Some(read_portal(value)?),
            "access_token" => settings.access_token = read_secret(name, value)?,
            "refresh_token" => settings.refresh_token = read_secret(name, value)?,
            "client_id" => settings.client_id = read_secret(name, value)?,
            "client_secret" => settings.client_secret = read_secret(name, value)?,
            "oauth_url" => settings.oauth = read_oauth_url(value)?,
            "timeout_ms" => settings.timeout = read_milliseconds(name, value)?,
            "connect_timeout_ms" => settings.connect_timeout = read_milliseconds(name, value)?,
            "max_retries" => settings.max_retries = read_max_retries(value)?,
            "rate_limit" => settings.rate = read_rate(value)?,
            "state_dir" => settings.state_dir = Some(read_path(name, value)?),
            "ca_file" => settings.ca_file = Some(read_path(name, value)?),
            "proxy" => settings.proxy = read_proxy(value)?,
            "resolve" => settings.resolve = read_resolve(value)?,
            "redirect_hosts" => settings.redirect_hosts = read_redirect_hosts(value)?,
            "user_agent" => settings.user_agent = read_user_agent(value)?,
            "allow_http" => settings.allow_http = read_bool(name, value)?,
            _ => {
                return Err(invalid(
                    &shown(name),
                    "is no option of this library; the options are portal, access_token, \
                     refresh_token, client_id, client_secret, oauth_url, timeout_ms, \
                     connect_timeout_ms, max_retries, rate_limit, state_dir, ca_file, proxy, \
                     resolve, redirect_hosts, user_agent and allow_http",
                ));
            }
        }
        Ok(self)
    }

    /// The portal: `portal.bitrix24.com`, an origin, or a `client_endpoint` URL. Required.
    pub fn portal(&mut self, portal: &str) -> &mut Self {
        self.keep_fault("portal", portal)
    }

    /// The OAuth access token that calls are made with. Required, unless `state_dir` holds one.
    pub fn access_token(&mut self, token: &str) -> &mut Self {
        self.keep_fault("access_token", token)
    }

    /// What an expired access token is renewed with: the refresh token received with it, and the
    /// application's id and secret.
    pub fn renewal(
        &mut self,
        refresh_token: &str,
        client_id: &str,
        client_secret: &str,
    ) -> &mut Self {
        self.keep_fault("refresh_token", refresh_token)
            .keep_fault("client_id", client_id)
            .keep_fault("client_secret", client_secret)
    }

    /// The authorization server, `https://oauth.bitrix.info` by default.
    pub fn oauth_url(&mut self, url: &str) -> &mut Self {
        self.keep_fault("oauth_url", url)
    }

    /// The deadline of a whole call (`timeout_ms`), 30 s by default: waiting, renewal, redirects
    /// and retries included.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.keep_fault("timeout_ms", &timeout.as_millis().to_string())
    }

    /// The time for one connection attempt (`connect_timeout_ms`), 10 s by default.
    pub fn connect_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.keep_fault("connect_timeout_ms", &timeout.as_millis().to_string())
    }

    /// How often a call is repeated after the first try, 4 by default.
    pub fn max_retries(&mut self, retries: u32) -> &mut Self {
        self.keep_fault("max_retries", &retries.to_string())
    }

    /// The portal's request limit: `standard` (50/2, the default), `enterprise` (250/5), `off`, or
    /// `BURST/DRAIN`.
    pub fn rate_limit(&mut self, rate: &str) -> &mut Self {
        self.keep_fault("rate_limit", rate)
    }

    /// A directory through which the processes of one machine share tokens and the rate limit.
    pub fn state_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.settings.state_dir = Some(directory.as_ref().to_owned());
        self
    }

    /// A PEM file of root certificates that are trusted besides the built-in ones.
    pub fn ca_file(&mut self, file: impl AsRef<Path>) -> &mut Self {
        self.settings.ca_file = Some(file.as_ref().to_owned());
        self
    }

    /// The proxy: `env` (the default), `none`, or a URL.
    pub fn proxy(&mut self, proxy: &str) -> &mut Self {
        self.keep_fault("proxy", proxy)
    }

    /// Addresses to use instead of DNS: `host:port:address[:port]`, comma-separated.
    pub fn resolve(&mut self, addresses: &str) -> &mut Self {
        self.keep_fault("resolve", addresses)
    }

    /// Further hosts that a portal may move to, comma-separated.
    pub fn redirect_hosts(&mut self, hosts: &str) -> &mut Self {
        self.keep_fault("redirect_hosts", hosts)
    }

    /// A prefix to the library's own `User-Agent`, such as `my-gateway/2.1`.
    pub fn user_agent(&mut self, prefix: &str) -> &mut Self {
        self.keep_fault("user_agent", prefix)
    }

    /// Whether an `http://` portal is accepted; the token then travels in the clear.
    pub fn allow_http(&mut self, allow: bool) -> &mut Self {
        self.settings.allow_http = allow;
        self
    }

    /// A function that is given each renewed pair before it is first used, to be stored: the old
    /// refresh token may have stopped working already. It is called once for each renewal, on the
    /// renewal's own thread, which no call waits on for ever and which has all signals blocked,
    /// after the pair was written to `state_dir`. It must not make calls of the same installation:
    /// they would wait for the renewal that waits for it.
    pub fn on_renewal(&mut self, callback: impl Fn(&Tokens) + Send + Sync + 'static) -> &mut Self {
        let callback = Arc::new(callback);
        self.on_renewal_of_caller(move || {
            let callback = Arc::clone(&callback);
            Some(Box::new(move |tokens: &Tokens| callback(tokens)))
        })
    }

    /// For language bindings whose callback belongs to the calling thread: `choose` is asked there,
    /// when a call begins a renewal, for the function that is given the renewed pair.
    #[doc(hidden)]
    pub fn on_renewal_of_caller(
        &mut self,
        choose: impl Fn() -> Option<Box<dyn FnOnce(&Tokens) + Send>> + Send + Sync + 'static,
    ) -> &mut Self {
        self.on_renewal = Some(Arc::new(choose));
        self
    }

    /// A function asked, on the waiting thread, when a signal ends a wait: `true` ends the call
    /// with [`Cancelled`](ErrorKind::Cancelled). Without one, signals are handled by the host and
    /// the wait goes on.
    pub fn on_interrupt(
        &mut self,
        callback: impl Fn() -> bool + Send + Sync + 'static,
    ) -> &mut Self {
        self.on_interrupt = Some(Arc::new(callback));
        self
    }

    fn keep_fault(&mut self, name: &str, value: &str) -> &mut Self {
        let fault = self.set(name, value).err();
        if self.fault.is_none() {
            self.fault = fault;
        }
        self
    }

    /// The settings, if they go together.
    pub(crate) fn check(&self) -> Result<&Settings, Error> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let settings = &self.settings;
        let Some(portal) = &settings.portal else {
            return Err(invalid(
                "portal",
                "is missing; it takes a host name such as portal.bitrix24.com, an origin, or a \
                 client_endpoint URL",
            ));
        };
        if !portal.is_https() && !settings.allow_http {
            return Err(invalid(
                "portal",
                "is an http:// address, over which the token would travel in the clear; give an \
                 https:// one, or set allow_http to true",
            ));
        }
        let has = |value: &String| !value.is_empty();
        if settings.access_token.is_empty() && settings.state_dir.is_none() {
            return Err(invalid(
                "access_token",
                "is missing; it takes the OAuth access token of an installed application, unless \
                 state_dir holds one",
            ));
        }
        if has(&settings.client_id) != has(&settings.client_secret) {
            let (missing, given) = if has(&settings.client_id) {
                ("client_secret", "client_id")
            } else {
                ("client_id", "client_secret")
            };
            return Err(invalid(
                missing,
                &format!(
                    "is missing, without which {given} serves nothing: renewal takes \
                     refresh_token, client_id and client_secret"
                ),
            ));
        }
        if has(&settings.refresh_token) && !has(&settings.client_id) {
            return Err(invalid(
                "client_id",
                "is missing, and so is client_secret, without which refresh_token serves nothing",
            ));
        }
        if has(&settings.client_id) && !has(&settings.refresh_token) && settings.state_dir.is_none()
        {
            return Err(invalid(
                "refresh_token",
                "is missing, without which client_id and client_secret serve nothing, unless \
                 state_dir holds one",
            ));
        }
        Ok(settings)
    }
}

/// `InvalidConfig` for an option.
pub(crate) fn invalid(name: &str, fault: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("{name} {fault}"))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        f.debug_struct("Config")
            .field("portal", &settings.portal)
            .field("oauth_url", &settings.oauth)
            .field("timeout", &settings.timeout)
            .field("connect_timeout", &settings.connect_timeout)
            .field("max_retries", &settings.max_retries)
            .field("rate_limit", &settings.rate)
            .field("state_dir", &settings.state_dir)
            .field("ca_file", &settings.ca_file)
            .field("resolve", &settings.resolve)
            .field("redirect_hosts", &settings.redirect_hosts)
            .field("allow_http", &settings.allow_http)
            .finish_non_exhaustive()
    }
}

/// A value fit for a message: short, on one line.
fn shown(value: &str) -> String {
    const SHOWN: usize = 40;
    format!("{:?}", value.chars().take(SHOWN).collect::<String>())
}

fn read_portal(value: &str) -> Result<Origin, Error> {
    Origin::parse(value).map_err(|fault| invalid("portal", &address_fault(fault)))
}

fn address_fault(fault: AddressError) -> String {
    match fault {
        AddressError::Webhook => fault.to_string(),
        _ => format!(
            "{fault}; it takes a host name such as portal.bitrix24.com, an https origin, or a \
             client_endpoint URL"
        ),
    }
}

fn read_oauth_url(value: &str) -> Result<Origin, Error> {
    const TAKES: &str = "it takes an https origin such as https://oauth.bitrix.info";
    let origin =
        Origin::parse(value).map_err(|fault| invalid("oauth_url", &format!("{fault}; {TAKES}")))?;
    if origin.is_https() {
        Ok(origin)
    } else {
        Err(invalid(
            "oauth_url",
            &format!("is not https, and the client_secret goes there; {TAKES}"),
        ))
    }
}

fn read_secret(name: &str, value: &str) -> Result<String, Error> {
    let fault = if value.is_empty() {
        "is empty; give its value, or leave the option out"
    } else if value.contains(|c: char| c.is_control() || c.is_whitespace()) {
        "has a space or a control character in it; it takes the value exactly as it was received"
    } else {
        return Ok(value.to_owned());
    };
    Err(invalid(name, fault))
}

fn read_milliseconds(name: &str, value: &str) -> Result<Duration, Error> {
    const MAX: u64 = 7 * 24 * 3600 * 1000;
    match value.parse() {
        Ok(milliseconds @ 1..=MAX) => Ok(Duration::from_millis(milliseconds)),
        _ => Err(invalid(
            name,
            &format!(
                "is {}; it takes milliseconds, a whole number from 1 to {MAX}",
                shown(value)
            ),
        )),
    }
}

fn read_max_retries(value: &str) -> Result<u32, Error> {
    const MAX: u32 = 100;
    match value.parse() {
        Ok(retries @ 0..=MAX) => Ok(retries),
        _ => Err(invalid(
            "max_retries",
            &format!(
                "is {}; it takes a whole number from 0 to {MAX}",
                shown(value)
            ),
        )),
    }
}

fn read_rate(value: &str) -> Result<Option<Rate>, Error> {
    let rate = match value {
        "off" => return Ok(None),
        "standard" => STANDARD,
        "enterprise" => ENTERPRISE,
        _ => value
            .split_once('/')
            .and_then(|(burst, drain)| {
                Some(Rate {
                    burst: read_decimal(burst)?,
                    drain: read_decimal(drain)?,
                })
            })
            .filter(|rate| rate.burst >= 1.0 && rate.drain >= 0.001)
            .ok_or_else(|| {
                invalid(
                    "rate_limit",
                    &format!(
                        "is {}; it takes standard, enterprise, off, or BURST/DRAIN such as 50/2: \
                         requests at once (1 or more), and requests a second (0.001 or more)",
                        shown(value)
                    ),
                )
            })?,
    };
    Ok(Some(rate))
}

/// A decimal number as people write it: no sign, no exponent, no `inf`.
fn read_decimal(text: &str) -> Option<f64> {
    const MAX: f64 = 1e9;
    text.bytes()
        .all(|b| b.is_ascii_digit() || b == b'.')
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number| *number <= MAX)
}

fn read_path(name: &str, value: &str) -> Result<PathBuf, Error> {
    if value.is_empty() {
        Err(invalid(name, "is empty; it takes a path"))
    } else {
        Ok(value.into())
    }
}

fn read_proxy(value: &str) -> Result<Proxy, Error> {
    match value {
        "env" => Ok(Proxy::Env),
        "none" => Ok(Proxy::None),
        url => {
            read_proxy_url(url)?;
            Ok(Proxy::Url(url.to_owned()))
        }
    }
}

/// The proxy that a URL names.
pub(crate) fn read_proxy_url(url: &str) -> Result<ureq::Proxy, Error> {
    let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(not_a_proxy());
    }
    ureq::Proxy::new(url).map_err(|_| not_a_proxy())
}

/// Never quotes the value: there may be a password in it.
fn not_a_proxy() -> Error {
    invalid(
        "proxy",
        "is not the URL of an HTTP proxy; it takes env (the environment's proxy), none, or a URL \
         such as http://proxy.example.com:3128",
    )
}

fn read_resolve(value: &str) -> Result<Vec<Resolve>, Error> {
    value
        .split(',')
        .map(|entry| {
            Resolve::from_str(entry.trim()).map_err(|()| {
                invalid(
                    "resolve",
                    &format!(
                        "has the entry {}; it takes host:port:address[:port], comma-separated, \
                         with an IP address such as 127.0.0.1 or [::1]",
                        shown(entry)
                    ),
                )
            })
        })
        .collect()
}

impl FromStr for Resolve {
    type Err = ();

    fn from_str(entry: &str) -> Result<Self, ()> {
        let (host, rest) = entry.split_once(':').ok_or(())?;
        let (port, target) = rest.split_once(':').ok_or(())?;
        let port = port.parse().map_err(drop)?;
        if host.is_empty() || port == 0 {
            return Err(());
        }
        let bare = target
            .strip_prefix('[')
            .and_then(|target| target.strip_suffix(']'))
            .unwrap_or(target);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port),
            Err(_) => target.parse().map_err(drop)?,
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
            address,
        })
    }
}

fn read_redirect_hosts(value: &str) -> Result<Vec<String>, Error> {
    value
        .split(',')
        .map(|host| match Origin::parse(host) {
            Ok(origin) if origin.host() == host.trim().to_ascii_lowercase() => {
                Ok(origin.host().to_owned())
            }
            _ => Err(invalid(
                "redirect_hosts",
                &format!(
                    "has the entry {}; it takes host names, comma-separated, without scheme, \
                     port or path",
                    shown(host)
                ),
            )),
        })
        .collect()
}

fn read_user_agent(value: &str) -> Result<String, Error> {
    if !value.is_empty() && value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        Ok(value.to_owned())
    } else {
        Err(invalid(
            "user_agent",
            "is empty or has other than printable ASCII characters; it takes a prefix such as \
             my-gateway/2.1",
        ))
    }
}

fn read_bool(name: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid(
            name,
            &format!("is {}; it takes true or false", shown(value)),
        )),
    }
}
