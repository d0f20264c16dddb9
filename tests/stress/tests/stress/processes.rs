use super::{Directory, worker};
use b24_stress::Fixture;
use serde_json::json;
use std::time::Instant;

/// A portal refuses a request if the counter is above X, so it accepts X and one more. The emulator
/// accepts exactly its `x`.
#[test]
fn eight_processes_keep_to_one_bucket() {
    const REQUESTS: u32 = 8 * 14;
    let directory = Directory::new("bucket");
    let fixture = Fixture::new(&json!({"rate": {"x": 51, "y": 5}}));
    let options = fixture.options(&[
        ("rate_limit", "50/5"),
        ("state_dir", directory.path()),
        ("timeout_ms", "120000"),
    ]);
    let mut workers: Vec<_> = (0..8)
        .map(|_| worker(&["batches", "14"], &options))
        .collect();
    let started = Instant::now();
    workers.iter_mut().for_each(b24_stress::Worker::go);
    for worker in workers {
        let report = worker.report();
        assert_eq!(report["faults"], json!([]), "{report}");
    }
    let took = started.elapsed().as_secs_f64();
    let least = f64::from(REQUESTS - 50) / 5.0;
    println!(
        "{} updates from 8 processes in {took:.2} s: {:.1} % of what the rate limit allows",
        REQUESTS * 50,
        100.0 * least / took
    );
    let seen = fixture.portal.seen();
    assert_eq!(seen.query_limit, 0);
    assert_eq!(seen.batches, u64::from(REQUESTS));
    assert_eq!(seen.commands, u64::from(REQUESTS * 50));
}

#[test]
fn eight_threads_keep_to_one_bucket() {
    let fixture = Fixture::new(&json!({"rate": {"x": 51, "y": 20}}));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            // A client for each thread: the rate limit belongs to the process.
            let client = fixture.client(&[("rate_limit", "50/20"), ("timeout_ms", "120000")]);
            scope.spawn(move || {
                for call in 0..12 {
                    let id = format!("m{thread}-{call}");
                    let outcome = client.message_status_update(b24_stress::CODE, &id, "sent");
                    outcome.expect("its turn comes");
                }
            });
        }
    });
    let seen = fixture.portal.seen();
    assert_eq!((seen.updates, seen.query_limit), (96, 0));
}
