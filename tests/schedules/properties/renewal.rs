//! Renewal: a refresh token is used once, and everybody who waits gets the new pair.

use super::server::server;
use super::shared::Shared;
use super::{LONG, Thread, call, canceller, passing, run};
use crate::engine::installation::Installation;
use crate::engine::known_tokens::RenewalResult;
use crate::engine::renewal::{renew, renewals_wait};
use crate::options::Config;
use crate::process::cancellation::CancelSource;
use crate::process::per_process::Process;
use crate::process::sync;
use crate::store::token_store::Store;
use crate::values::callbacks::Listener;
use crate::values::error::{Error, ErrorKind};
use crate::values::tokens::{Credentials, Tokens};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

const SHORT: Duration = Duration::from_secs(1);

/// The clients of one installation, and what they were told.
struct Clients {
    installation: Arc<Installation>,
    stale: Credentials,
    store: Option<Arc<Shared>>,
    told: AtomicUsize,
}

impl Clients {
    fn new(max_retries: &str, store: Option<Shared>) -> Arc<Self> {
        let mut config = Config::new();
        config
            .portal("portal.bitrix24.com")
            .access_token("a0")
            .refresh_token("r0")
            .client_id("app.1")
            .client_secret("secret")
            .proxy("none");
        config.set("max_retries", max_retries).unwrap();
        let settings = config.check().unwrap().clone();
        let portal = settings.portal.clone().unwrap();
        let stale = Credentials {
            tokens: Tokens {
                access_token: "a0".to_owned(),
                refresh_token: "r0".to_owned(),
                ..Tokens::default()
            },
            expires_here: None,
        };
        let store = store.map(Arc::new);
        Arc::new_cyclic(|clients: &std::sync::Weak<Self>| {
            let clients = clients.clone();
            let on_renewal = move || {
                let clients = clients.clone();
                let tell = move |tokens: &Tokens| {
                    let clients = clients.upgrade().unwrap();
                    clients.told.fetch_add(1, Ordering::SeqCst);
                    if let Some(store) = &clients.store {
                        let stored = store.stored.lock().unwrap();
                        assert_eq!(*stored, tokens.refresh_token, "used before it was stored");
                    }
                };
                Some(Box::new(tell) as Listener)
            };
            let cancel = Arc::new(CancelSource::new(None));
            let given = store.clone().map(|store| store as Arc<dyn Store>);
            let on_renewal = Some(Arc::new(on_renewal) as _);
            let made = Installation::of(settings, portal, given, on_renewal, cancel, &stale);
            Self {
                installation: Arc::new(made.unwrap()),
                stale,
                store,
                told: AtomicUsize::new(0),
            }
        })
    }

    /// Replaces a pair that the portal has refused.
    fn renew(
        &self,
        stale: &Credentials,
        cancel: &Arc<CancelSource>,
        timeout: Duration,
    ) -> Result<Credentials, Error> {
        let process = Process::current();
        match renew(&self.installation, &process, &call(cancel, timeout), stale)? {
            RenewalResult::Renewed(pair) | RenewalResult::TakenOver(pair) => Ok(pair),
            RenewalResult::NoMeans | RenewalResult::Abandoned => panic!("there is a refresh token"),
        }
    }

    fn patiently(&self, stale: &Credentials) -> Result<Credentials, Error> {
        self.renew(stale, &Arc::new(CancelSource::new(None)), LONG)
    }

    /// Nothing is under way any more, and the pair of the server is the one that is used.
    fn have(self: &Arc<Self>, pair: u32, requests: u32) {
        let clients = Arc::clone(self);
        let newest = Arc::new(Mutex::new(String::new()));
        let used = Arc::clone(&newest);
        run(vec![Box::new(move || {
            renewals_wait(LONG).unwrap();
            let pair = clients.patiently(&clients.stale).unwrap();
            *used.lock().unwrap() = pair.tokens.access_token;
        })]);
        let server = server();
        assert_eq!(*newest.lock().unwrap(), format!("a{pair}"));
        assert_eq!(server.pair, pair, "pairs were made");
        assert_eq!(server.requests, requests, "requests");
        assert_eq!(server.used_again, 0, "a used token was used");
        assert_eq!(
            self.told.load(Ordering::SeqCst),
            pair as usize,
            "listeners were told"
        );
        if let Some(store) = &self.store {
            assert_eq!(*store.stored.lock().unwrap(), format!("r{pair}"));
        }
    }
}

fn threads(
    clients: &Arc<Clients>,
    count: usize,
    each: impl Fn(&Clients) + Send + Sync + Copy + 'static,
) -> Vec<Thread> {
    let thread = |_| {
        let clients = Arc::clone(clients);
        Box::new(move || each(&clients)) as Thread
    };
    (0..count).map(thread).collect()
}

fn many_renew_once_with(store: Option<Shared>) {
    let clients = Clients::new("0", store);
    run(threads(&clients, 3, |clients| {
        let pair = clients.patiently(&clients.stale).unwrap();
        assert_eq!(pair.tokens.access_token, "a1");
    }));
    clients.have(1, 1);
}

/// Everybody gets the new pair for one request.
pub fn many_renew_once() {
    many_renew_once_with(None);
}

/// The same with a store, which has the pair before anybody uses it.
pub fn many_renew_and_store_once() {
    many_renew_once_with(Some(Shared::default()));
}

/// A pair that is refused as soon as it was had is renewed once more, not once for each.
pub fn a_second_pair_is_renewed_once_too() {
    let clients = Clients::new("0", None);
    run(threads(&clients, 3, |clients| {
        let mut pair = clients.patiently(&clients.stale).unwrap();
        if pair.tokens.access_token == "a1" {
            pair = clients.patiently(&pair).unwrap();
        }
        assert_eq!(pair.tokens.access_token, "a2");
    }));
    clients.have(2, 2);
}

/// Who waits for a renewal that fails is told so, and who comes later renews.
pub fn a_failure_is_told_to_all() {
    let clients = Clients::new("0", None);
    server().busy = 1;
    run(threads(&clients, 3, |clients| {
        match clients.patiently(&clients.stale) {
            Ok(pair) => assert_eq!(pair.tokens.access_token, "a1"),
            Err(error) => assert!(error.is_retryable() && sync::passed() < SHORT, "{error}"),
        }
    }));
    clients.have(1, 2);
}

/// A renewal that fails for the moment is repeated by the thread that makes it, for all.
pub fn a_retry_is_made_for_all() {
    let clients = Clients::new("1", None);
    server().busy = 1;
    run(threads(&clients, 3, |clients| {
        let pair = clients.patiently(&clients.stale).unwrap();
        assert_eq!(pair.tokens.access_token, "a1");
    }));
    clients.have(1, 2);
}

/// A refusal for good is asked for once, and everybody gets it.
pub fn a_refusal_is_asked_for_once() {
    let clients = Clients::new("0", None);
    server().refuses = true;
    run(threads(&clients, 3, |clients| {
        let error = clients.patiently(&clients.stale).unwrap_err();
        assert_eq!(error.portal_code(), "invalid_grant");
    }));
    let server = server();
    assert_eq!((server.requests, server.used_again), (1, 0));
}

/// One call is cancelled and one's deadline passes, at any moment: the other gets the pair, and
/// nothing is lost.
pub fn calls_that_end_early_lose_nothing() {
    let clients = Clients::new("0", Some(Shared::default()));
    let cancelled = Arc::new(CancelSource::new(None));
    let calls = [
        (Arc::new(CancelSource::new(None)), LONG, None),
        (Arc::clone(&cancelled), LONG, Some(ErrorKind::Cancelled)),
        (
            Arc::new(CancelSource::new(None)),
            SHORT,
            Some(ErrorKind::Timeout),
        ),
    ];
    let threads = calls.map(|(cancel, timeout, may_end)| {
        let clients = Arc::clone(&clients);
        let thread = move || match clients.renew(&clients.stale, &cancel, timeout) {
            Ok(pair) => assert_eq!(pair.tokens.access_token, "a1"),
            Err(error) => assert_eq!(Some(error.kind()), may_end),
        };
        Box::new(thread) as Thread
    });
    let mut threads = Vec::from(threads);
    threads.extend([canceller(&cancelled), passing(SHORT)]);
    run(threads);
    clients.have(1, 1);
}

/// The only call is cancelled, at any moment, while another process may hold the lock of the tokens:
/// either nothing was asked, or the pair is kept for the next call.
pub fn nobody_waits_any_more() {
    let clients = Clients::new("0", Some(Shared::default()));
    let cancelled = Arc::new(CancelSource::new(None));
    let (caller, source) = (Arc::clone(&clients), Arc::clone(&cancelled));
    let other = clients.store.clone().unwrap();
    other.locked.store(true, Ordering::SeqCst);
    run(vec![
        Box::new(move || {
            if let Err(error) = caller.renew(&caller.stale, &source, LONG) {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
            }
        }),
        canceller(&cancelled),
        Box::new(move || other.locked.store(false, Ordering::SeqCst)),
    ]);
    clients.have(1, 1);
}
