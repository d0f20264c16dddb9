//! What a provider's store in PostgreSQL survives: killed processes, and a server that is killed,
//! started again, frozen, or ends its connections.

use super::HAND;
use super::provider_kills::{kill_processes, portals, rounds};
use b24_stress::postgres::Postgres;
use b24_stress::provider::Stage;
use std::collections::BTreeMap;
use std::time::Duration;

/// Kills processes while the server has troubles. Prints how often each was.
fn kill_processes_amid(troubles: &[&str], bouncer: bool) {
    let postgres = Postgres::start(&[]);
    // What a commit does not wait for is lost when the server is killed: it is written 10 s later.
    postgres.run("ALTER SYSTEM SET synchronous_commit = off");
    postgres.run("ALTER SYSTEM SET wal_writer_delay = '10s'");
    postgres.run("SELECT pg_reload_conf()");
    let stage = Stage::on_postgres(HAND, &portals(), postgres, bouncer);
    let mut counts = BTreeMap::<&str, u32>::new();
    let failed = kill_processes(&stage, rounds(), &mut |round, random| {
        if round % 4 != 3 {
            return;
        }
        let postgres = stage.server();
        let trouble = random.choice(troubles).copied().unwrap_or("none");
        *counts.entry(trouble).or_default() += 1;
        match trouble {
            "terminate" => postgres.terminate(),
            "kill" => {
                postgres.ask("kill");
                postgres.ask("start");
            }
            "freeze" => {
                postgres.ask("freeze");
                std::thread::sleep(Duration::from_millis(random.u64(100..6000)));
                postgres.ask("thaw");
            }
            command => postgres.ask(command),
        }
    });
    let mut faults = BTreeMap::<&str, u32>::new();
    for line in &failed {
        let text = line.splitn(3, ' ').nth(2).unwrap_or_default();
        *faults.entry(text).or_default() += 1;
    }
    println!("troubles of the server: {counts:?}; reports that failed: {faults:#?}");
}

#[test]
fn killed_processes_lose_no_receipt_on_postgres() {
    kill_processes_amid(&["terminate", "restart", "kill", "freeze"], false);
}

#[test]
fn killed_processes_lose_no_receipt_through_pgbouncer() {
    kill_processes_amid(&["bouncer", "terminate", "kill", "freeze"], true);
}

/// What a server keeps only in memory is lost when it is killed, or the tests above show nothing.
#[test]
fn a_killed_server_loses_what_a_commit_did_not_wait_for() {
    let postgres = Postgres::start(&[]);
    postgres.run("ALTER SYSTEM SET wal_writer_delay = '10s'");
    postgres.run("SELECT pg_reload_conf()");
    postgres.run("CREATE TABLE one (n INTEGER)");
    postgres.run("CHECKPOINT");
    let lost = (0..3).filter(|number| {
        postgres.run(&format!(
            "SET synchronous_commit = off; INSERT INTO one VALUES ({number})"
        ));
        postgres.ask("kill");
        postgres.ask("start");
        let kept = postgres.query(&format!("SELECT n FROM one WHERE n = {number}"));
        kept.is_empty()
    });
    let lost = lost.count();
    println!("{lost} of 3 commits that did not wait were lost");
    assert!(lost > 0, "no commit was lost");
}
