//! What the portal knows, and the lock around it.

use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::fault::{At, Queue};
use crate::http::Request;
use crate::limits::{Bucket, Clock, OperatingTime};
use crate::php;
use crate::portals::Portals;
use crate::settings::Settings;
use crate::tokens::{Tokens, User};

/// Violations that are remembered; later ones are dropped.
const MAX_BAD: usize = 1000;

/// The state and the events that connections and callers wait for.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something was counted.
    progress: Condvar,
    /// Everything that hangs or sleeps checks whether it still has to.
    release: Condvar,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            state: Mutex::new(State::new(settings, Ports::default())),
            progress: Condvar::new(),
            release: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts again with these settings. Every connection ends, and requests under way are not
    /// executed.
    pub(crate) fn reset(&self, settings: Settings) {
        let mut state = self.lock();
        let new = State {
            epoch: state.epoch + 1,
            ..State::new(settings, state.ports)
        };
        let old = std::mem::replace(&mut *state, new);
        drop(state);
        for stream in old.open.values() {
            // It may be closed already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        self.release.notify_all();
        self.progress.notify_all();
    }

    /// Tells the portals' addresses, once the ports are open.
    pub(crate) fn listen(&self, ports: Ports) {
        let mut state = self.lock();
        state.ports = ports;
        state.portals.listen(ports.https);
    }

    /// Continues with everything that hangs or sleeps.
    pub(crate) fn release(&self) {
        self.lock().releases += 1;
        self.release.notify_all();
    }

    /// Sleeps without the lock, until a release at the latest. None if the portal was reset meanwhile.
    pub(crate) fn sleep<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        milliseconds: u64,
    ) -> Option<MutexGuard<'a, State>> {
        let (epoch, releases) = (state.epoch, state.releases);
        let time = Duration::from_millis(milliseconds);
        let (state, _) = self
            .release
            .wait_timeout_while(state, time, |state| {
                state.epoch == epoch && state.releases == releases
            })
            .unwrap_or_else(PoisonError::into_inner);
        (state.epoch == epoch).then_some(state)
    }

    /// Waits for a reset, or for a release beyond the first `releases`.
    pub(crate) fn hang(&self, epoch: u64, releases: u64) {
        let state = self.lock();
        let _released = self.release.wait_while(state, |state| {
            state.epoch == epoch && state.releases == releases
        });
    }

    /// Waits until that many calls to the portal and requests for a renewal were seen, or for a
    /// reset. Returns what was seen.
    pub(crate) fn wait(&self, requests: u64, renewal_requests: u64, timeout: Duration) -> Awaited {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        let epoch = state.epoch;
        state.waiters += 1;
        while state.epoch == epoch
            && (state.seen.requests < requests || state.seen.renewal_requests < renewal_requests)
        {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            state = self
                .progress
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if state.epoch == epoch {
            state.waiters -= 1;
        }
        let seen = &state.seen;
        Awaited {
            requests: seen.requests,
            renewal_requests: seen.renewal_requests,
            reached: seen.requests >= requests && seen.renewal_requests >= renewal_requests,
        }
    }

    /// Wakes those who wait for a count.
    pub(crate) fn notify(&self, state: &State) {
        if state.waiters > 0 {
            self.progress.notify_all();
        }
    }
}

/// The outcome of a wait for requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Awaited {
    pub(crate) requests: u64,
    pub(crate) renewal_requests: u64,
    reached: bool,
}

/// The ports in the addresses that the portals give.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    pub(crate) https: u16,
    pub(crate) oauth: u16,
}

/// What the portal knows.
#[derive(Debug)]
pub(crate) struct State {
    /// Number of the resets so far: what was started in an earlier epoch no longer counts.
    pub(crate) epoch: u64,
    pub(crate) settings: Settings,
    pub(crate) tokens: Tokens,
    pub(crate) portals: Portals,
    pub(crate) ports: Ports,
    pub(crate) faults: Queue,
    pub(crate) seen: Seen,
    pub(crate) clock: Clock,
    pub(crate) buckets: HashMap<String, Bucket>,
    /// The application that calls now; empty if there is only one.
    pub(crate) application: String,
    /// The user for whom it calls.
    pub(crate) user: User,
    /// Until when its token is valid, in Unix time.
    pub(crate) expires: i64,
    /// The connections that are open, by number.
    pub(crate) open: HashMap<u64, Arc<TcpStream>>,
    /// Number of the releases so far.
    pub(crate) releases: u64,
    waiters: usize,
}

impl State {
    fn new(settings: Settings, ports: Ports) -> Self {
        Self {
            epoch: 0,
            tokens: Tokens::new(&settings),
            portals: Portals::new(&settings, ports.https),
            ports,
            faults: Queue::default(),
            seen: Seen::default(),
            clock: Clock::new(settings.speed),
            buckets: HashMap::new(),
            application: String::new(),
            user: User::Installer,
            expires: 0,
            open: HashMap::new(),
            releases: 0,
            waiters: 0,
            settings,
        }
    }

    /// Notes who calls. If any token is accepted, each is an application's of its own.
    pub(crate) fn called_with(&mut self, token: &str) {
        let any = self.settings.access_token == "*";
        self.application = if any { token.to_owned() } else { String::new() };
    }

    /// The time budget that the application that calls has for a method, if it has spent any.
    pub(crate) fn operating(&self, at: At) -> Option<&OperatingTime> {
        let budget = (self.application.clone(), at);
        self.portals.here().operating.get(&budget)
    }

    /// The same, to use it.
    pub(crate) fn operating_mut(&mut self, at: At) -> &mut OperatingTime {
        let budget = (self.application.clone(), at);
        let operating = &mut self.portals.here_mut().operating;
        operating.entry(budget).or_default()
    }

    /// Changes the settings that `changes` names.
    pub(crate) fn set(&mut self, changes: &serde_json::Value) -> Result<(), String> {
        let settings = self.settings.merged(changes)?;
        self.clock.set_speed(settings.speed);
        let named = |name: &str| changes.get(name).is_some();
        if ["access_token", "refresh_token", "expired", "expires_in"]
            .into_iter()
            .any(named)
        {
            self.tokens.set(&settings, changes);
        }
        if named("senders") {
            self.portals.set_senders(&settings.senders);
        }
        let main = self.portals.get_mut(0);
        if named("member_id") {
            main.member_id.clone_from(&settings.member_id);
        }
        if named("application_token") {
            main.application_token
                .clone_from(&settings.application_token);
        }
        if named("portals") {
            self.tokens.set_portals(&settings);
            self.portals.set_number(&settings);
        }
        self.settings = settings;
        Ok(())
    }

    /// Notes a request, and returns its number in the log.
    pub(crate) fn note(&mut self, entry: impl FnOnce() -> LogEntry) -> u64 {
        let number = self.seen.noted + 1;
        self.seen.noted = number;
        if self.settings.log > 0 {
            while self.seen.log.len() >= self.settings.log {
                self.seen.log.pop_front();
            }
            self.seen.log.push_back(LogEntry {
                n: number,
                ..entry()
            });
        }
        number
    }

    /// Notes how the request of that number was answered.
    pub(crate) fn note_answer(&mut self, number: u64, status: u16, error: &str) {
        let behind = usize::try_from(self.seen.noted - number).unwrap_or(usize::MAX);
        let length = self.seen.log.len();
        let entry = length
            .checked_sub(behind.saturating_add(1))
            .and_then(|index| self.seen.log.get_mut(index));
        if let Some(entry) = entry {
            entry.answer = Answered {
                status,
                error: error.to_owned(),
            };
        }
    }

    /// Notes a violation of the protocol.
    pub(crate) fn note_bad(&mut self, text: impl Into<String>) {
        if self.seen.bad.len() < MAX_BAD {
            self.seen.bad.push(text.into());
        }
    }
}

/// What the portal received since the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Connections to the portal and the authorization server.
    pub connections: u64,
    /// TLS handshakes made in full.
    pub tls_handshakes_full: u64,
    /// TLS handshakes that resumed a session.
    pub tls_resumed: u64,
    /// TLS handshakes that failed: the client rejected the certificate, or did not use TLS.
    pub tls_failed: u64,
    /// Connections that are open now.
    pub open_connections: usize,
    /// Calls of the portal's methods, whatever the answer.
    pub requests: u64,
    /// Those for a single update of a status.
    pub updates: u64,
    /// Those for a batch.
    pub batches: u64,
    /// Commands in the batches that were executed.
    pub commands: u64,
    /// Renewals granted.
    pub renewals: u64,
    /// Renewals asked for.
    pub renewal_requests: u64,
    /// Renewals asked for with a refresh token that was used before.
    pub spent_tokens: u64,
    /// Requests for `app.info`, to the authorization server and to portals.
    pub app_info: u64,
    /// Requests for `user.admin`.
    pub user_admin: u64,
    /// Requests that were executed after they had been answered with 504.
    pub late: u64,
    /// `QUERY_LIMIT_EXCEEDED` answered because the bucket was full, or by the setting `throttled`.
    pub query_limit: u64,
    /// Violations of the protocol.
    pub bad: Vec<String>,
    /// The last requests, oldest first.
    pub log: VecDeque<LogEntry>,
    #[serde(skip)]
    noted: u64,
}

impl Seen {
    pub(crate) fn count(&mut self, at: At) {
        match at {
            At::Oauth => self.renewal_requests += 1,
            At::Update => self.updates += 1,
            At::Batch => self.batches += 1,
            At::AppInfo | At::OauthAppInfo => self.app_info += 1,
            At::UserAdmin => self.user_admin += 1,
            _ => {}
        }
        if at.is_call() {
            self.requests += 1;
        }
    }
}

/// A request in the log.
#[derive(Clone, Debug, Serialize)]
pub struct LogEntry {
    /// Its number since the last reset, from 1.
    pub n: u64,
    /// The value of its `Host` header.
    pub host: String,
    /// Its path.
    pub path: String,
    /// Its HTTP method.
    pub method: String,
    /// The number of its connection since the start.
    pub connection: u64,
    /// The parameters of its query string and its body.
    pub params: php::Array<php::Value>,
    /// How it was answered.
    pub answer: Answered,
    /// The value of its `User-Agent` header.
    pub user_agent: String,
}

impl LogEntry {
    pub(crate) fn new(request: &Request, params: php::Array<php::Value>, connection: u64) -> Self {
        Self {
            n: 0,
            host: request.host.clone(),
            path: request.path.clone(),
            method: request.method.clone(),
            connection,
            params,
            answer: Answered::default(),
            user_agent: request.user_agent.clone(),
        }
    }
}

/// How a request was answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answered {
    /// The HTTP status; 0 if there was no answer.
    pub status: u16,
    /// The error code, empty if there was none.
    pub error: String,
}
