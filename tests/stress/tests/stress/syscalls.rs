use super::{Directory, WORKER, worker};
use b24_stress::{Fixture, Worker};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;

/// How often each system call is made by a worker that makes `count` calls.
fn counted(count: u32, options: &[(String, String)]) -> BTreeMap<String, i64> {
    let directory = Directory::new(&format!("strace-{count}-{}", options.len()));
    let file = directory.0.join("counts");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&file).arg(WORKER);
    let mut worker = Worker::start(&mut command, &["calls", &count.to_string()], options);
    worker.go();
    let _ = worker.report();
    let table = std::fs::read_to_string(&file).expect("strace's table");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let count = fields.get(3)?.parse().ok()?;
            Some(((*fields.last()?).to_owned(), count))
        })
        .collect()
}

/// Compares the difference between 1000 and 2000 calls with what is promised.
fn assert_lean(options: &[(String, String)]) {
    const CALLS: u32 = 1000;
    // A handshake whose messages arrive in pieces takes a few more than in the other run. A call that
    // cost one more would make a thousand of it.
    const HANDSHAKE: i64 = 4;
    let few = counted(CALLS, options);
    let many = counted(2 * CALLS, options);
    let calls = i64::from(CALLS);
    let grown: BTreeMap<_, _> = many
        .iter()
        .filter(|(name, _)| *name != "total")
        .map(|(name, count)| (name.as_str(), count - few.get(name).unwrap_or(&0)))
        .filter(|(_, more)| *more != 0)
        .collect();
    println!("{CALLS} warm calls: {grown:?}");
    let more = |name: &str| grown.get(name).copied().unwrap_or_default();
    assert!((more("sendto") - calls).abs() <= HANDSHAKE);
    assert!(more("recvfrom") <= 2 * calls + HANDSHAKE);
    for never in [
        "setsockopt",
        "ioctl",
        "clone",
        "clone3",
        "socket",
        "connect",
        "poll",
        "ppoll",
        "futex",
        "sendmsg",
        "writev",
        "fcntl",
    ] {
        assert!(
            more(never).abs() <= HANDSHAKE,
            "{never} is made by warm calls"
        );
    }
}

#[test]
fn a_warm_call_costs_one_send_and_two_receives() {
    let fixture = Fixture::new(&json!({"log": 0}));
    assert_lean(&fixture.options(&[]));
}

#[test]
fn a_warm_call_over_tls_costs_no_more() {
    let fixture = Fixture::new(&json!({"log": 0}));
    let portal = format!("https://127.0.0.1:{}", fixture.portal.https_port());
    assert_lean(&fixture.options(&[("portal", &portal)]));
}

#[test]
fn a_hundred_thousand_calls_leave_nothing_behind() {
    // `make soak` makes a million.
    let count = std::env::var("B24_SOAK_CALLS").unwrap_or_else(|_| "100000".to_owned());
    let fixture = Fixture::new(&json!({"log": 0, "messages": ["*"]}));
    let mut worker = worker(&["calls", &count], &fixture.options(&[]));
    worker.go();
    let growth = worker.report();
    println!("{count} calls: {growth} (resident in KiB)");
    assert!(super::number(&growth, "resident") < 1024, "{growth}");
    assert_eq!(super::number(&growth, "descriptors"), 0);
    assert_eq!(super::number(&growth, "threads"), 0);
    assert_eq!(fixture.portal.seen().connections, 1);
    assert_eq!(fixture.portal.seen().requests.to_string(), count);
}
