//! What a provider's store in PostgreSQL survives: killed processes, and a server that is killed,
//! started again, frozen, or ends its connections.

use super::HAND;
use super::provider_kills::{kill_processes, portals};
use b24_stress::postgres::{Server, Way};
use b24_stress::provider::Stage;
use std::collections::BTreeMap;
use std::time::Duration;

/// Kills processes while the server has troubles. Prints how often each was.
fn kill_processes_amid(troubles: &[&str], way: Way) {
    let server = Server::start();
    // What a commit does not wait for is lost when the server is killed: it is written 10 s later.
    server.set(&["synchronous_commit = 'off'", "wal_writer_delay = '10s'"]);
    let mut stage = Stage::on_postgres(HAND, &portals(), server.clone());
    stage.way = way;
    let mut counts = BTreeMap::<&str, u32>::new();
    let journals = format!("troubles-{way:?}");
    let failed = kill_processes(&stage, &journals, &[], &mut |round, random| {
        if round % 4 != 3 {
            return;
        }
        let trouble = random.choice(troubles).copied().unwrap_or("none");
        *counts.entry(trouble).or_default() += 1;
        match trouble {
            "terminate" => {
                server.sql(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                );
            }
            "kill" => {
                server.ask("kill");
                server.ask("start");
            }
            "freeze" => {
                server.ask("freeze");
                std::thread::sleep(Duration::from_millis(random.u64(100..6000)));
                server.ask("thaw");
            }
            command => server.ask(command),
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
    kill_processes_amid(&["terminate", "restart", "kill", "freeze"], Way::Socket);
}

#[test]
fn killed_processes_lose_no_receipt_through_pgbouncer() {
    kill_processes_amid(&["bouncer", "terminate", "kill", "freeze"], Way::Bouncer);
}
