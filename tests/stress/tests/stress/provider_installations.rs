//! An installation outlasts whatever happens to the processes that renew, receive and import it.

use b24_stress::provider::{Hand, Stage, host, member};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const PROVIDER: &str = env!("CARGO_BIN_EXE_b24-stress-provider");

fn stage(portals: u64) -> Stage {
    Stage::new(PROVIDER, &json!({"portals": portals}))
}

/// Tells a process to receive what a portal sends.
fn receive(hand: &mut Hand, request: &Value) -> Value {
    hand.ask(&json!([
        "receive",
        request["content_type"],
        request["body"]
    ]))
}

fn order(stage: &Stage, order: Value) -> Value {
    let request = stage.portal.install(order);
    request.unwrap_or_else(|fault| panic!("{fault}"))
}

fn set(stage: &Stage, settings: &Value) {
    let done = stage.portal.set(settings);
    done.unwrap_or_else(|fault| panic!("{fault}"));
}

/// A process under strace, which does something to it at the `at`th system call of a kind in any of
/// its threads.
fn traced(stage: &Stage, kind: &str, what: &str, at: u32) -> Hand {
    let plain = stage.command(&["hand"], &[]);
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={kind}"))
        .arg("-e")
        .arg(format!("inject={kind}:{what}:when={at}"))
        .arg(plain.get_program())
        .args(plain.get_args());
    Hand::start(&mut strace)
}

/// Whether the tokens in the store can be renewed.
fn works(stage: &Stage) -> bool {
    set(stage, &json!({"expired": true}));
    let mut hand = stage.hand(&[]);
    let used = hand.ask(&json!(["senders", member(0)]));
    println!("{used}");
    used.get("ok").is_some()
}

/// Kills a process at each system call of a kind. Returns how often it was killed, and how often the
/// pair was lost before it was read.
fn kill_at_each(kind: &str, prepare: impl Fn(&Stage) -> Value) -> (u32, u32) {
    let (mut killed, mut unread) = (0, 0);
    for at in 1..60 {
        let stage = stage(1);
        let order = prepare(&stage);
        let before = stage.portal.seen().renewals;
        let mut first = traced(&stage, kind, "signal=KILL", at);
        first.tell(&order);
        let answer = first.answer();
        first.end();
        let granted = stage.portal.seen().renewals > before;
        let deliveries = "UPDATE b24_delivery SET arrived_at = arrived_at - 200000";
        let changed = stage.database().execute(deliveries, []);
        assert!(changed.is_ok(), "{changed:?}");
        let mut second = stage.hand(&[]);
        second.ask(&json!(["drain", 700]));
        second.end();
        let stored = stage.number("SELECT count(*) FROM b24_installation WHERE state = 1");
        // What was neither acknowledged nor renewed is delivered again.
        if (stored > 0 || granted || answer.is_some()) && !works(&stage) {
            assert_eq!(kind, "recvfrom", "killed at {at}: {order}");
            unread += 1;
        }
        if answer.is_some() {
            return (killed, unread);
        }
        killed += 1;
    }
    panic!("{kind}: it never ends");
}

const STEPS: [&str; 5] = ["pwrite64", "fdatasync", "sendto", "recvfrom", "connect"];

#[test]
fn a_killed_process_loses_no_installation() {
    let install = |stage: &Stage| {
        set(stage, &json!({"app_info": "bare"}));
        stage.hand(&[]).done(&json!(["open"]));
        let request = order(stage, json!({"host": host(0)}));
        json!(["receive", request["content_type"], request["body"]])
    };
    let renew = |stage: &Stage| {
        stage.install(&mut stage.hand(&[]), 0..1);
        set(stage, &json!({"expired": true}));
        json!(["senders", member(0)])
    };
    let drain = |stage: &Stage| {
        let mut hand = stage.hand(&[]);
        stage.install(&mut hand, 0..1);
        hand.done(&json!(["report", member(0), "m1", "sent"]));
        set(stage, &json!({"expired": true}));
        json!(["drain", 300])
    };
    for kind in STEPS {
        let (installing, renewing, draining) = (
            kill_at_each(kind, install),
            kill_at_each(kind, renew),
            kill_at_each(kind, drain),
        );
        println!("{kind}: (killed, lost unread) {installing:?} {renewing:?} {draining:?}");
    }
}

#[test]
fn a_store_that_fails_while_tokens_are_renewed_gets_them_later() {
    for kind in ["pwrite64", "fdatasync"] {
        for at in 1..10 {
            let stage = stage(1);
            stage.install(&mut stage.hand(&[]), 0..1);
            set(&stage, &json!({"expired": true}));
            let mut hand = traced(&stage, kind, "error=EIO", at);
            for _ in 0..2 {
                hand.ask(&json!(["senders", member(0)]));
            }
            assert!(works(&stage), "{kind} {at}");
            hand.ask(&json!(["senders", member(0)]));
            assert!(works(&stage), "{kind} {at}");
            assert_eq!(stage.portal.seen().spent_tokens, 0, "{kind} {at}");
        }
    }
}

#[test]
fn a_lease_lasts_as_long_as_its_holder_wants() {
    let stage = stage(1);
    let mut patient = stage.hand(&[("connect_timeout_ms", "20000")]);
    stage.install(&mut patient, 0..1);
    let mut hasty = stage.hand(&[("connect_timeout_ms", "500")]);
    hasty.done(&json!(["open"]));
    set(&stage, &json!({"expired": true, "oauth_latency_ms": 1000}));
    patient.tell(&json!(["senders", member(0)]));
    std::thread::sleep(Duration::from_millis(300));
    hasty.done(&json!(["senders", member(0)]));
    assert!(
        patient
            .answer()
            .is_some_and(|done| done.get("ok").is_some())
    );
    assert_eq!(stage.portal.seen().renewal_requests, 1);
}

#[test]
fn a_process_that_waits_for_a_renewal_lives_whatever_fails_meanwhile() {
    let stage = stage(2);
    let mut first = stage.hand(&[]);
    stage.install(&mut first, 0..2);
    let damaged = "UPDATE b24_installation SET pair = x'0102' WHERE member_id = ?1";
    assert_eq!(stage.database().execute(damaged, [member(1)]), Ok(1));
    set(&stage, &json!({"expired": true, "oauth_latency_ms": 1500}));
    first.done(&json!(["later", member(0)]));
    std::thread::sleep(Duration::from_millis(300));
    first.fails(&json!(["senders", member(1)]));
    stage.hand(&[]).done(&json!(["senders", member(0)]));
    assert_eq!(stage.portal.seen().renewal_requests, 1);
}

#[test]
fn requests_that_come_twice_at_once_are_one_installation() {
    const ROUNDS: u64 = 10;
    for app_info in ["full", "bare"] {
        let stage = stage(ROUNDS);
        set(&stage, &json!({"app_info": app_info}));
        let mut hands = [stage.hand(&[]), stage.hand(&[])];
        for portal in 0..ROUNDS {
            let event = order(&stage, json!({"host": host(portal)}));
            for hand in &mut hands {
                hand.tell(&json!(["receive", event["content_type"], event["body"]]));
            }
            for hand in &mut hands {
                let answer = hand.answer();
                assert_eq!(answer, Some(json!({"ok": "install"})));
            }
        }
        set(&stage, &json!({"expired": true}));
        let [first, second] = &mut hands;
        for portal in 0..ROUNDS {
            first.done(&json!(["senders", member(portal)]));
            second.done(&json!(["senders", member(portal)]));
        }
        assert_eq!(stage.portal.seen().spent_tokens, 0);
        let again = order(&stage, json!({"host": host(0)}));
        assert_eq!(receive(first, &again), json!({"ok": "install"}));
    }
}

#[test]
fn many_processes_and_threads_renew_once() {
    let stage = stage(1);
    stage.install(&mut stage.hand(&[]), 0..1);
    set(&stage, &json!({"expired": true, "oauth_latency_ms": 300}));
    let mut hands: Vec<Hand> = (0..8)
        .map(|_| stage.hand(&[("timeout_ms", "30000")]))
        .collect();
    for hand in &mut hands {
        hand.tell(&json!(["threads", member(0), 8]));
    }
    for hand in &mut hands {
        assert_eq!(hand.answer(), Some(json!({"ok": []})));
    }
    assert_eq!(stage.portal.seen().renewal_requests, 1);
}

/// The first import is killed after the pair is in the store and before the directory says so. A client
/// of the directory then renews, so that the store's pair is spent.
#[test]
fn an_import_that_was_interrupted_can_be_done_again() {
    let stage = stage(1);
    let state_dir = stage.store().with_file_name("state");
    let mut config = b24_messageservice::Config::new();
    let options = stage.options(&[]);
    for (name, value) in &options {
        if [
            "client_id",
            "client_secret",
            "oauth_url",
            "ca_file",
            "resolve",
            "proxy",
        ]
        .contains(&name.as_str())
        {
            config
                .set(name, value)
                .unwrap_or_else(|fault| panic!("{fault}"));
        }
    }
    let tokens = stage.portal.tokens_of(&host(0));
    let token = |name: &str| tokens[name].as_str().unwrap_or_default().to_owned();
    config
        .portal(&format!("{}:{}", host(0), stage.portal.https_port()))
        .access_token(&token("access_token"))
        .refresh_token(&token("refresh_token"))
        .state_dir(&state_dir);
    let client = b24_messageservice::Client::new(&config).unwrap_or_else(|fault| panic!("{fault}"));
    let expire_and_use = || {
        set(&stage, &json!({"expired": true}));
        let used = client.sender_list();
        assert!(used.is_ok(), "{used:?}");
    };
    expire_and_use();

    let files: Vec<_> = std::fs::read_dir(&state_dir)
        .into_iter()
        .flatten()
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "tokens"))
        .filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?)))
        .collect();
    assert_eq!(files.len(), 1);
    let import = || {
        let mut hand = stage.hand(&[]);
        let order = json!(["import", state_dir]);
        let imported = hand.done(&order);
        hand.end();
        imported
    };
    assert_eq!(import(), 1);
    for (path, content) in &files {
        assert!(std::fs::write(path, content).is_ok());
    }
    expire_and_use();
    set(&stage, &json!({"expired": true}));
    assert_eq!(import(), 1);
    assert!(works(&stage), "the installation is lost");
    assert_eq!(stage.portal.seen().spent_tokens, 0);
}
