//! Processes of two machines that share a store in PostgreSQL are killed at random, and nothing that
//! was acknowledged is lost; nobody renews a pair that another one renews.

use super::provider_kills::{Machine, kill_processes, number_of, portals};
use super::{Directory, HAND};
use b24_stress::postgres::{Server, Way};
use b24_stress::provider::{Hand, Stage, host, member};
use serde_json::json;

/// Two machines, the second of which reaches the store by pgbouncer.
pub(super) fn machines(stage: &Stage, name: &str) -> [Machine; 2] {
    [Way::Socket, Way::Bouncer].map(|way| Machine {
        directory: Directory::new(&format!("{name}-{way:?}")),
        options: vec![("store".to_owned(), stage.tables().url(way))],
    })
}

/// 1000 rounds with `B24_KILL_ROUNDS=1000`. Now and then all leases are ended as if they were over, so
/// that lanes are taken from processes that live as well.
#[test]
fn killed_processes_of_two_machines_lose_no_receipt() {
    let stage = Stage::on_postgres(HAND, &portals(), Server::start());
    let machines = machines(&stage, "killed");
    let failed = kill_processes(&stage, "killed-journals", &machines, &mut |round, _| {
        if round % 7 == 6 {
            end_leases(&stage);
        }
    });
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(
        stage
            .tables()
            .connections("state LIKE 'idle in transaction%'"),
        0
    );
}

/// As if all leases were over.
pub(super) fn end_leases(stage: &Stage) {
    stage.tables().sql(
        "UPDATE b24_lane SET lease_until = 1 WHERE lease_until > 0 AND member_id IN
            (SELECT member_id FROM b24_lane WHERE lease_until > 0 FOR UPDATE SKIP LOCKED)",
    );
}

/// Processes of both machines meet the expired tokens of each portal at once.
#[test]
fn two_machines_renew_each_pair_once() {
    let portals = number_of("B24_RENEW_PORTALS", 10);
    let stage = Stage::on_postgres(
        HAND,
        &json!({"portals": portals, "oauth_latency_ms": 50}),
        Server::shared(),
    );
    let machines = machines(&stage, "renew");
    let mut first = stage.hand(&[]);
    stage.install(&mut first, 0..portals);
    let mut hands: Vec<Hand> = (0..4)
        .map(|at| Hand::start(machines[at % 2].apply(&mut stage.command(&["hand"], &[]))))
        .collect();
    for hand in &mut hands {
        hand.done(&json!(["open"]));
    }
    let before = stage.portal.seen().renewals;
    stage
        .portal
        .set(&json!({"expired": true}))
        .expect("a setting");
    for portal in 0..portals {
        for hand in &mut hands {
            hand.tell(&json!(["threads", member(portal), 2]));
        }
        for hand in &mut hands {
            let answer = hand.answer().expect("it lives");
            assert_eq!(answer["ok"], json!([]), "{}: {answer}", host(portal));
        }
    }
    let seen = stage.portal.seen();
    println!(
        "expired tokens of {portals} portals, met by 4 processes of 2 machines at once: {} renewals, {} with a \
         used token",
        seen.renewals - before,
        seen.spent_tokens
    );
    assert_eq!((seen.renewals - before, seen.spent_tokens), (portals, 0));
}
