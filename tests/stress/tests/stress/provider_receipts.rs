//! Receipts in any order, for anybody, and of portals that are gone.

use super::HAND;
use b24_stress::provider::{Hand, Stage, host, member};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn report(portal: u64, message: &str, status: &str) -> Value {
    json!(["report", member(portal), message, status, 0])
}

fn at(message: &str, status: &str, at: u64) -> Value {
    json!(["report", member(0), message, status, at])
}

fn reported(reference: &str, status: &str) -> Value {
    json!(["report_reference", reference, status, 0])
}

/// Drains until nothing is sent any more, and returns what the last drain said.
fn drain(hand: &mut Hand) -> Value {
    loop {
        let drained = hand.done(&json!(["drain", 700]));
        if drained["sent"] == 0 && drained["refused"] == 0 {
            return drained;
        }
    }
}

/// The reasons of what was refused, by message or reference.
fn refused(hand: &mut Hand) -> Vec<(String, String)> {
    let rows = hand.done(&json!(["refused"]));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| {
        let reason = text(&row[3]);
        let reason = reason.split(':').next().unwrap_or_default().to_owned();
        (text(&row[1]) + &text(&row[4]), reason)
    })
    .collect()
}

#[test]
fn tokens_that_expire_twice_hold_no_portal() {
    let stage = Stage::new(HAND, &json!({"portals": 1}));
    let mut hand = stage.hand(&[]);
    stage.install(&mut hand, 0..1);
    // After another failure.
    stage.fault(
        &json!([{"kind": "status", "status": 502}, {"kind": "expire", "at": "batch", "count": 4}]),
    );
    hand.done(&report(0, "m", "delivered"));
    hand.done(&json!(["drain", 3000]));
    let inspected = hand.done(&json!(["inspect"]));
    println!("{inspected}");
    assert_ne!(inspected[0]["state"], "held", "{inspected}");
    let began = Instant::now();
    while hand.done(&json!(["drain", 500]))["waiting"] != 0 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it waits for ever"
        );
    }
    assert_eq!(stage.history(0, "m"), ["delivered"]);
}

#[test]
fn receipts_that_come_twice_or_in_any_order() {
    let stage = Stage::new(HAND, &json!({"portals": 3}));
    let mut hand = stage.hand(&[]);
    stage.install(&mut hand, 0..2);
    for drained_between in [false, true] {
        let id = |name: &str| format!("{name}-{drained_between}");
        let say = |hand: &mut Hand, order: Value| {
            hand.done(&order);
            if drained_between {
                drain(hand);
            }
        };
        for status in [
            "delivered",
            "delivered",
            "sent",
            "queued",
            "delivered",
            "sent",
        ] {
            say(&mut hand, report(0, &id("falling"), status));
        }
        for (status, time) in [
            ("failed", 2000),
            ("delivered", 1000),
            ("failed", 2500),
            ("undelivered", 2200),
            ("sent", 3000),
        ] {
            say(&mut hand, at(&id("times"), status, time));
        }
        for status in ["queued", "sent", "delivered", "failed"] {
            say(&mut hand, report(0, &id("rising"), status));
        }
        // Receipts of the parts of a message, two of them before it is known which message that is.
        let (a, b) = (id("a"), id("b"));
        say(&mut hand, reported(&a, "sent"));
        say(&mut hand, reported(&a, "delivered"));
        say(&mut hand, reported(&a, "sent"));
        hand.done(&json!(["track", a, member(0), id("parts")]));
        hand.done(&json!(["track", a, member(0), id("parts")]));
        hand.done(&json!(["track", b, member(0), id("parts")]));
        say(&mut hand, reported(&b, "sent"));
        say(&mut hand, reported(&b, "sent"));
        drain(&mut hand);
        let all: &[&str] = &["queued", "sent", "delivered", "failed"];
        let expected: [(&str, &[&str]); 4] = [
            ("falling", &["delivered"]),
            ("times", &["failed"]),
            ("rising", if drained_between { all } else { &["failed"] }),
            ("parts", &["delivered"]),
        ];
        for (name, history) in expected {
            assert_eq!(
                stage.history(0, &id(name)),
                history,
                "{name}, {drained_between}"
            );
        }
        let taken = hand.fails(&json!(["track", a, member(0), "another"]));
        assert_eq!(taken["kind"], "INVALID_ARGUMENT");
    }
    assert_eq!(refused(&mut hand), []);
}

#[test]
fn receipts_for_whom_nobody_knows_wait_for_an_hour() {
    let stage = Stage::new(HAND, &json!({"portals": 3}));
    let mut hand = stage.hand(&[]);
    stage.install(&mut hand, 0..1);
    hand.done(&report(1, "early", "delivered"));
    hand.done(&report(2, "stranger", "delivered"));
    hand.done(&reported("early", "delivered"));
    hand.done(&reported("stranger", "delivered"));
    hand.done(&report(0, "known", "delivered"));
    let drained = drain(&mut hand);
    assert_eq!(drained["waiting"], 4);
    hand.end();
    stage.advance(Duration::from_secs(3500));
    hand = stage.hand(&[]);
    assert_eq!(drain(&mut hand)["waiting"], 4);
    stage.install(&mut hand, 1..2);
    hand.done(&json!(["track", "early", member(0), "tracked"]));
    assert_eq!(drain(&mut hand)["waiting"], 2);
    hand.end();
    stage.advance(Duration::from_secs(150));
    hand = stage.hand(&[]);
    assert_eq!(drain(&mut hand)["waiting"], 0);
    let mut reasons = refused(&mut hand);
    reasons.sort();
    let pair = |message: &str, reason: &str| (message.to_owned(), reason.to_owned());
    assert_eq!(
        reasons,
        [
            pair("stranger", "UNKNOWN_PORTAL"),
            pair("stranger", "UNKNOWN_REFERENCE")
        ]
    );
    assert_eq!(stage.history(1, "early"), ["delivered"]);
    assert_eq!(stage.history(0, "tracked"), ["delivered"]);
    assert_eq!(stage.history(0, "known"), ["delivered"]);
    // What was refused can be reported again.
    stage.install(&mut hand, 2..3);
    hand.done(&report(2, "stranger", "delivered"));
    drain(&mut hand);
    assert_eq!(stage.history(2, "stranger"), ["delivered"]);
}

#[test]
fn an_application_that_is_removed_and_installed_again() {
    for (drained_between, down) in [(false, false), (true, false), (true, true), (false, true)] {
        let stage = Stage::new(HAND, &json!({"portals": 2}));
        let mut hand = stage.hand(&[]);
        stage.install(&mut hand, 0..2);
        if down {
            stage
                .portal
                .set(&json!({"down": [host(0)]}))
                .expect("a setting");
        }
        for number in 0..120 {
            hand.done(&report(0, &format!("m{number}"), "delivered"));
        }
        if down {
            hand.done(&json!(["drain", 300]));
            stage.portal.set(&json!({"down": []})).expect("a setting");
        }
        let removal = stage
            .portal
            .uninstall(json!({"host": host(0)}))
            .expect("a request");
        let kind = hand.done(&json!([
            "receive",
            removal["content_type"],
            removal["body"]
        ]));
        assert_eq!(kind, "uninstall");
        // Its repeat, and receipts that come meanwhile.
        hand.done(&json!([
            "receive",
            removal["content_type"],
            removal["body"]
        ]));
        hand.done(&report(0, "meanwhile", "delivered"));
        if drained_between {
            let drained = drain(&mut hand);
            assert_eq!(drained["waiting"], 0, "{drained}");
        }
        // In another second: a portal's times have no parts of one.
        std::thread::sleep(Duration::from_millis(1100));
        stage.install(&mut hand, 0..1);
        hand.done(&report(0, "later", "delivered"));
        hand.done(&report(0, "m0", "delivered"));
        // The removal comes once more, late.
        let _ = hand.ask(&json!([
            "receive",
            removal["content_type"],
            removal["body"]
        ]));
        for _ in 0..20 {
            if hand.done(&json!(["drain", 500]))["waiting"] == 0 {
                break;
            }
        }
        let inspected = hand.done(&json!(["inspect"]));
        assert_eq!(
            (&inspected[0]["state"], &inspected[0]["waiting"]),
            (&json!("active"), &json!(0)),
            "{inspected}"
        );
        let reasons = refused(&mut hand);
        let (mut sent, mut given_up) = (0, 0);
        for message in (0..120)
            .map(|n| format!("m{n}"))
            .chain(["meanwhile".to_owned(), "later".to_owned()])
        {
            let why = reasons.iter().find(|(of, _)| *of == message);
            match (stage.status(0, &message).as_str(), why) {
                ("delivered", None) => sent += 1,
                ("", Some((_, reason))) if reason == "UNINSTALLED" => given_up += 1,
                other => panic!("{message}: {other:?}"),
            }
        }
        println!(
            "down {down}, drained between {drained_between}: {sent} sent, {given_up} refused as UNINSTALLED"
        );
        assert_eq!(stage.status(0, "later"), "delivered");
        assert_eq!(stage.status(0, "m0"), "delivered");
        assert_eq!(sent + given_up, 122);
    }
}

/// A million with `B24_GONE_RECEIPTS=1000000`.
#[test]
fn receipts_of_a_portal_that_is_gone_cost_no_memory_and_delay_nobody() {
    let count: u64 = std::env::var("B24_GONE_RECEIPTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_000);
    let others = if count > 100_000 { 12 } else { 4 };
    for how in ["down", "uninstalled", "deleted", "unknown"] {
        let stage = Stage::new(HAND, &json!({"portals": 3, "log": 0}));
        let mut hand = stage.hand(&[("durability", "process"), ("timeout_ms", "20000")]);
        stage.install(&mut hand, if how == "unknown" { 1..2 } else { 0..2 });
        match how {
            "down" => stage.portal.set(&json!({"down": [host(0)]})).expect("a setting"),
            "deleted" => stage.fault(&json!([{"kind": "error", "status": 403, "error": "PORTAL_DELETED", "host": host(0), "count": 1000}])),
            _ => {}
        }
        let began = Instant::now();
        for first in (0..count).step_by(100_000) {
            let some = (count - first).min(100_000);
            let answer = hand.done(&json!(["flood", member(0), "m", "delivered", first, some]));
            assert_eq!(answer["stored"], some, "{answer}");
        }
        let stored = began.elapsed();
        if how == "uninstalled" {
            let removal = stage
                .portal
                .uninstall(json!({"host": host(0)}))
                .expect("a request");
            hand.done(&json!([
                "receive",
                removal["content_type"],
                removal["body"]
            ]));
        }
        hand.end();
        let mut reporter = stage.hand(&[("timeout_ms", "20000")]);
        reporter.done(&json!(["open"]));
        let mut drainer = stage.hand(&[("timeout_ms", "20000")]);
        let began = Instant::now();
        drainer.done(&json!(["open"]));
        drainer.tell(&json!(["drain", 1000 * others]));
        let (mut delays, mut reports) = (Vec::new(), Vec::new());
        for number in 0..others {
            let message = format!("other{number}");
            let told = Instant::now();
            reporter.done(&report(1, &message, "delivered"));
            reports.push(told.elapsed());
            while stage.status(1, &message) != "delivered" {
                assert!(
                    told.elapsed() < Duration::from_secs(15),
                    "another portal is delayed"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            delays.push(told.elapsed());
            std::thread::sleep(Duration::from_millis(300));
        }
        let mut outcome = drainer.answer().expect("it lives")["ok"].take();
        let mut drains = 1;
        while how == "uninstalled" && outcome["waiting"] != 0 && drains < 60 {
            outcome = drainer.done(&json!(["drain", 10_000]));
            drains += 1;
        }
        let took = began.elapsed();
        let usage = drainer.done(&json!(["usage"]));
        let inspected = drainer.done(&json!(["inspect"]));
        delays.sort();
        reports.sort();
        println!(
            "{how}: {count} receipts stored in {stored:?}; drained for {took:?}: {outcome}; {}; peak {} KiB; other portal: \
             receipts there after p50 {:?}, max {:?}; reports p50 {:?}, max {:?}",
            inspected[0],
            usage["peak"],
            delays[delays.len() / 2],
            delays[delays.len() - 1],
            reports[delays.len() / 2],
            reports[delays.len() - 1]
        );
        let row = &inspected[0];
        let (waiting, refused) = (
            row["waiting"].as_u64().expect("a count"),
            row["refused"].as_u64().expect("a count"),
        );
        assert_eq!(waiting + refused, count, "{row}");
        match how {
            "down" => assert_eq!(row["state"], "waiting"),
            "deleted" => assert_eq!(
                (&row["state"], &row["reason"]),
                (&json!("held"), &json!("PORTAL_DELETED"))
            ),
            "uninstalled" => assert_eq!(refused, count),
            _ => assert_eq!(row["state"], "unknown"),
        }
        assert!(
            usage["peak"].as_u64().expect("a size") < 64 * 1024,
            "{usage}"
        );
    }
}
