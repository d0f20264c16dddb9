use super::{thread_id, until_it_polls};
use b24_messageservice::{Status, Update};
use b24_stress::{CODE, Fixture};
use serde_json::json;
use std::sync::mpsc;

const STATUSES: [Status; 4] = [
    Status::Queued,
    Status::Sent,
    Status::Undelivered,
    Status::Delivered,
];

/// 24 calls for one message, each started when the one before it waits, with faults.
#[test]
fn calls_for_a_message_are_made_in_the_order_given() {
    let fixture = Fixture::new(&json!({}));
    let client = fixture.client(&[("max_retries", "8")]);
    fixture.fault(&json!([
        {"kind": "hang"}, {"kind": "drop_after"}, {"kind": "status", "status": 502},
        {"kind": "ok", "count": 3}, {"kind": "reset_before"}, {"kind": "truncated"},
        {"kind": "ok", "count": 4}, {"kind": "garbage"}, {"kind": "drop_before", "count": 2},
    ]));
    let given: Vec<Status> = (0..24).map(|at| STATUSES[at % STATUSES.len()]).collect();
    std::thread::scope(|scope| {
        for (at, status) in given.iter().enumerate() {
            let (tell, told) = mpsc::channel();
            let client = &client;
            scope.spawn(move || {
                tell.send(thread_id()).expect("the test waits for it");
                let outcome = if at % 5 == 4 {
                    let update = Update::new(CODE, "m1", status);
                    client.message_status_update_batch([update]).remove(0)
                } else {
                    client.message_status_update(CODE, "m1", status)
                };
                outcome.expect("repeated until it is stored");
            });
            let thread = told.recv().expect("the thread's number");
            if at == 0 {
                fixture.portal.wait(1, std::time::Duration::from_secs(30));
            } else {
                until_it_polls(thread);
            }
        }
        fixture.portal.release();
    });
    let mut stored = fixture.history("m1");
    stored.dedup();
    let given: Vec<_> = given
        .iter()
        .map(|status| status.as_str().to_owned())
        .collect();
    assert_eq!(stored, given);
}

/// The portal answers the first call with 503 and Retry-After of one second. In that second,
/// another client starts a call for the same message, which must not overtake the first.
#[test]
fn equal_clients_take_turns_for_a_message() {
    let fixture = Fixture::new(&json!({}));
    for (message_id, in_a_batch) in [("single", false), ("batch", true)] {
        let (first, second) = (fixture.client(&[]), fixture.client(&[]));
        fixture.fault(&json!([
            {"kind": "status", "status": 503, "headers": {"Retry-After": "1"}},
        ]));
        let seen = fixture.portal.seen().requests;
        std::thread::scope(|scope| {
            let early =
                scope.spawn(move || first.message_status_update(CODE, message_id, Status::Sent));
            fixture
                .portal
                .wait(seen + 1, std::time::Duration::from_secs(30));
            let late = if in_a_batch {
                let update = Update::new(CODE, message_id, Status::Delivered);
                second.message_status_update_batch([update]).remove(0)
            } else {
                second.message_status_update(CODE, message_id, Status::Delivered)
            };
            late.expect("stored in its turn");
            early
                .join()
                .expect("no panic")
                .expect("repeated and stored");
        });
        assert_eq!(fixture.history(message_id), ["sent", "delivered"]);
        assert_eq!(fixture.status(message_id), "delivered");
    }
}

#[test]
fn other_messages_do_not_wait() {
    let fixture = Fixture::new(&json!({}));
    let client = fixture.client(&[]);
    fixture.fault(&json!([{"kind": "hang"}]));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| client.message_status_update(CODE, "stuck", Status::Sent));
        fixture.portal.wait(1, std::time::Duration::from_secs(30));
        for number in 0..50 {
            let outcome = client.message_status_update(CODE, &format!("m{number}"), Status::Sent);
            outcome.expect("nothing stands in its way");
        }
        assert!(!stuck.is_finished());
        assert_eq!(fixture.status("stuck"), "");
        fixture.portal.release();
        stuck
            .join()
            .expect("no panic")
            .expect("repeated and stored");
    });
    assert_eq!(fixture.status("stuck"), "sent");
}

#[test]
fn batches_of_the_same_messages_in_any_order_never_wait_in_a_circle() {
    let fixture = Fixture::new(&json!({}));
    let client = fixture.client(&[]);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let client = &client;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                for _ in 0..20 {
                    let mut ids: Vec<_> = (0..120).collect();
                    random.shuffle(&mut ids);
                    let updates = ids
                        .iter()
                        .map(|id| Update::new(CODE, format!("m{id}"), Status::Sent));
                    for outcome in client.message_status_update_batch(updates) {
                        outcome.expect("stored");
                    }
                }
            });
        }
    });
    assert_eq!(fixture.portal.seen().batches, 8 * 20 * 3);
}
