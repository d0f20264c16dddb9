//! Connections to PostgreSQL, and what is left in its tables: of forked processes, of threads, and after
//! many receipts.

use super::provider_kills::{check_journals, number_of, run};
use super::{Directory, HAND, number};
use b24_stress::postgres::{Server, Way};
use b24_stress::provider::{Hand, Stage, member};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Writes down which connection stored a receipt: its process at the server.
const NOTE_BACKENDS: &str = "
    CREATE TABLE stored_by (message_id TEXT, pid INTEGER);
    CREATE FUNCTION note_backend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO stored_by VALUES (NEW.message_id, pg_backend_pid());
        RETURN NULL;
    END $$;
    CREATE TRIGGER stored_by AFTER INSERT ON b24_receipt
        FOR EACH ROW EXECUTE FUNCTION note_backend()";

/// 300 of them with `B24_FORK_MASTERS=300`.
#[test]
fn forked_children_use_connections_of_their_own() {
    let masters = number_of("B24_FORK_MASTERS", 12);
    let server = Server::shared();
    let stage = Stage::on_postgres(HAND, &json!({}), server.clone());
    let tables = stage.tables();
    stage.hand(&[]).done(&json!(["open"]));
    tables.sql(NOTE_BACKENDS);
    let (mut acknowledged, mut errors) = (0, Vec::new());
    let urls = [
        tables.url(Way::Socket),
        tables.url(Way::Port(server.port())),
    ];
    for seed in 1..=masters {
        let journals = Directory::new(&format!("pg-fork-{seed}"));
        let store = &urls[usize::from(seed % 2 == 0)];
        run(&mut stage.command(
            &["master", journals.path(), &seed.to_string()],
            &[("store", store)],
        ));
        let (now, wrong) = check_journals(&stage, &journals);
        acknowledged += now;
        errors.extend(wrong);
    }
    assert_eq!(errors, Vec::<String>::new());
    // By process, the connections that it used.
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let rows = tables.sql("SELECT DISTINCT message_id, pid FROM stored_by");
    for (message, pid) in rows.lines().filter_map(|row| row.split_once('|')) {
        let (name, _) = message.rsplit_once('-').expect("a number");
        let (seed, part) = name.split_once('-').expect("a seed");
        let process = if part.starts_with("child") {
            name
        } else {
            seed
        };
        used.entry(process.to_owned())
            .or_default()
            .insert(pid.to_owned());
    }
    let mut of_all: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (process, pids) in &used {
        for pid in pids {
            of_all.entry(pid).or_default().push(process);
        }
        // Also of a master whose children have closed or dropped what they inherited.
        assert_eq!(pids.len(), 1, "{process} had to connect again: {pids:?}");
    }
    for (pid, processes) in &of_all {
        assert_eq!(
            processes.len(),
            1,
            "connection {pid} was used by {processes:?}"
        );
    }
    println!(
        "{masters} masters: {acknowledged} receipts acknowledged, 0 lost; {} processes had {} connections",
        used.len(),
        of_all.len()
    );
    assert!(acknowledged > 30 * usize::try_from(masters).expect("a small number"));
    until_closed(&stage);
}

/// Waits until the server has closed all connections of the store.
fn until_closed(stage: &Stage) {
    let began = Instant::now();
    while stage.tables().connections("true") > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "connections are left: {}",
            stage.tables().connections("true")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn reports_start_no_thread() {
    let server = Server::shared();
    let stage = Stage::on_postgres(HAND, &json!({}), server.clone());
    for way in [Way::Socket, Way::Bouncer, Way::Port(server.port())] {
        let url = stage.tables().url(way);
        let mut hand = stage.hand(&[("store", &url)]);
        let before = hand.done(&json!(["usage"]));
        hand.done(&json!(["open"]));
        hand.done(&json!(["report", member(0), "m1", "sent", 0]));
        hand.done(&json!(["flood", member(0), "m", "delivered", 0, 500]));
        hand.done(&json!(["track", "r1", member(0), "m1"]));
        hand.done(&json!(["report_reference", "r1", "failed", 0]));
        hand.done(&json!(["inspect"]));
        let after = hand.done(&json!(["usage"]));
        println!(
            "{way:?}: {} threads before reports and {} after them, {} descriptors and {}",
            before["threads"], after["threads"], before["descriptors"], after["descriptors"]
        );
        assert_eq!(number(&after, "threads"), number(&before, "threads"));
        // Nor after the provider has gone.
        hand.done(&json!(["forget"]));
        let closed = hand.done(&json!(["usage"]));
        assert_eq!(number(&closed, "threads"), number(&before, "threads"));
    }
}

/// One connection for each thread that is in a transaction, and none that nobody asked for.
#[test]
fn connections_are_bounded_and_closed_with_the_provider() {
    const WORKERS: i64 = 4;
    let stage = Stage::on_postgres(
        HAND,
        &json!({"portals": 40, "latency_ms": 20, "log": 0}),
        Server::shared(),
    );
    let workers = WORKERS.to_string();
    let mut hand = stage.hand(&[("workers", &workers)]);
    stage.install(&mut hand, 0..40);
    let one = "a process that does one thing after the other";
    assert_eq!(stage.tables().connections("true"), 1, "{one}");
    for portal in 0..40 {
        hand.done(&json!(["flood", member(portal), "m", "sent", 0, 60]));
    }
    assert_eq!(stage.tables().connections("true"), 1, "{one}");
    hand.tell(&json!(["drain", 2500]));
    let mut most = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        most = most.max(stage.tables().connections("true"));
    }
    hand.answer().expect("it lives");
    let left = stage.tables().connections("true");
    let in_transaction = stage.tables().connections("state <> 'idle'");
    println!(
        "{WORKERS} workers: at most {most} connections, {left} are kept, {in_transaction} of them in a transaction"
    );
    // The one that was there, and one for each worker.
    assert!((2..=WORKERS + 1).contains(&most), "{most}");
    assert_eq!(in_transaction, 0);
    hand.done(&json!(["forget"]));
    until_closed(&stage);
    // And a process that is killed leaves none.
    hand.done(&json!(["report", member(0), "last", "sent", 0]));
    hand.kill();
    until_closed(&stage);
}

/// The bytes of the tables that receipts go through, and of their indexes.
fn sizes(stage: &Stage) -> [i64; 4] {
    [
        "table_size('b24_receipt')",
        "indexes_size('b24_receipt')",
        "table_size('b24_lane')",
        "indexes_size('b24_lane')",
    ]
    .map(|size| stage.number(&format!("SELECT pg_{size}")))
}

/// For people.
fn shown([receipts, receipt_indexes, lanes, lane_indexes]: [i64; 4]) -> String {
    let kib = |bytes: i64| bytes / 1024;
    format!(
        "receipts {} KiB and their indexes {}, lanes {} and {}",
        kib(receipts),
        kib(receipt_indexes),
        kib(lanes),
        kib(lane_indexes)
    )
}

/// Reports that many receipts and sends them.
fn put_through(stage: &Stage, hand: &mut Hand, portals: u64, receipts: u64, prefix: &str) {
    const AT_A_TIME: u64 = 1000;
    let mut done = 0;
    while done < receipts {
        let flood = |first: u64| {
            json!([
                "flood",
                member((first / AT_A_TIME) % portals),
                prefix,
                "delivered",
                first,
                AT_A_TIME
            ])
        };
        for first in (done..receipts.min(done + 20 * AT_A_TIME)).step_by(1000) {
            assert_eq!(hand.done(&flood(first))["stored"], AT_A_TIME);
        }
        done = receipts.min(done + 20 * AT_A_TIME);
        let began = Instant::now();
        while hand.done(&json!(["drain", 2000]))["waiting"] != 0 {
            assert!(
                began.elapsed() < Duration::from_secs(300),
                "it does not go on"
            );
        }
    }
    assert_eq!(
        stage.number("SELECT count(*) FROM b24_receipt WHERE state = 0"),
        0
    );
}

/// Many receipts through, twice, and the settled ones forgotten in between: `B24_VACUUM_RECEIPTS`.
#[test]
fn autovacuum_keeps_up_with_receipts() {
    const PORTALS: u64 = 100;
    let receipts = number_of("B24_VACUUM_RECEIPTS", 10_000);
    let server = Server::start();
    // It looks once a minute; here often enough for a short test.
    let naps = if receipts < 100_000 { 1 } else { 60 };
    server.set(&[&format!("autovacuum_naptime = '{naps}s'")]);
    let stage = Stage::on_postgres(HAND, &json!({"portals": PORTALS, "log": 0}), server);
    let mut hand = stage.hand(&[("timeout_ms", "20000"), ("workers", "8")]);
    stage.install(&mut hand, 0..PORTALS);
    let mut after = Vec::new();
    println!("empty: {}", shown(sizes(&stage)));
    for round in ["first", "second", "third"] {
        let began = Instant::now();
        put_through(&stage, &mut hand, PORTALS, receipts, round);
        let full = sizes(&stage);
        println!(
            "{round} {receipts} receipts in {:.0?}: {}",
            began.elapsed(),
            shown(full)
        );
        after.push(full);
        if receipts >= 100_000 && round == "second" {
            break;
        }
        // 72 hours later they are forgotten.
        stage.advance(Duration::from_secs(73 * 3600));
        let began = Instant::now();
        while stage.number("SELECT count(*) FROM b24_receipt") > 0 {
            hand.done(&json!(["prune", 0]));
            assert!(
                began.elapsed() < Duration::from_secs(300),
                "they are not forgotten"
            );
        }
        let dead = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'b24_receipt'
            AND schemaname = current_schema() AND n_dead_tup > 1000";
        while stage.number(dead) > 0 {
            assert!(
                began.elapsed() < Duration::from_secs(300),
                "it is not vacuumed"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let vacuums = stage.tables().sql(
            "SELECT relname || ' ' || autovacuum_count FROM pg_stat_user_tables
             WHERE relname IN ('b24_receipt', 'b24_lane') ORDER BY 1",
        );
        println!(
            "forgotten and vacuumed after {:.0?}: {}; vacuumed: {}",
            began.elapsed(),
            shown(sizes(&stage)),
            vacuums.replace('\n', ", ")
        );
    }
    // What is freed is used again: the same again does not need the same room again. The test's own
    // step through time writes every row once more.
    let (first, last) = (
        after.first().expect("a round"),
        after.last().expect("a round"),
    );
    for (first, last) in first.iter().zip(last) {
        assert!(*last < 3 * first + 1024 * 1024, "{after:?}");
    }
}

/// Transactions take turns, and nothing of a session is used.
#[test]
fn a_pooler_with_few_connections_serves_many_processes() {
    let stage = Stage::on_postgres(HAND, &json!({"portals": 4, "log": 0}), Server::shared());
    let url = stage.tables().url(Way::Bouncer);
    let mut hands: Vec<Hand> = (0..12).map(|_| stage.hand(&[("store", &url)])).collect();
    for hand in &mut hands {
        hand.tell(&json!(["open"]));
    }
    for hand in &mut hands {
        let opened = hand.answer().expect("it lives");
        assert_eq!(opened["ok"], Value::Null, "{opened}");
    }
    for (at, hand) in hands.iter_mut().enumerate() {
        for number in 0..20 {
            hand.tell(&json!([
                "report",
                member(0),
                format!("m{at}-{number}"),
                "sent",
                0
            ]));
        }
    }
    for hand in &mut hands {
        for _ in 0..20 {
            let answer = hand.answer().expect("it lives");
            assert!(answer.get("ok").is_some(), "{answer}");
        }
    }
    let connections = stage.tables().connections("true");
    println!("12 processes had {connections} connections of pgbouncer at the server");
    assert!(connections <= 4, "{connections}");
    assert_eq!(stage.number("SELECT count(*) FROM b24_receipt"), 12 * 20);
}
