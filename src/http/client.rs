//! HTTP: one request out, one answer in, over the process's pooled connections.
//!
//! ureq does the HTTP. Its resolver and its connections are replaced through the traits that it has
//! for that purpose. So a call on a pooled connection takes one send and two receives (the check of
//! the connection and the answer), and every wait ends at the call's deadline, at `cancel`, or on a
//! signal.

use super::connection::PortalConnector;
use super::exchange::{Exchange, Failed, Failure, Hidden};
use super::later_resolver::LaterResolver;
use super::{proxy, tcp, tls};
use crate::net::dns::Names;
use crate::options::{Proxy, Resolve, Settings};
use crate::process::cancellation::CallContext;
use crate::process::per_process::{Local, PerProcess, Process};
use crate::process::registry::{Entry, Registry};
use crate::protocol::response::Response;
use crate::values::LOG;
use crate::values::error::Error;
use arc_swap::ArcSwap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use ureq::http::header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT};
use ureq::http::{HeaderMap, HeaderValue, Method, Uri};
use ureq::unversioned::transport::ConnectProxyConnector;

/// Answers are read up to this size. The largest correct one, of a batch of 50, has less than 100
/// KiB.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Enough for the answer to a single update, so that the buffer need not grow.
const USUAL_ANSWER: usize = 512;
/// How long, after the deadline, an answer that must not be lost is still looked for.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// ureq compares every idle connection with every other at each call. With more of them, calls to
/// many portals would take longer, not less.
const MAX_IDLE: usize = 64;
const MAX_IDLE_AGE: Duration = Duration::from_secs(55);

/// What distinguishes one HTTP client from another. Clients with equal ones share theirs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct HttpOptions {
    ca_file: Option<PathBuf>,
    proxy: Option<proxy::Chosen>,
    resolve: Vec<Resolve>,
}

impl HttpOptions {
    /// The options for an `https` or `http` address.
    pub(crate) fn of(settings: &Settings, https: bool) -> Self {
        Self {
            ca_file: settings.ca_file.clone(),
            proxy: match &settings.proxy {
                Proxy::None => None,
                Proxy::Env => proxy::Chosen::from_env(https),
                Proxy::Url(url) => Some(proxy::Chosen::new(url)),
            },
            resolve: settings.resolve.clone(),
        }
    }
}

impl HttpOptions {
    /// Whether a host is reached through a proxy.
    pub(super) fn has_proxy_for(&self, host: &str) -> bool {
        let proxy = self.proxy.as_ref();
        proxy.is_some_and(|chosen| !chosen.direct().holds(host))
    }
}

/// The HTTP clients of this process.
pub(crate) fn clients(process: &Arc<Process>) -> Local<HttpClients> {
    static CLIENTS: PerProcess<HttpClients> = PerProcess::new();
    CLIENTS.of(process)
}

/// The HTTP clients of one process.
#[derive(Debug, Default)]
pub(crate) struct HttpClients {
    known: Mutex<Registry<HttpOptions, Arc<HttpClient>>>,
    names: Arc<Names>,
}

impl HttpClients {
    /// Reads `ca_file` if it is new or has changed, and does so without the lock.
    pub(crate) fn get(&self, options: &HttpOptions) -> Result<Arc<HttpClient>, Error> {
        let known = self.lock().get(options).cloned();
        if let Some(http_client) = known {
            http_client.renew_if_changed();
            return Ok(http_client);
        }
        let made = Arc::new(HttpClient::new(options, &self.names)?);
        let mut known = self.lock();
        Ok(Arc::clone(
            known.get_or_insert_with(options.clone(), || made),
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Registry<HttpOptions, Arc<HttpClient>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry for Arc<HttpClient> {
    /// More kinds of client than any program uses at a time.
    const MAX_ENTRIES: usize = 64;

    fn is_idle(&self) -> bool {
        Self::strong_count(self) == 1
    }
}

impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

/// A pool of connections and how to open them.
#[derive(Debug)]
pub(crate) struct HttpClient {
    options: HttpOptions,
    names: Arc<Names>,
    present: ArcSwap<Pool>,
}

/// What is replaced when `ca_file` changes, so that nothing uses the former roots any more.
#[derive(Debug)]
struct Pool {
    agent: ureq::Agent,
    ca_file: Option<tls::Version>,
}

/// A request. The token is in the body, never in the URL of a portal.
#[derive(Debug)]
pub(crate) struct HttpRequest<'a> {
    pub(crate) uri: &'a Uri,
    /// JSON to post, or nothing to get.
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) user_agent: &'a HeaderValue,
    /// Whether it may be sent again on another connection when the server may have got it already.
    pub(crate) idempotent: bool,
    /// For a request whose answer must not be lost: whether this part of it is enough if the rest
    /// does not come. What has arrived when the time is over is read too.
    pub(crate) suffices: Option<fn(&[u8]) -> bool>,
}

impl HttpClient {
    fn new(options: &HttpOptions, names: &Arc<Names>) -> Result<Self, Error> {
        Ok(Self {
            options: options.clone(),
            names: Arc::clone(names),
            present: ArcSwap::from_pointee(Pool::new(options, names)?),
        })
    }

    /// Reads `ca_file` again if it has changed, and returns whether it has. A file that is being
    /// written, or that has no certificates any more, changes nothing.
    fn renew_if_changed(&self) -> bool {
        let Some(file) = &self.options.ca_file else {
            return false;
        };
        if tls::Version::of(file) == self.present.load().ca_file {
            return false;
        }
        match Pool::new(&self.options, &self.names) {
            Ok(fresh) => {
                log::info!(target: LOG, "ca_file {} has changed and was read again", file.display());
                self.present.store(Arc::new(fresh));
                true
            }
            Err(error) => {
                log::warn!(target: LOG, "ca_file has changed and cannot be used, its former certificates stay in use: {error}");
                false
            }
        }
    }

    /// Sends a request and reads the whole answer. If a pooled connection was closed and the
    /// request is idempotent, another connection replaces it at once. If a certificate is not
    /// trusted and `ca_file` has changed, the request is tried again with the new file.
    pub(crate) fn send(
        &self,
        call: &CallContext,
        request: &HttpRequest<'_>,
    ) -> Result<Response, Failed> {
        #[cfg(shuttle)]
        if let Some(answer) = crate::schedules::server::answer(call, request) {
            return answer;
        }
        match self.send_once(call, request) {
            Err(Failed {
                failure: Failure::Certificate(_),
                ..
            }) if self.renew_if_changed() => self.send_once(call, request),
            outcome => outcome,
        }
    }

    /// Asks for the page `uri`, and returns the time that the server says it is, if it says one. The
    /// page is not read.
    pub(super) fn time_at(
        &self,
        call: &CallContext,
        uri: &Uri,
    ) -> Result<Option<SystemTime>, Failure> {
        let _scope = Exchange::begin(call, None);
        let response = self.present.load_full().agent.get(uri).call();
        match response {
            Ok(response) => Ok(text(response.headers(), &DATE)
                .and_then(|date| httpdate::parse_http_date(&date).ok())),
            Err(error) => Err(match call.check() {
                Err(interrupt) => Failure::Interrupted(interrupt),
                Ok(()) => failure(&error),
            }),
        }
    }

    fn send_once(&self, call: &CallContext, request: &HttpRequest<'_>) -> Result<Response, Failed> {
        call.check().map_err(|interrupt| Failed {
            failure: Failure::Interrupted(interrupt),
            was_sent: false,
        })?;
        let _scope = Exchange::begin(call, request.suffices.map(|_| LAST_LOOK));
        let pool = self.present.load_full();
        match pool.exchange(request, false) {
            Err(error)
                if request.idempotent
                    && Exchange::with(|exchange| !exchange.opened).unwrap_or_default()
                    && call.check().is_ok()
                    && was_closed(&error) =>
            {
                log::debug!(target: LOG, "a pooled connection was closed by the server; opening another");
                let sent_before =
                    Exchange::with(|exchange| std::mem::take(&mut exchange.sent)).unwrap_or(true);
                let outcome = pool.exchange(request, true);
                if sent_before {
                    // For the error as well.
                    let _ = Exchange::with(|exchange| exchange.sent = true);
                }
                outcome.map(|response| Response {
                    sent_before,
                    ..response
                })
            }
            outcome => outcome,
        }
        .map_err(|error| Failed {
            failure: match call.check() {
                Err(interrupt) => Failure::Interrupted(interrupt),
                Ok(()) => failure(&error),
            },
            was_sent: Exchange::with(|exchange| exchange.sent).unwrap_or(true),
        })
    }
}

impl Pool {
    fn new(options: &HttpOptions, names: &Arc<Names>) -> Result<Self, Error> {
        let (proxy, direct) = match &options.proxy {
            Some(chosen) => (Some(chosen.build()?), chosen.direct()),
            None => (None, proxy::Direct::default()),
        };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy)
            .max_idle_connections(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE)
            .max_idle_age(MAX_IDLE_AGE)
            .build();
        // Taken before the file is read, so that a change in the meantime is noticed.
        let ca_file = options.ca_file.as_deref().and_then(tls::Version::of);
        let connector = PortalConnector {
            has_proxy: options.proxy.is_some(),
            direct,
            tunnels: ConnectProxyConnector::default(),
            tcp: tcp::TcpOpener::new(options.resolve.clone(), Arc::clone(names)),
            tls: tls::Tls::new(options.ca_file.as_deref())?,
        };
        Ok(Self {
            agent: ureq::Agent::with_parts(config, connector, LaterResolver),
            ca_file,
        })
    }

    fn exchange(&self, request: &HttpRequest<'_>, fresh: bool) -> Result<Response, ureq::Error> {
        let mut http = ureq::http::Request::new(request.body.unwrap_or_default());
        let (uri, query) = without_query(request.uri)?;
        Exchange::with(|exchange| {
            exchange.query = query;
            exchange.hidden = Hidden::default();
            exchange.hidden.body.reserve(USUAL_ANSWER);
        })?;
        *http.uri_mut() = uri;
        let headers = http.headers_mut();
        headers.insert(
            ACCEPT,
            const { HeaderValue::from_static("application/json") },
        );
        headers.insert(USER_AGENT, request.user_agent.clone());
        if request.body.is_some() {
            headers.insert(
                CONTENT_TYPE,
                const { HeaderValue::from_static("application/json") },
            );
            *http.method_mut() = Method::POST;
        }
        let mut response = match request.body {
            None => self.agent.run(http.map(|_| ())),
            Some(_) if fresh => {
                let http = self.agent.configure_request(http);
                self.agent.run(http.max_idle_age(Duration::ZERO).build())
            }
            Some(_) => self.agent.run(http),
        }?;
        let length = length_of(response.body_mut().with_config().limit(MAX_ANSWER).reader());
        let hidden = Exchange::with(|exchange| std::mem::take(&mut exchange.hidden))?;
        let mut body = hidden.body;
        match length {
            Ok(length) if body.len() < length => return Err(ureq::Error::BodyStalled),
            Ok(length) => body.truncate(length),
            Err(_) if request.suffices.is_some_and(|suffices| suffices(&body)) => {}
            Err(fault) => return Err(fault.into()),
        }
        Ok(Response {
            status: response.status().as_u16(),
            location: hidden.location,
            retry_after: text(response.headers(), &RETRY_AFTER).and_then(|v| read_retry_after(&v)),
            body,
            sent_before: false,
        })
    }
}

/// The length of a body that ureq gets as asterisks. (`io::copy` would clear 8 KiB for each read.)
fn length_of(mut covered: impl io::Read) -> io::Result<usize> {
    let mut asterisks = [0; USUAL_ANSWER];
    let mut length = 0;
    loop {
        match covered.read(&mut asterisks)? {
            0 => return Ok(length),
            amount => length += amount,
        }
    }
}

/// An address in two parts; ureq gets only the first.
fn without_query(uri: &Uri) -> Result<(Uri, String), ureq::Error> {
    let Some(query) = uri.query() else {
        return Ok((uri.clone(), String::new()));
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(uri.path().parse().map_err(ureq::http::Error::from)?);
    let bare = Uri::from_parts(parts).map_err(ureq::http::Error::from)?;
    Ok((bare, query.to_owned()))
}

fn text(headers: &HeaderMap, name: &ureq::http::HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Seconds, or a date. Very long times are cut, so that adding them never overflows.
fn read_retry_after(value: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        at.duration_since(SystemTime::now()).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

/// Whether a connection fails in this way if the server closed it while it was idle.
fn was_closed(fault: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(fault, ureq::Error::Io(e) if matches!(
        e.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    ))
}

pub(super) fn failure(fault: &ureq::Error) -> Failure {
    use ureq::Error as E;
    match fault {
        E::Rustls(tls @ rustls::Error::InvalidCertificate(_)) => {
            Failure::Certificate(tls.to_string())
        }
        E::Http(_)
        | E::Protocol(_)
        | E::BodyExceedsLimit(_)
        | E::LargeResponseHeader(..)
        | E::BodyStalled => Failure::Unreadable(fault.to_string()),
        E::ConnectProxyFailed(reason) => proxy::failure(reason),
        E::Io(e) => Failure::Network(e.to_string()),
        _ => Failure::Network(fault.to_string()),
    }
}
