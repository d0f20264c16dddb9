//! Limits of single calls: a token ends its own calls and no others, and so does a timeout.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what cannot be unwrapped has failed"
)]

use b24_messageservice::{CancelToken, Client, Config, ErrorKind, Sender, Status, Update};
use b24_portal::{Portal, Settings};
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CODE: &str = "provider1";
const LONG: Duration = Duration::from_secs(30);

/// An emulator, and a client of it.
struct Stage {
    portal: Portal,
    client: Client,
}

impl Stage {
    fn new(settings: &Value) -> Self {
        Self::with(settings, |_| {})
    }

    fn with(settings: &Value, configure: impl FnOnce(&mut Config)) -> Self {
        // A process knows an installation by its tokens.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tokens = ["access", "refresh"].map(|kind| format!("{kind}-cancel-{number:016}"));
        let [access_token, refresh_token] = tokens.clone();
        let client_id = format!("app.cancel{number}");
        let portal = Portal::start(Settings {
            client_id: client_id.clone(),
            access_token,
            refresh_token,
            ..Settings::default()
        })
        .unwrap();
        portal.set(settings).unwrap();
        let mut config = Config::new();
        config
            .portal(&format!("http://127.0.0.1:{}", portal.http_port()))
            .allow_http(true)
            .access_token(&tokens[0])
            .refresh_token(&tokens[1])
            .client_id(&client_id)
            .client_secret("secret-0000000000000001")
            .oauth_url(&format!("https://oauth.test:{}", portal.oauth_port()))
            .resolve(&format!("*:{}:127.0.0.1", portal.oauth_port()))
            .ca_file(portal.ca_file())
            .rate_limit("off")
            .proxy("none");
        configure(&mut config);
        let client = Client::new(&config).unwrap();
        Self { portal, client }
    }

    fn fault(&self, faults: Value) {
        let faults: Vec<_> = serde_json::from_value(faults).unwrap();
        self.portal.fault(faults);
    }

    fn history(&self, message_id: &str) -> Value {
        self.portal.messages()["history"][format!("{CODE}|{message_id}")].clone()
    }
}

fn update(client: &Client, message_id: &str) -> Option<ErrorKind> {
    let outcome = client.message_status_update(CODE, message_id, Status::Sent);
    outcome.err().map(|error| error.kind())
}

const CANCELLED: Option<ErrorKind> = Some(ErrorKind::Cancelled);

#[test]
fn a_cancelled_token_stays_so_and_sends_nothing() {
    let stage = Stage::new(&json!({}));
    let token = CancelToken::new();
    assert!(!token.is_cancelled());
    let clone = token.clone();
    clone.cancel();
    clone.cancel();
    assert!(token.is_cancelled());
    let cancelled = stage.client.with_cancel(&token);
    let expired = stage.client.with_timeout(Duration::ZERO);
    for (client, kind) in [
        (cancelled, ErrorKind::Cancelled),
        (expired, ErrorKind::Timeout),
    ] {
        let kind = Some(kind);
        assert_eq!(update(&client, "m1"), kind);
        let updates = [
            Update::new(CODE, "m1", "sent"),
            Update::new(CODE, "", "sent"),
        ];
        let outcomes = client.message_status_update_batch(&updates);
        let kinds: Vec<_> = outcomes
            .into_iter()
            .map(|o| o.err().map(|e| e.kind()))
            .collect();
        assert_eq!(kinds, [kind, Some(ErrorKind::InvalidArgument)]);
        let mut sender = Sender::new(CODE);
        sender.handler("https://provider.test/send").name("One");
        let others = [
            client.message_status_get(1).err(),
            client.sender_add(&sender).err(),
            client.sender_update(&sender).err(),
            client.sender_delete(CODE).err(),
            client.sender_list().err(),
        ];
        for error in others {
            assert_eq!(error.map(|error| error.kind()), kind);
        }
    }
    let seen = stage.portal.seen();
    assert_eq!((seen.requests, seen.connections), (0, 0));
    assert_eq!(update(&stage.client, "m1"), None);
}

#[test]
fn a_token_ends_its_own_calls_alone() {
    let stage = Stage::new(&json!({"latency_ms": 60_000}));
    let (token, other) = (CancelToken::new(), CancelToken::new());
    let client = &stage.client;
    std::thread::scope(|scope| {
        let plain = scope.spawn(|| update(client, "plain"));
        let others = scope.spawn(|| update(&client.with_cancel(&other), "others"));
        // Any of several tokens ends a call.
        let both = client.with_cancel(&token).with_cancel(&CancelToken::new());
        let cancelled = scope.spawn(move || update(&both, "cancelled"));
        stage.portal.wait(3, LONG);
        token.cancel();
        assert_eq!(cancelled.join().unwrap(), CANCELLED);
        stage.portal.release();
        assert_eq!(plain.join().unwrap(), None);
        assert_eq!(others.join().unwrap(), None);
    });
    assert_eq!(stage.portal.seen().requests, 3);
}

#[test]
fn a_timeout_ends_its_own_calls_alone() {
    let stage = Stage::with(&json!({"latency_ms": 60_000}), |config| {
        config.max_retries(0);
    });
    let client = &stage.client;
    std::thread::scope(|scope| {
        let plain = scope.spawn(|| update(client, "plain"));
        stage.portal.wait(1, LONG);
        let short = client.with_timeout(Duration::from_millis(200));
        assert_eq!(update(&short, "limited"), Some(ErrorKind::Timeout));
        stage.portal.release();
        assert_eq!(plain.join().unwrap(), None);
    });
}

#[test]
fn what_waits_behind_a_cancelled_call_goes_on() {
    let stage = Stage::new(&json!({}));
    stage.fault(json!([{"kind": "hang"}]));
    let (first, second) = (CancelToken::new(), CancelToken::new());
    let client = &stage.client;
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| update(&client.with_cancel(&first), "m1"));
        stage.portal.wait(1, LONG);
        let queued = scope.spawn(|| update(&client.with_cancel(&second), "m1"));
        let last = scope.spawn(|| update(client, "m1"));
        second.cancel();
        assert_eq!(queued.join().unwrap(), CANCELLED);
        first.cancel();
        assert_eq!(sending.join().unwrap(), CANCELLED);
        assert_eq!(last.join().unwrap(), None);
    });
    assert_eq!(stage.history("m1"), json!(["sent"]));
}

#[test]
fn those_who_wait_for_the_same_renewal_go_on() {
    let stage = Stage::new(&json!({"expired": true}));
    stage.fault(json!([{"at": "oauth", "kind": "hang"}]));
    let (first, second) = (CancelToken::new(), CancelToken::new());
    let client = &stage.client;
    std::thread::scope(|scope| {
        // The one that starts the renewal is cancelled as well.
        let starting = scope.spawn(|| update(&client.with_cancel(&first), "m1"));
        stage.portal.wait_for_renewals(1, LONG);
        let waiting = scope.spawn(|| update(&client.with_cancel(&second), "m2"));
        let others = ["m3", "m4", "m5"].map(|id| scope.spawn(move || update(client, id)));
        stage.portal.wait(5, LONG);
        first.cancel();
        second.cancel();
        assert_eq!(starting.join().unwrap(), CANCELLED);
        assert_eq!(waiting.join().unwrap(), CANCELLED);
        stage.portal.release();
        for other in others {
            assert_eq!(other.join().unwrap(), None);
        }
    });
    assert_eq!(stage.portal.seen().renewals, 1);
}

#[test]
fn a_place_in_the_bucket_is_given_back() {
    // One place at once, and none in a call's lifetime after it.
    let stage = Stage::with(&json!({}), |config| {
        config
            .rate_limit("1/0.01")
            .timeout(Duration::from_secs(1000));
    });
    assert_eq!(update(&stage.client, "m1"), None);
    std::thread::scope(|scope| {
        let tokens: Vec<_> = (0..4).map(|_| CancelToken::new()).collect();
        let waiting: Vec<_> = tokens
            .iter()
            .map(|token| {
                let client = stage.client.with_cancel(token);
                scope.spawn(move || update(&client, "m2"))
            })
            .collect();
        for (token, call) in tokens.iter().zip(waiting) {
            token.cancel();
            assert_eq!(call.join().unwrap(), CANCELLED);
        }
    });
    assert_eq!(stage.portal.seen().requests, 1);
    // If their places were still taken, this one would wait for 500 s.
    let patient = stage.client.with_timeout(Duration::from_secs(110));
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| update(&patient.with_cancel(&token), "m3"));
        // It would end with RateLimited, before the token is cancelled or after.
        token.cancel();
        assert_eq!(call.join().unwrap(), CANCELLED);
    });
}

/// Tokens are cancelled while their calls end, so connections pass to others at that moment. Calls
/// without a token are sent once, and succeed.
#[test]
fn a_late_cancel_hits_nobody_else() {
    const CALLS: usize = 400;
    let stage = Stage::with(&json!({}), |config| {
        config.max_retries(0);
    });
    let client = &stage.client;
    let cancelled = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let cancelled = &cancelled;
            scope.spawn(move || {
                for call in 0..CALLS {
                    let token = CancelToken::new();
                    let limited = client.with_cancel(&token);
                    std::thread::scope(|scope| {
                        let id = format!("limited-{thread}-{call}");
                        let ended = scope.spawn(move || update(&limited, &id));
                        std::thread::sleep(Duration::from_micros(call as u64 * 3));
                        token.cancel();
                        match ended.join().unwrap() {
                            None => {}
                            Some(ErrorKind::Cancelled) => {
                                cancelled.fetch_add(1, Ordering::Relaxed);
                            }
                            other => panic!("{other:?}"),
                        }
                    });
                }
            });
            scope.spawn(move || {
                for call in 0..CALLS {
                    assert_eq!(update(client, &format!("plain-{thread}-{call}")), None);
                }
            });
        }
    });
    println!("{cancelled:?} of {} were cancelled", 3 * CALLS);
    for thread in 0..3 {
        for call in 0..CALLS {
            let history = stage.history(&format!("plain-{thread}-{call}"));
            assert_eq!(history, json!(["sent"]));
        }
    }
}

/// A port at which connections are neither accepted nor refused, as long as the result lives.
fn stalled() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    (listener, waiting)
}

/// While a connection is opened, in its TLS handshake, while an answer is awaited, and while a call
/// waits for its place under the rate limit. How long it took is printed: a timing fails nothing, but a
/// wait that is not ended fails with `Timeout`.
#[test]
fn every_wait_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (stalled, _waiting) = stalled();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let at = |port: u16| {
        Stage::with(&json!({"latency_ms": 60_000}), |config| {
            config
                .portal(&format!("https://stalled.test:{port}"))
                .resolve(&format!("*:{port}:127.0.0.1"))
                .connect_timeout(LONG)
                .timeout(LONG);
        })
    };
    let limited = Stage::with(&json!({}), |config| {
        config
            .rate_limit("1/0.01")
            .timeout(Duration::from_secs(1000));
    });
    assert_eq!(update(&limited.client, "m1"), None);
    let waits = [
        ("to be connected", at(port(&stalled))),
        ("for a TLS handshake", at(port(&silent))),
        ("for an answer", Stage::new(&json!({"latency_ms": 60_000}))),
        ("for its place under the rate limit", limited),
    ];
    let mut accepted = Vec::new();
    for (what, stage) in &waits {
        let token = CancelToken::new();
        let client = stage.client.with_cancel(&token);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| update(&client, "m2"));
            match *what {
                "for an answer" => {
                    stage.portal.wait(1, LONG);
                }
                "for a TLS handshake" => accepted.push(silent.accept().unwrap()),
                // Nothing tells that it waits. If it does not yet, it ends all the same.
                _ => std::thread::sleep(Duration::from_millis(300)),
            }
            let began = Instant::now();
            token.cancel();
            assert_eq!(call.join().unwrap(), CANCELLED, "{what}");
            println!(
                "a call that waited {what} ended after {:?}",
                began.elapsed()
            );
        });
    }
}
