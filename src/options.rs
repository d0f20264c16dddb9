//! Configuration: the options, the values that each takes, and which options belong together.

use crate::values::address::{AddressError, Origin};
use crate::values::callbacks::{OnInterrupt, OnRenewal};
use crate::values::error::{Error, ErrorKind};
#[cfg(feature = "provider")]
use crate::values::postgres_url::PostgresUrl;
use crate::values::rate::Rate;
use crate::values::shown::shown;
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
/// [`Client::new`](crate::Client::new). Nothing is read from the environment, except what `proxy`
/// says. `Debug` shows no secret. A `Config` is plain data: it can be cloned and sent to threads.
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
    error: Option<Error>,
}

/// One option, as every language has it.
#[derive(Debug)]
pub struct OptionRow {
    /// Its name in C and PHP.
    pub name: &'static str,
    /// What its text means.
    pub kind: OptionKind,
    /// In Markdown: a value, as code, or the word none or required and what may follow it.
    pub default: &'static str,
    /// For users, in Markdown, with a space before each line.
    pub documentation: &'static str,
    /// What takes it.
    pub used_by: UsedBy,
    is_set: fn(&Settings) -> bool,
    set: fn(&mut Settings, name: &str, value: &str) -> Result<(), Error>,
}

impl OptionRow {
    /// Its name where times are seconds, so that the unit is no part of it: in Python.
    pub fn keyword(&self) -> &'static str {
        match self.kind {
            OptionKind::Milliseconds => self.name.strip_suffix("_ms").unwrap_or(self.name),
            _ => self.name,
        }
    }

    /// The text of the default, if there is one.
    pub fn default_value(&self) -> Option<&'static str> {
        self.default.strip_prefix('`')?.strip_suffix('`')
    }
}

/// What the text of an option means. A language may use a type of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// Milliseconds; in Rust a `Duration`, in Python seconds.
    Milliseconds,
    /// The path of a file or directory.
    Path,
    /// Texts, separated by commas.
    List,
    /// `true` or `false`.
    Flag,
}

/// What takes an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedBy {
    /// A client of one portal.
    Client,
    /// A provider, which serves many portals.
    Provider,
    /// Either.
    Both,
}

/// A function that a program may set, besides the options.
#[derive(Debug)]
pub struct CallbackRow {
    /// Its name, which in C has `b24_config_` before it.
    pub name: &'static str,
    /// The languages that have it.
    pub bindings: &'static [&'static str],
    /// For users, in Markdown.
    pub documentation: &'static str,
}

/// Writes all parts of an option from its row: its field in [`Settings`] with the default, its row
/// in [`OPTIONS`] with the reader, and its method of [`Config`].
///
/// `/// documentation`, then
/// `name: type = default, the default in Markdown, kind, reader, what takes it;`
macro_rules! options {
    ($(
        $(#[doc = $documentation:literal])+
        $name:ident: $type:ty = $initial:expr, $default:literal, $kind:ident, $read:path, $used_by:ident;
    )+) => {
        /// The options as read. Clients with equal settings can replace each other.
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub(crate) struct Settings {
            $(pub(crate) $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $initial,)+ }
            }
        }

        /// Every option that [`Config::set`] takes. Every binding has all of them.
        pub static OPTIONS: &[OptionRow] = &[$(OptionRow {
            name: option_name!($kind, $name),
            kind: OptionKind::$kind,
            default: $default,
            documentation: concat!($($documentation),+),
            used_by: UsedBy::$used_by,
            is_set: |settings| settings.$name != Settings::default().$name,
            set: |settings, name, value| {
                // The field may be an `Option` of what is read.
                settings.$name = $read(name, value)?.into();
                Ok(())
            },
        }),+];

        /// The options, each by a method with its name.
        impl Config {
            $(option_method! {
                $kind, $name, $(#[doc = $documentation])+ #[doc = concat!("\n Default: ", $default)]
            })+
        }
    };
}

/// Rust and Python have types for time. In the other languages the unit is part of the name.
macro_rules! option_name {
    (Milliseconds, $name:ident) => {
        concat!(stringify!($name), "_ms")
    };
    ($kind:ident, $name:ident) => {
        stringify!($name)
    };
}

/// The method that sets an option from a value of Rust.
macro_rules! option_method {
    (Milliseconds, $name:ident, $(#[$documentation:meta])+) => {
        $(#[$documentation])+
        /// milliseconds
        pub fn $name(&mut self, value: Duration) -> &mut Self {
            let milliseconds = value.as_millis().to_string();
            self.set_or_keep_error(option_name!(Milliseconds, $name), &milliseconds)
        }
    };
    (Number, $name:ident, $(#[$documentation:meta])+) => {
        $(#[$documentation])+
        pub fn $name(&mut self, value: u32) -> &mut Self {
            self.set_or_keep_error(stringify!($name), &value.to_string())
        }
    };
    (Flag, $name:ident, $(#[$documentation:meta])+) => {
        $(#[$documentation])+
        pub fn $name(&mut self, value: bool) -> &mut Self {
            self.settings.$name = value;
            self
        }
    };
    (Path, $name:ident, $(#[$documentation:meta])+) => {
        $(#[$documentation])+
        pub fn $name(&mut self, value: impl AsRef<Path>) -> &mut Self {
            // Not as text, because a path need not be UTF-8.
            self.settings.$name = Some(value.as_ref().to_owned());
            self
        }
    };
    ($kind:ident, $name:ident, $(#[$documentation:meta])+) => {
        $(#[$documentation])+
        pub fn $name(&mut self, value: &str) -> &mut Self {
            self.set_or_keep_error(stringify!($name), value)
        }
    };
}

options! {
    /// The portal: a host such as `portal.bitrix24.com`, an origin, or a `client_endpoint` URL. The
    /// address of an inbound webhook is refused, because the methods never work with one.
    portal: Option<Origin> = None, "required", Text, read_portal, Client;

    /// The OAuth access token of an installed application.
    access_token: String = String::new(), "required, unless `state_dir` holds one", Text, read_secret, Client;

    /// The refresh token that came with the access token. It needs `client_id` and `client_secret`.
    refresh_token: String = String::new(), "none", Text, read_secret, Client;

    /// The application's id.
    client_id: String = String::new(), "none", Text, read_secret, Both;

    /// The application's secret. It is sent to the authorization server only.
    client_secret: String = String::new(), "none", Text, read_secret, Both;

    /// The authorization server, https only.
    oauth_url: Origin = Origin::default_oauth(), "`https://oauth.bitrix.info`", Text, read_oauth_url, Both;

    /// The deadline of a whole call, from 1 ms to 7 days: waiting, renewal, redirects and retries
    /// included.
    timeout: Duration = Duration::from_secs(30), "`30000`", Milliseconds, read_milliseconds, Both;

    /// The deadline of one attempt to connect: DNS, TCP, proxy and TLS.
    connect_timeout: Duration = Duration::from_secs(10), "`10000`", Milliseconds, read_milliseconds, Both;

    /// How often a call is retried after the first attempt, from 0 to 100. In a batch this holds for
    /// each request.
    max_retries: u32 = 4, "`4`", Number, read_max_retries, Both;

    /// How many requests the portal allows: `standard` (50 at once, 2 a second), `enterprise` (250
    /// at once, 5 a second), `off`, or `BURST/DRAIN` such as `50/2`.
    rate_limit: Option<Rate> = Some(STANDARD), "`standard`", Text, read_rate, Both;

    /// A directory in which the processes of one machine share tokens and the rate limit. It is made
    /// if its parent exists.
    state_dir: Option<PathBuf> = None, "none", Path, read_path, Client;

    /// A PEM file of root certificates that are trusted besides the built-in ones.
    ca_file: Option<PathBuf> = None, "none", Path, read_path, Both;

    /// The proxy: `env` for what the environment says, `none`, or the URL of an HTTP proxy.
    proxy: Proxy = Proxy::Env, "`env`", Text, read_proxy, Both;

    /// Addresses to use instead of DNS: `host:port:address[:port]`, separated by commas. The host `*`
    /// stands for any.
    resolve: Vec<Resolve> = Vec::new(), "none", List, read_resolve, Both;

    /// Further hosts that a portal may move to, separated by commas.
    redirect_hosts: Vec<String> = Vec::new(), "none", List, read_redirect_hosts, Both;

    /// A prefix to the library's own `User-Agent`, such as `my-gateway/2.1`.
    user_agent: String = String::new(), "none", Text, read_user_agent, Both;

    /// Whether an `http://` portal is accepted. The token is then sent unencrypted.
    allow_http: bool = false, "`false`", Flag, read_bool, Both;

    /// Where a provider keeps installations and receipts: `sqlite:` and the path of a file, which is
    /// made if its directory exists, or for several machines the address of a PostgreSQL database,
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.
    store: Option<StoreUrl> = None, "required", Text, read_store, Provider;

    /// What an acknowledged receipt survives: `disk`, that the machine fails, or `process`, only
    /// that the process is killed, which is faster.
    durability: Durability = Durability::Disk, "`disk`", Text, read_durability, Provider;

    /// How large the store may become, in megabytes. Beyond that, and if less than 64 MB of the disk
    /// are free, receipts are refused with `STORAGE`, and those in the store are still sent.
    store_max_mb: Option<u32> = None, "none", Number, read_megabytes, Provider;

    /// A file of keys, with which the tokens in the store are sealed: a line `ID KEY` for each, where
    /// `KEY` is 32 random bytes in hexadecimal or Base64. The first one seals, all open.
    store_key_file: Option<PathBuf> = None, "none", Path, read_path, Provider;

    /// How many threads send receipts while a program drains, from 0 to 256. With 0 only the calling
    /// thread does.
    workers: u32 = 8, "`8`", Number, read_workers, Provider;
}

/// Every function that a program may set besides the options.
pub static CALLBACKS: &[CallbackRow] = &[
    CallbackRow {
        name: "on_renewal",
        bindings: &["Rust", "C", "Python"],
        documentation: "Called with each renewed pair of tokens before it is used, on the renewal's \
                        own thread.",
    },
    CallbackRow {
        name: "on_interrupt",
        bindings: &["Rust"],
        documentation: "Called when a signal ends a wait, and every 256 ms of one: `true` ends the \
                        call with `CANCELLED`. The Python module uses it for Ctrl-C.",
    },
];

const STANDARD: Rate = Rate {
    burst: 50.0,
    drain: 2.0,
};
const ENTERPRISE: Rate = Rate {
    burst: 250.0,
    drain: 5.0,
};

/// The proxy of connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Proxy {
    Env,
    None,
    /// A URL that was checked. It may contain a password.
    Url(String),
}

/// An address to use for a host and port instead of asking DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resolve {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
}

/// Where a provider's store is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StoreUrl {
    /// A file of this machine.
    Sqlite(PathBuf),
    /// A database that several machines share.
    #[cfg(feature = "provider")]
    Postgres(Box<PostgresUrl>),
}

/// What an acknowledged receipt survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Durability {
    Disk,
    Process,
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
            settings: Settings::default(),
            on_renewal: None,
            on_interrupt: None,
            error: None,
        }
    }

    /// Sets an option by its name, from its text. `docs/options.md` lists them all.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) at once, naming the option and what it takes;
    /// the option then keeps its former value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, Error> {
        let row = OPTIONS
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(|| unknown(name))?;
        (row.set)(&mut self.settings, row.name, value)?;
        Ok(self)
    }

    /// Sets an option by its keyword, for languages whose times are seconds.
    ///
    /// # Errors
    /// As those of [`set`](Self::set), in the words of such a language.
    #[doc(hidden)]
    pub fn set_keyword(&mut self, keyword: &str, value: &str) -> Result<&mut Self, Error> {
        let row = OPTIONS.iter().find(|row| row.keyword() == keyword);
        match row {
            Some(row) if row.kind == OptionKind::Milliseconds => {
                let milliseconds = read_seconds(keyword, value)?.to_string();
                (row.set)(&mut self.settings, row.name, &milliseconds)?;
                Ok(self)
            }
            _ => self.set(keyword, value),
        }
    }

    /// Sets what is needed to renew an expired access token: the refresh token that came with it,
    /// and the application's id and secret.
    pub fn renewal(
        &mut self,
        refresh_token: &str,
        client_id: &str,
        client_secret: &str,
    ) -> &mut Self {
        self.refresh_token(refresh_token)
            .client_id(client_id)
            .client_secret(client_secret)
    }

    /// Sets a function that receives each renewed pair before it is first used, to store it: the
    /// old refresh token may no longer work. It is called once for each renewal, on the renewal's
    /// own thread, which has all signals blocked, and after the pair was written to `state_dir`.
    /// Calls wait for it no longer than their deadline. It must not make calls for the same
    /// installation: they would wait for the renewal, which waits for the function.
    pub fn on_renewal(&mut self, callback: impl Fn(&Tokens) + Send + Sync + 'static) -> &mut Self {
        let callback = Arc::new(callback);
        self.on_renewal_of_caller(move || {
            let callback = Arc::clone(&callback);
            Some(Box::new(move |tokens: &Tokens| callback(tokens)))
        })
    }

    /// For language bindings whose callback belongs to the calling thread: when a call starts a
    /// renewal, `choose` is called on its thread and returns the function that receives the renewed
    /// pair.
    #[doc(hidden)]
    pub fn on_renewal_of_caller(
        &mut self,
        choose: impl Fn() -> Option<Box<dyn FnOnce(&Tokens) + Send>> + Send + Sync + 'static,
    ) -> &mut Self {
        self.on_renewal = Some(Arc::new(choose));
        self
    }

    /// Sets a function that is called on the waiting thread when a signal ends a wait, and every
    /// 256 ms of a longer one, since a signal that came just before a wait has not ended it. If it
    /// returns `true`, the call ends with [`Cancelled`](ErrorKind::Cancelled). Without such a
    /// function, the wait continues after a signal.
    pub fn on_interrupt(
        &mut self,
        callback: impl Fn() -> bool + Send + Sync + 'static,
    ) -> &mut Self {
        self.on_interrupt = Some(Arc::new(callback));
        self
    }

    fn set_or_keep_error(&mut self, name: &str, value: &str) -> &mut Self {
        let error = self.set(name, value).err();
        if self.error.is_none() {
            self.error = error;
        }
        self
    }

    /// The settings, if they belong together.
    pub(crate) fn check(&self) -> Result<&Settings, Error> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.refuse_options_of(UsedBy::Provider)?;
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
                "is an http:// address, to which the token would be sent unencrypted; give an \
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
                    "is missing, but {given} is set; renewal takes refresh_token, client_id and \
                     client_secret"
                ),
            ));
        }
        if has(&settings.refresh_token) && !has(&settings.client_id) {
            return Err(invalid(
                "client_id",
                "is missing, and so is client_secret, but refresh_token is set; renewal takes all three",
            ));
        }
        if has(&settings.client_id) && !has(&settings.refresh_token) && settings.state_dir.is_none()
        {
            return Err(invalid(
                "refresh_token",
                "is missing, but client_id and client_secret are set; renewal takes all three, unless \
                 state_dir holds a refresh token",
            ));
        }
        Ok(settings)
    }

    /// The settings of a provider, if they belong together.
    #[cfg(feature = "provider")]
    pub(crate) fn check_provider(&self) -> Result<&Settings, Error> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.refuse_options_of(UsedBy::Client)?;
        let settings = &self.settings;
        if settings.store.is_none() {
            return Err(invalid(
                "store",
                "is missing; it takes sqlite: and the path of a file, such as \
                 sqlite:/var/lib/sms/b24.db, or the address of a PostgreSQL database, such as \
                 postgres://sms@db.example.com/receipts",
            ));
        }
        for (name, value) in [
            ("client_id", &settings.client_id),
            ("client_secret", &settings.client_secret),
        ] {
            if value.is_empty() {
                return Err(invalid(
                    name,
                    "is missing; a provider takes the application's client_id and client_secret",
                ));
            }
        }
        if self.on_renewal.is_some() {
            return Err(invalid(
                "on_renewal",
                "is not for a provider, which keeps renewed tokens in its store",
            ));
        }
        Ok(settings)
    }

    /// Whether a client or a provider could be made from this, as far as the options alone say:
    /// no file is read.
    ///
    /// # Errors
    /// What the constructor would say of the options.
    #[doc(hidden)]
    pub fn check_for(&self, taker: UsedBy) -> Result<(), Error> {
        match taker {
            #[cfg(feature = "provider")]
            UsedBy::Provider => self.check_provider().map(drop),
            _ => self.check().map(drop),
        }
    }

    fn refuse_options_of(&self, other: UsedBy) -> Result<(), Error> {
        let wrong = OPTIONS
            .iter()
            .find(|row| row.used_by == other && (row.is_set)(&self.settings));
        match (wrong, other) {
            (None, _) => Ok(()),
            (Some(row), UsedBy::Client) => Err(invalid(
                row.name,
                "is an option of a client; a provider has the tokens of its portals in its store",
            )),
            (Some(row), _) => Err(invalid(
                row.name,
                "is an option of a provider, and a client does not take it",
            )),
        }
    }
}

fn unknown(name: &str) -> Error {
    let mut names: Vec<_> = OPTIONS.iter().map(|row| row.name).collect();
    let advice = if let Some(nearest) = nearest(name, &names) {
        format!("did you mean {nearest}?")
    } else {
        let last = names.pop().unwrap_or_default();
        format!("the options are {} and {last}", names.join(", "))
    };
    invalid(
        &shown(name),
        &format!("is not an option of this library; {advice}"),
    )
}

/// Which of these names somebody probably meant by another one. Upper and lower case do not matter.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    // What both have in common is to be at least three fifths of them. The first of equal ones counts.
    let mut found = None;
    let mut best = 599;
    for candidate in known {
        let common = in_common(name.as_bytes(), candidate.as_bytes());
        let share = 2000 * common / (name.len() + candidate.len()).max(1);
        if share > best {
            (found, best) = (Some(*candidate), share);
        }
    }
    found
}

/// How many letters two words have in common, in the same order.
fn in_common(one: &[u8], other: &[u8]) -> usize {
    let mut row = vec![0; other.len()];
    for letter in one {
        let (mut before_both, mut before) = (0, 0);
        for (same, cell) in other.iter().zip(&mut row) {
            let above = *cell;
            *cell = if letter.eq_ignore_ascii_case(same) {
                before_both + 1
            } else {
                above.max(before)
            };
            (before_both, before) = (above, *cell);
        }
    }
    row.last().copied().unwrap_or(0)
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
            .field("oauth_url", &settings.oauth_url)
            .field("timeout", &settings.timeout)
            .field("connect_timeout", &settings.connect_timeout)
            .field("max_retries", &settings.max_retries)
            .field("rate_limit", &settings.rate_limit)
            .field("state_dir", &settings.state_dir)
            .field("ca_file", &settings.ca_file)
            .field("resolve", &settings.resolve)
            .field("redirect_hosts", &settings.redirect_hosts)
            .field("allow_http", &settings.allow_http)
            .field("store", &settings.store)
            .finish_non_exhaustive()
    }
}

fn read_portal(name: &str, value: &str) -> Result<Origin, Error> {
    Origin::parse(value).map_err(|fault| invalid(name, &address_fault(fault)))
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

fn read_oauth_url(name: &str, value: &str) -> Result<Origin, Error> {
    const TAKES: &str = "it takes an https origin such as https://oauth.bitrix.info";
    let origin =
        Origin::parse(value).map_err(|fault| invalid(name, &format!("{fault}; {TAKES}")))?;
    if origin.is_https() {
        Ok(origin)
    } else {
        Err(invalid(
            name,
            &format!("is not https, and the client_secret goes there; {TAKES}"),
        ))
    }
}

fn read_secret(name: &str, value: &str) -> Result<String, Error> {
    let fault = if value.is_empty() {
        "is empty; give its value, or leave the option out"
    } else if value.contains(|c: char| c.is_control() || c.is_whitespace()) {
        "contains a space or a control character; it takes the value exactly as it was received"
    } else {
        return Ok(value.to_owned());
    };
    Err(invalid(name, fault))
}

/// The longest time that an option takes.
const MAX_SECONDS: u32 = 7 * 24 * 3600;

/// Seconds as milliseconds.
fn read_seconds(name: &str, value: &str) -> Result<u128, Error> {
    value
        .trim()
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        // Not cut off: 0.29 is a little less than 290 ms.
        .map(|time| (time.as_micros() + 500) / 1000)
        .filter(|milliseconds| (1..=u128::from(MAX_SECONDS) * 1000).contains(milliseconds))
        .ok_or_else(|| {
            invalid(
                name,
                &format!(
                    "is {}; it takes seconds, a number from 0.001 to {MAX_SECONDS}",
                    shown(value)
                ),
            )
        })
}

fn read_milliseconds(name: &str, value: &str) -> Result<Duration, Error> {
    const MAX: u64 = MAX_SECONDS as u64 * 1000;
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

fn read_max_retries(name: &str, value: &str) -> Result<u32, Error> {
    const MAX: u32 = 100;
    match value.parse() {
        Ok(retries @ 0..=MAX) => Ok(retries),
        _ => Err(invalid(
            name,
            &format!(
                "is {}; it takes a whole number from 0 to {MAX}",
                shown(value)
            ),
        )),
    }
}

fn read_rate(name: &str, value: &str) -> Result<Option<Rate>, Error> {
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
                    name,
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
    } else if value.contains("://") {
        // It is not quoted: a webhook's has a secret.
        Err(invalid(name, "is a URL; it takes a path"))
    } else {
        Ok(value.into())
    }
}

fn read_proxy(_name: &str, value: &str) -> Result<Proxy, Error> {
    match value {
        "env" => Ok(Proxy::Env),
        "none" => Ok(Proxy::None),
        url => {
            read_proxy_url(url)?;
            Ok(Proxy::Url(url.to_owned()))
        }
    }
}

/// The proxy of a URL.
pub(crate) fn read_proxy_url(url: &str) -> Result<ureq::Proxy, Error> {
    let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(not_a_proxy());
    }
    ureq::Proxy::new(url).map_err(|_| not_a_proxy())
}

/// The message does not quote the value, because it may contain a password.
fn not_a_proxy() -> Error {
    invalid(
        "proxy",
        "is not the URL of an HTTP proxy; it takes env (the environment's proxy), none, or a URL \
         such as http://proxy.example.com:3128",
    )
}

fn read_resolve(name: &str, value: &str) -> Result<Vec<Resolve>, Error> {
    value
        .split(',')
        .map(|entry| {
            Resolve::from_str(entry.trim()).map_err(|()| {
                invalid(
                    name,
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

impl Resolve {
    pub(crate) fn is_for(&self, host: &str, port: u16) -> bool {
        self.port == port && (self.host == "*" || self.host.eq_ignore_ascii_case(host))
    }
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

fn read_redirect_hosts(name: &str, value: &str) -> Result<Vec<String>, Error> {
    value
        .split(',')
        .map(|host| match Origin::parse(host) {
            Ok(origin) if origin.host() == host.trim().to_ascii_lowercase() => {
                Ok(origin.host().to_owned())
            }
            _ => Err(invalid(
                name,
                &format!(
                    "has the entry {}; it takes host names, comma-separated, without scheme, \
                     port or path",
                    shown(host)
                ),
            )),
        })
        .collect()
}

fn read_user_agent(name: &str, value: &str) -> Result<String, Error> {
    if !value.is_empty() && value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        Ok(value.to_owned())
    } else {
        Err(invalid(
            name,
            "is empty or contains characters other than printable ASCII; it takes a prefix such as \
             my-gateway/2.1",
        ))
    }
}

fn read_store(name: &str, value: &str) -> Result<StoreUrl, Error> {
    match value.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() && !path.contains('\0') => {
            Ok(StoreUrl::Sqlite(PathBuf::from(path)))
        }
        #[cfg(feature = "provider")]
        None if value.starts_with("postgres://") || value.starts_with("postgresql://") => {
            PostgresUrl::read(value)
                .map(|url| StoreUrl::Postgres(Box::new(url)))
                .map_err(|fault| invalid(name, &fault))
        }
        // The value is not quoted: the URL of another store may contain a password.
        _ => Err(invalid(
            name,
            "is not the address of a store; it takes sqlite: and the path of a file, such as \
             sqlite:/var/lib/sms/b24.db, or the address of a PostgreSQL database, such as \
             postgres://sms@db.example.com/receipts",
        )),
    }
}

fn read_durability(name: &str, value: &str) -> Result<Durability, Error> {
    match value {
        "disk" => Ok(Durability::Disk),
        "process" => Ok(Durability::Process),
        _ => Err(invalid(
            name,
            &format!("is {}; it takes disk or process", shown(value)),
        )),
    }
}

fn read_megabytes(name: &str, value: &str) -> Result<u32, Error> {
    match value.parse() {
        Ok(megabytes @ 1..) => Ok(megabytes),
        _ => Err(invalid(
            name,
            &format!(
                "is {}; it takes megabytes, a whole number from 1",
                shown(value)
            ),
        )),
    }
}

fn read_workers(name: &str, value: &str) -> Result<u32, Error> {
    const MAX: u32 = 256;
    match value.parse() {
        Ok(workers @ 0..=MAX) => Ok(workers),
        _ => Err(invalid(
            name,
            &format!(
                "is {}; it takes a whole number from 0 to {MAX}",
                shown(value)
            ),
        )),
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
