use super::{number, worker};
use b24_stress::Fixture;
use serde_json::json;

/// How much memory a million updates may take in addition to themselves, in KiB.
const MOST: i64 = 250 * 1024;

#[test]
fn a_million_updates_end_at_their_deadline_and_take_little_room() {
    let fixture = Fixture::new(&json!({"log": 0}));
    let mut worker = worker(
        &["batch", "1000000"],
        &fixture.options(&[("timeout_ms", "2000")]),
    );
    worker.go();
    let report = worker.report();
    println!("a batch of 1,000,000, deadline 2000 ms: {report} (peak in KiB beyond the updates)");
    let kinds = &report["kinds"];
    assert!(number(kinds, "OK") > 0, "{report}");
    assert_eq!(number(kinds, "OK") + number(kinds, "TIMEOUT"), 1_000_000);
    assert!(number(&report, "peak") < MOST, "{report}");
}

#[test]
fn a_million_updates_without_a_turn_are_refused_at_once() {
    let fixture = Fixture::new(&json!({"log": 0}));
    let options = [("rate_limit", "10/0.01"), ("timeout_ms", "20000")];
    let mut worker = worker(&["batch", "1000000"], &fixture.options(&options));
    worker.go();
    let report = worker.report();
    println!("a batch of 1,000,000, 10 requests a burst: {report} (peak in KiB)");
    let kinds = &report["kinds"];
    assert_eq!(
        number(kinds, "OK") + number(kinds, "RATE_LIMITED"),
        1_000_000
    );
    assert!(number(&report, "peak") < MOST, "{report}");
    assert!(fixture.portal.seen().batches <= 10);
}

/// The portal refuses each of them, with the same text.
#[test]
fn equal_refusals_share_their_room() {
    const COUNT: i64 = 100_000;
    let fixture = Fixture::new(&json!({"log": 0, "messages": ["provider1|warm"]}));
    let mut worker = worker(
        &["batch", &COUNT.to_string()],
        &fixture.options(&[("timeout_ms", "120000")]),
    );
    worker.go();
    let report = worker.report();
    println!("a batch of {COUNT} that are all refused: {report} (peak in KiB)");
    assert_eq!(number(&report["kinds"], "MESSAGE_NOT_FOUND"), COUNT);
    assert!(
        number(&report, "peak") < MOST * COUNT / 1_000_000,
        "{report}"
    );
}
