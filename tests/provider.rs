//! The provider, from the installation of its application to receipts at the portal.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what cannot be unwrapped has failed"
)]
#![cfg(all(unix, feature = "provider"))]

use b24_messageservice::{Client, Config, ErrorKind, Provider, Request, RequestKind, Status};
use b24_portal::{Portal, Settings};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CODE: &str = "provider1";

/// An emulator, a directory for the store, and a provider on it.
struct Stage {
    portal: Portal,
    directory: PathBuf,
    /// Of its own, because a process knows an installation by its tokens.
    client_id: String,
    tokens: [String; 2],
}

impl Stage {
    fn new(settings: Settings) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let client_id = format!("app.{number}");
        let tokens = ["access", "refresh"].map(|kind| format!("{kind}-{number:016}"));
        let [access_token, refresh_token] = tokens.clone();
        let portal = Portal::start(Settings {
            client_id: client_id.clone(),
            access_token,
            refresh_token,
            ..settings
        })
        .unwrap();
        let directory = portal.ca_file().parent().unwrap().join("store");
        std::fs::create_dir(&directory).unwrap();
        Self {
            portal,
            directory,
            client_id,
            tokens,
        }
    }

    fn store(&self) -> PathBuf {
        self.directory.join("b24.db")
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .store(&format!("sqlite:{}", self.store().display()))
            .client_id(&self.client_id)
            .client_secret("secret-0000000000000001")
            .oauth_url(&format!(
                "https://oauth.bitrix24.test:{}",
                self.portal.oauth_port()
            ))
            .ca_file(self.portal.ca_file())
            .resolve(&self.resolve())
            .timeout(Duration::from_secs(10))
            .proxy("none");
        config
    }

    fn resolve(&self) -> String {
        let ports = [self.portal.https_port(), self.portal.oauth_port()];
        let entries: Vec<_> = ports
            .iter()
            .map(|port| format!("*:{port}:127.0.0.1"))
            .collect();
        entries.join(",")
    }

    fn open(&self) -> Provider {
        Provider::open(&self.config()).unwrap()
    }

    /// The store's database, by the same copy of SQLite as the library's.
    fn database(&self) -> Connection {
        Connection::open(self.store()).unwrap()
    }

    fn change(&self, sql: &str) {
        let changed = self.database().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
    }

    fn count(&self, sql: &str) -> i64 {
        let database = self.database();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn access_token(&self) -> String {
        self.portal.tokens()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn install(&self, provider: &Provider, order: Value) -> Result<Request, ErrorKind> {
        let request = self.portal.install(order).unwrap();
        receive(provider, &request)
    }
}

fn receive(provider: &Provider, request: &Value) -> Result<Request, ErrorKind> {
    let content_type = request["content_type"].as_str().unwrap();
    let body = request["body"].as_str().unwrap();
    provider
        .receive(content_type, body.as_bytes())
        .map_err(|error| {
            println!("{error}");
            error.kind()
        })
}

#[test]
fn the_whole_story() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    let installed = stage.install(&provider, json!({})).unwrap();
    assert_eq!(installed.kind(), RequestKind::Install);
    let member = installed.member_id().to_owned();

    let message = stage
        .portal
        .message(json!({"code": CODE, "message_id": "m1"}))
        .unwrap();
    let message = receive(&provider, &message).unwrap();
    assert_eq!(message.kind(), RequestKind::Message);
    assert_eq!(message.get("message_id"), Some("m1"));
    assert_eq!(message.member_id(), member);

    provider.track("op-1", &member, CODE, "m1").unwrap();
    provider.report_reference("op-1", "sent", None).unwrap();
    provider
        .report(&member, CODE, "m1", Status::Delivered, None)
        .unwrap();
    provider.report(&member, CODE, "m1", "sent", None).unwrap();
    let drained = provider.drain(Duration::from_millis(500)).unwrap();
    println!("{drained:?} {}", stage.portal.messages());
    assert_eq!((drained.sent, drained.waiting), (1, 0));
    assert_eq!(stage.portal.messages()[format!("{CODE}|m1")], "delivered");
    let portals = provider.inspect().unwrap();
    println!("{portals:?}");
    assert_eq!(portals[0].state, "active");
}

const SHORT: Duration = Duration::from_millis(400);
const DAY: i64 = 86_400_000;

#[test]
fn a_pair_that_is_not_used_for_long_is_renewed_once() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    stage.install(&provider, json!({})).unwrap();
    provider.drain(SHORT).unwrap();
    assert_eq!(stage.portal.seen().renewals, 0);
    stage.change(&format!(
        "UPDATE b24_installation SET pair_at = pair_at - {}",
        151 * DAY
    ));
    provider.drain(SHORT).unwrap();
    provider.drain(SHORT).unwrap();
    assert_eq!(stage.portal.seen().renewals, 1);
}

#[test]
fn an_idle_pair_that_is_refused_is_held_and_not_asked_for_again() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    stage.install(&provider, json!({})).unwrap();
    stage.portal.spend(json!({})).unwrap();
    stage.change(&format!(
        "UPDATE b24_installation SET pair_at = pair_at - {}",
        151 * DAY
    ));
    provider.drain(SHORT).unwrap();
    let asked = stage.portal.seen().renewal_requests;
    assert_eq!(asked, 1);
    let held = &provider.inspect().unwrap()[0];
    assert_eq!(
        (held.state, held.reason.as_str()),
        ("held", "invalid_grant")
    );
    stage.open().drain(SHORT).unwrap();
    assert_eq!(stage.portal.seen().renewal_requests, asked);
}

#[test]
fn the_second_pair_is_used_when_the_first_is_refused() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    let member = stage.install(&provider, json!({})).unwrap();
    let member = member.member_id();
    stage.install(&provider, json!({"pair": "new"})).unwrap();
    stage.portal.set(&json!({"expired": true})).unwrap();
    stage.portal.spend(json!({"pair": 0})).unwrap();
    provider
        .report(member, CODE, "m1", "delivered", None)
        .unwrap();
    let drained = provider.drain(Duration::from_secs(1)).unwrap();
    assert_eq!((drained.sent, drained.held), (1, 0), "{drained:?}");
}

#[test]
fn an_installation_that_was_interrupted_is_finished_by_a_drain() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    stage
        .portal
        .set(&json!({"app_info": {"status": 502, "html": true}}))
        .unwrap();
    let refused = stage.install(&provider, json!({})).unwrap_err();
    assert_eq!(refused, ErrorKind::Portal);
    assert_eq!(stage.count("SELECT count(*) FROM b24_installation"), 0);
    stage.portal.set(&json!({"app_info": "full"})).unwrap();
    stage.change("UPDATE b24_delivery SET arrived_at = arrived_at - 200000");
    provider.drain(SHORT).unwrap();
    assert_eq!(provider.inspect().unwrap()[0].state, "active");
    assert_eq!(stage.count("SELECT count(*) FROM b24_delivery"), 0);
}

#[test]
fn tokens_in_the_store_are_sealed_and_keys_can_be_changed() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new(Settings::default());
    let keys = stage.directory.join("keys");
    let write = |text: &str| {
        std::fs::write(&keys, text).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (first, second) = ("a1".repeat(32), "b2".repeat(32));
    write(&format!("k1 {first}\n"));
    let mut config = stage.config();
    config.store_key_file(&keys);
    let provider = Provider::open(&config).unwrap();
    let member = stage.install(&provider, json!({})).unwrap();
    let member = member.member_id();
    let token = stage.access_token();
    for file in ["b24.db", "b24.db-wal"] {
        let bytes = std::fs::read(stage.directory.join(file)).unwrap();
        let found = bytes
            .windows(token.len())
            .any(|part| part == token.as_bytes());
        assert!(!found, "{file} has the token");
    }

    // Another process has begun to use another key.
    let sealed_by_first = "SELECT hex(substr(pair, 3, 2)) = '6B31' FROM b24_installation";
    assert_eq!(stage.count(sealed_by_first), 1);
    write(&format!("k2 {second}\nk1 {first}\n"));
    let other = Provider::open(&config).unwrap();
    stage.portal.set(&json!({"expired": true})).unwrap();
    other.client(member).unwrap().sender_list().unwrap();
    assert_eq!(stage.count(sealed_by_first), 0);
    provider.client(member).unwrap().sender_list().unwrap();

    write(&format!("k3 {first}\n"));
    let error = Provider::open(&config).unwrap().client(member).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.message().contains("k2"), "{error}");
    let error = stage.open().client(member).unwrap_err();
    assert!(error.message().contains("store_key_file"), "{error}");
}

#[test]
fn installations_of_a_state_dir_are_moved() {
    let stage = Stage::new(Settings::default());
    let host = format!("portal.bitrix24.test:{}", stage.portal.https_port());
    let state_dir = stage.directory.join("state");
    let [access_token, refresh_token] = &stage.tokens;
    let make = || {
        let mut config = Config::new();
        config
            .portal(&host)
            .access_token(access_token)
            .renewal(refresh_token, &stage.client_id, "secret-0000000000000001")
            .oauth_url(&format!(
                "https://oauth.bitrix24.test:{}",
                stage.portal.oauth_port()
            ))
            .ca_file(stage.portal.ca_file())
            .resolve(&stage.resolve())
            .state_dir(&state_dir)
            .proxy("none");
        Client::new(&config)
    };
    stage.portal.set(&json!({"expired": true})).unwrap();
    let client = make().unwrap();
    client.message_status_update(CODE, "m1", "sent").unwrap();
    assert_eq!(stage.portal.seen().renewals, 1);

    let provider = stage.open();
    let missing = provider.import_state_dir(&stage.directory.join("none"));
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(provider.import_state_dir(&state_dir).unwrap(), 1);
    assert_eq!(provider.import_state_dir(&state_dir).unwrap(), 0);
    let member = provider.inspect().unwrap()[0].member_id.clone();
    stage.portal.set(&json!({"expired": true})).unwrap();
    let moved = provider.client(&member).unwrap();
    moved.message_status_update(CODE, "m2", "sent").unwrap();
    assert_eq!(stage.portal.seen().renewals, 2);

    // The directory says where the tokens are, and has none any more.
    let error = make().unwrap_err();
    assert!(
        error.message().contains("moved to a provider's store"),
        "{error}"
    );
    stage.portal.set(&json!({"expired": true})).unwrap();
    let error = client
        .message_status_update(CODE, "m1", "sent")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    for file in std::fs::read_dir(&state_dir).unwrap() {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("refresh-"), "{text}");
    }
}

#[test]
fn drains_share_the_work_and_send_nothing_twice() {
    const PORTALS: u64 = 20;
    const MESSAGES: usize = 120;
    let stage = Stage::new(Settings {
        portals: 20,
        ..Settings::default()
    });
    let provider = stage.open();
    let mut receipts = Vec::new();
    for portal in 1..=PORTALS {
        let host = format!("p{portal}.bitrix24.test");
        let member = stage.install(&provider, json!({"host": host})).unwrap();
        for message in 0..MESSAGES {
            receipts.push(b24_messageservice::Receipt::new(
                member.member_id(),
                CODE,
                format!("m{message}"),
                "delivered",
            ));
        }
    }
    let outcomes = provider.report_many(&receipts);
    assert!(outcomes.iter().all(Result::is_ok));
    let sent: u64 = std::thread::scope(|scope| {
        let drains: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| stage.open().drain(Duration::from_secs(3)).unwrap()))
            .collect();
        drains
            .into_iter()
            .map(|drain| drain.join().unwrap().sent)
            .sum()
    });
    assert_eq!(sent, PORTALS * MESSAGES as u64);
    // 50, 50 and 20 for each portal, and what the confirmations took.
    let batches = stage
        .portal
        .seen()
        .log
        .iter()
        .filter(|entry| entry.path.contains("batch"))
        .count();
    assert_eq!(batches, 3 * 20);
}

/// What the store and the portal have of an installation: how many pairs wait to be confirmed, how
/// many portals are active, and whether the tokens can be renewed.
fn settle(stage: &Stage) -> bool {
    // A pause between two attempts is a lease without an owner.
    stage
        .database()
        .execute(
            "UPDATE b24_delivery SET arrived_at = arrived_at - 200000, lease_until = 0",
            [],
        )
        .unwrap();
    let provider = stage.open();
    provider.drain(SHORT).unwrap();
    let portals = provider.inspect().unwrap();
    let Some(portal) = portals.first() else {
        return false;
    };
    stage.portal.set(&json!({"expired": true})).unwrap();
    let client = provider.client(&portal.member_id).unwrap();
    client.sender_list().is_ok() && stage.portal.tokens()["lost"] == false
}

#[test]
fn a_pair_that_was_renewed_for_an_installation_is_kept_until_that_is_decided() {
    let undecided = [
        json!({"kind": "error", "status": 503, "error": "QUERY_LIMIT_EXCEEDED"}),
        json!({"kind": "error", "status": 503, "error": "OVERLOAD_LIMIT"}),
        json!({"kind": "error", "status": 429, "error": "OPERATION_TIME_LIMIT"}),
        json!({"kind": "error", "status": 400, "error": "NEW_CODE"}),
        json!({"kind": "error", "status": 401, "error": "PAYMENT_REQUIRED"}),
        json!({"kind": "status", "status": 404}),
        json!({"kind": "status", "status": 403}),
        json!({"kind": "redirect", "location": "https://elsewhere.example.org/"}),
    ];
    for mut fault in undecided {
        fault["at"] = "user.admin".into();
        fault["count"] = 9.into();
        let stage = Stage::new(Settings::default());
        stage.portal.set(&json!({"app_info": "bare"})).unwrap();
        stage
            .portal
            .fault(vec![serde_json::from_value(fault.clone()).unwrap()]);
        let mut config = stage.config();
        config.max_retries(0);
        let provider = Provider::open(&config).unwrap();
        let error = stage.install(&provider, json!({})).unwrap_err();
        assert_ne!(error, ErrorKind::AccessDenied, "{fault}: it is not decided");
        assert_eq!(stage.portal.seen().renewals, 1, "{fault}");
        // Each further attempt uses the pair that it has.
        stage.change("UPDATE b24_delivery SET arrived_at = arrived_at - 200000");
        provider.drain(SHORT).unwrap();
        assert_eq!(stage.portal.seen().renewals, 1, "{fault}");
        let pause = "SELECT lease_until > 0 FROM b24_delivery WHERE lease_owner = 0";
        assert_eq!(stage.count(pause), 1, "{fault}");
        stage.portal.set(&json!({"app_info": "bare"})).unwrap();
        for _ in 0..9 {
            if settle(&stage) {
                break;
            }
        }
        assert!(settle(&stage), "{fault}: the installation is lost");
    }
}

#[test]
fn an_installation_that_is_cancelled_is_not_lost() {
    for after in [50, 150, 250, 350, 450] {
        let stage = Stage::new(Settings::default());
        stage
            .portal
            .set(&json!({"app_info": "bare", "oauth_latency_ms": 100, "latency_ms": 300}))
            .unwrap();
        let provider = stage.open();
        let other = provider.clone();
        let cancel = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            other.cancel();
        });
        let outcome = stage.install(&provider, json!({}));
        assert!(matches!(outcome, Err(ErrorKind::Cancelled) | Ok(_)));
        cancel.join().unwrap();
        b24_messageservice::renewals_wait(Duration::from_secs(20)).unwrap();
        stage
            .portal
            .set(&json!({"oauth_latency_ms": 0, "latency_ms": 0}))
            .unwrap();
        assert!(settle(&stage), "cancelled after {after} ms");
        assert_eq!(stage.portal.seen().spent_tokens, 0);
    }
}

#[test]
fn deliveries_that_cannot_be_decided_do_not_block_others() {
    let stage = Stage::new(Settings {
        portals: 12,
        ..Settings::default()
    });
    let mut config = stage.config();
    config.max_retries(0);
    let provider = Provider::open(&config).unwrap();
    stage
        .portal
        .set(&json!({"app_info": {"status": 502, "html": true}}))
        .unwrap();
    for portal in 1..=12 {
        let host = format!("p{portal}.bitrix24.test");
        stage.install(&provider, json!({"host": host})).unwrap_err();
    }
    let down: Vec<_> = (2..=12).map(|n| format!("p{n}.bitrix24.test")).collect();
    stage
        .portal
        .set(&json!({"app_info": "full", "down": down}))
        .unwrap();
    stage.change("UPDATE b24_delivery SET arrived_at = arrived_at - 200000");
    for _ in 0..3 {
        provider.drain(SHORT).unwrap();
    }
    assert_eq!(stage.count("SELECT count(*) FROM b24_installation"), 1);
    assert_eq!(stage.count("SELECT count(*) FROM b24_delivery"), 11);
}

#[test]
fn an_installation_from_a_new_address_is_believed_although_the_former_one_is_gone() {
    let stage = Stage::new(Settings::default());
    let mut config = stage.config();
    config.max_retries(0).timeout(Duration::from_secs(2));
    let provider = Provider::open(&config).unwrap();
    stage
        .install(&provider, json!({"host": "old.bitrix24.test"}))
        .unwrap();
    stage
        .portal
        .set(&json!({"down": ["old.bitrix24.test"]}))
        .unwrap();
    let host = json!({"host": "new.bitrix24.test", "again": true});
    stage.install(&provider, host).unwrap();
    let portal = &provider.inspect().unwrap()[0];
    assert!(portal.client_endpoint.contains("new.bitrix24.test"));
    assert!(settle(&stage));
}

#[test]
fn an_uninstallation_is_believed_when_the_tokens_do_not_work_any_more() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    stage.install(&provider, json!({})).unwrap();
    let before = stage.count("SELECT sum(generation) FROM b24_installation WHERE state = 1");
    // Any user sees the application_token when he opens a page of the application.
    let forged = stage.portal.uninstall(json!({"keep": true})).unwrap();
    assert_eq!(
        receive(&provider, &forged).unwrap_err(),
        ErrorKind::AccessDenied
    );
    let after = stage.count("SELECT sum(generation) FROM b24_installation WHERE state = 1");
    assert_eq!(after, before);

    // It is late: the application was installed again by a frame, which has no time of the portal's.
    let late = stage.portal.uninstall(json!({})).unwrap();
    let frame = stage.portal.install(json!({"as": "frame"})).unwrap();
    let frame = receive(&provider, &frame).unwrap();
    provider.install_request(&frame).unwrap();
    assert_eq!(
        receive(&provider, &late).unwrap_err(),
        ErrorKind::AccessDenied
    );
    assert_eq!(provider.inspect().unwrap()[0].state, "active");
    let real = stage.portal.uninstall(json!({})).unwrap();
    assert!(receive(&provider, &real).is_ok());
    assert_eq!(provider.inspect().unwrap()[0].state, "uninstalled");
    assert!(receive(&provider, &real).is_ok(), "a repeat");
}

#[test]
fn a_portal_that_has_failed_is_not_held_when_it_is_installed_again_meanwhile() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    let member = stage.install(&provider, json!({})).unwrap();
    let member = member.member_id();
    provider.report(member, CODE, "m1", "sent", None).unwrap();
    stage.portal.fault(vec![
        serde_json::from_value(json!({"kind": "status", "status": 502})).unwrap(),
    ]);
    provider.drain(Duration::from_millis(100)).unwrap();
    assert_eq!(stage.count("SELECT failures FROM b24_lane"), 1);
    stage.portal.set(&json!({"latency_ms": 700})).unwrap();
    let requests = stage.portal.seen().requests;
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| provider.drain(Duration::from_secs(2)).unwrap());
        while stage.portal.seen().requests == requests {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What is being sent has the old tokens.
        let again = stage.portal.install(json!({"again": true})).unwrap();
        stage.portal.set(&json!({"latency_ms": 0})).unwrap();
        receive(&stage.open(), &again).unwrap();
        assert_eq!(drain.join().unwrap().held, 0);
    });
    provider.drain(Duration::from_secs(2)).unwrap();
    assert_eq!(provider.inspect().unwrap()[0].state, "active");
    assert_eq!(stage.portal.messages()[format!("{CODE}|m1")], "sent");
}

#[test]
fn a_renewal_that_names_another_portal_does_not_move_this_one() {
    let stage = Stage::new(Settings::default());
    let provider = stage.open();
    let member = stage.install(&provider, json!({})).unwrap();
    let member = member.member_id();
    let address = provider.inspect().unwrap()[0].client_endpoint.clone();
    let other = format!(
        "https://other.bitrix24.test:{}/rest/",
        stage.portal.https_port()
    );
    stage
        .portal
        .set(&json!({"expired": true, "member_id": "b".repeat(32), "client_endpoint": other}))
        .unwrap();
    provider.report(member, CODE, "m1", "sent", None).unwrap();
    provider.drain(Duration::from_secs(1)).unwrap();
    assert_eq!(stage.portal.seen().renewals, 1);
    assert_eq!(provider.inspect().unwrap()[0].client_endpoint, address);
    let elsewhere = |entry: &b24_portal::LogEntry| entry.host.starts_with("other.");
    assert!(!stage.portal.seen().log.iter().any(elsewhere));
}
