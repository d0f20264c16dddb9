use super::{number, worker};
use b24_stress::Fixture;
use serde_json::json;

#[test]
fn ten_thousand_clients_are_light() {
    let fixture = Fixture::new(&json!({}));
    let mut worker = worker(
        &["clients", "10000"],
        &fixture.options(&[("rate_limit", "standard")]),
    );
    worker.go();
    let report = worker.report();
    println!("10,000 clients: {report} (resident in KiB)");
    let growth = &report["growth"];
    assert!(number(growth, "resident") < 30 * 1024, "{report}");
    assert_eq!(number(growth, "descriptors"), 0);
    assert_eq!(number(growth, "threads"), 0);
}

#[test]
fn a_hundred_thousand_access_tokens_take_no_more_room_than_a_thousand() {
    let fixture = Fixture::new(&json!({"access_token": "*", "log": 0}));
    let mut worker = worker(&["shared", "100000"], &fixture.options(&[]));
    worker.go();
    let report = worker.report();
    println!("100,000 access tokens: {report} (resident in KiB)");
    assert!(number(&report, "resident") < 1024, "{report}");
    assert_eq!(number(&report, "descriptors"), 0);
    assert_eq!(number(&report, "threads"), 0);
    assert_eq!(fixture.portal.seen().connections, 1);
}
