//! PostgreSQL, pgbouncer and the network fail under reports and drains: nothing that was acknowledged
//! is lost, and all goes on by itself.

use super::postgres_kills::{end_leases, machines};
use super::provider_kills::{ENOUGH, Fleet, number_of};
use super::provider_time::assert_all_delivered;
use super::{Directory, HAND};
use b24_stress::postgres::{Network, Server, Way};
use b24_stress::provider::{Hand, Stage, host, member};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn report(portal: u64, message: &str, status: &str) -> Value {
    json!(["report", member(portal), message, status, 0])
}

/// How many reports each of the journals says were acknowledged.
fn acknowledged(journals: &Directory) -> Vec<usize> {
    let count = |path: PathBuf| {
        let text = std::fs::read_to_string(path).expect("a journal");
        text.lines().filter(|line| line.starts_with("A ")).count()
    };
    let files = std::fs::read_dir(&journals.0).expect("journals");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.into_iter().map(count).collect()
}

/// Waits until every reporter goes on, and the drains, and so much was acknowledged that something could
/// be lost. Returns how long that took.
fn until_all_go_on(stage: &Stage, journals: &Directory, what: &str) -> Duration {
    let began = Instant::now();
    let before = acknowledged(journals);
    let batches = stage.portal.seen().batches;
    loop {
        let now = acknowledged(journals);
        let reported = before.iter().zip(&now).all(|(before, now)| now > before);
        let much = now.iter().sum::<usize>() > ENOUGH;
        if reported && much && stage.portal.seen().batches > batches + 2 {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "after {what} it does not go on: {before:?}, {now:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Each outage so many times: `B24_OUTAGE_ROUNDS`.
#[test]
fn outages_of_the_database_lose_no_receipt() {
    const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    const STANDS_STILL: Duration = Duration::from_millis(1500);
    let server = Server::start();
    let stage = Stage::on_postgres(
        HAND,
        &json!({"portals": 20, "expires_in": 600, "latency_ms": 10, "log": 0}),
        server.clone(),
    );
    let journals = Directory::new("outage-journals");
    let machines = machines(&stage, "outage");
    let options = vec![("timeout_ms", "4000"), ("workers", "4")];
    let mut hand = stage.hand(&options);
    stage.install(&mut hand, 0..20);
    hand.end();
    let mut fleet = Fleet::new(&stage, &journals, 1, &options, &machines);
    fleet.fill();
    until_all_go_on(&stage, &journals, "the start");
    for _ in 0..number_of("B24_OUTAGE_ROUNDS", 1) {
        for what in ["restart", "kill", "cut", "bouncer", "freeze"] {
            match what {
                "kill" => {
                    server.ask("kill");
                    server.ask("start");
                }
                // In a loop, so that those are hit that have just been connected.
                "cut" => {
                    let mut cut = 0;
                    for _ in 0..20 {
                        cut += server.sql(CUT).parse::<u32>().expect("a number");
                    }
                    println!("{cut} connections cut");
                    assert!(cut > 20);
                }
                "freeze" => {
                    server.ask("freeze");
                    std::thread::sleep(STANDS_STILL);
                    server.ask("thaw");
                }
                what => server.ask(what),
            }
            let after = until_all_go_on(&stage, &journals, what);
            println!("{what}: all went on after {after:.1?}");
        }
    }
    let checked = fleet.end();
    // What fails says that it can be tried again.
    for failed in &checked.failed {
        assert!(
            [
                "try again",
                "cannot be reached",
                "did not answer",
                "TIMEOUT"
            ]
            .iter()
            .any(|text| failed.contains(text)),
            "{failed}"
        );
    }
    assert_eq!(
        stage
            .tables()
            .connections("state LIKE 'idle in transaction%'"),
        0
    );
}

/// A drainer's network is frozen somewhere, somebody else sends what is newer, and it continues. With
/// `B24_STOP_REAL=1` the lease is really over; otherwise it is ended in the store.
#[test]
fn a_drainer_behind_a_frozen_network_overwrites_nothing_in_the_end() {
    let is_real = std::env::var_os("B24_STOP_REAL").is_some();
    let rounds = number_of("B24_STOP_ROUNDS", if is_real { 2 } else { 5 });
    let mut random = fastrand::Rng::with_seed(number_of("B24_STOP_SEED", 11));
    let server = Server::shared();
    let stage = Stage::on_postgres(
        HAND,
        &json!({"portals": 4, "latency_ms": 40, "log": 0}),
        server.clone(),
    );
    let network = Network::to(server.port());
    let through = stage.tables().url(Way::Port(network.port)) + "?sslmode=disable";
    let behind = [
        ("store", through.as_str()),
        ("timeout_ms", if is_real { "1500" } else { "8000" }),
        ("workers", "4"),
    ];
    let mut reporter = stage.hand(&[("timeout_ms", "5000")]);
    stage.install(&mut reporter, 0..4);
    let (mut messages, mut failed) = (Vec::new(), 0);
    let mut leases = 0;
    for round in 0..rounds {
        let numbers = 0..random.u64(4..40);
        let mut all = |hand: &mut Hand, status: &str| {
            for number in numbers.clone() {
                let message = format!("r{round}-{number}");
                hand.done(&report(number % 4, &message, status));
                if status == "sent" {
                    messages.push((number % 4, message));
                }
            }
        };
        all(&mut reporter, "sent");
        let mut frozen = stage.hand(&behind);
        frozen.done(&json!(["open"]));
        // Mostly the server has committed something, and the drainer hears of it later.
        network.freeze_after(random.u32(0..12));
        // Long enough that it has something to do when it goes on.
        frozen.tell(&json!(["drain", if is_real { 40_000 } else { 4000 }]));
        let give_up = Instant::now() + Duration::from_secs(2);
        while !network.is_frozen() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
        network.freeze();
        // What it has open at the server ends there by itself.
        if is_real {
            std::thread::sleep(Duration::from_millis(32_500));
        } else {
            std::thread::sleep(Duration::from_millis(random.u64(0..200)));
            end_leases(&stage);
        }
        leases += stage.number(
            "SELECT count(*) FROM b24_lane WHERE lease_until > 0
                AND lease_until <= extract(epoch FROM clock_timestamp()) * 1000",
        );
        all(&mut reporter, "delivered");
        let mut other = stage.hand(&[("workers", "4")]);
        other.done(&json!(["drain", 600]));
        network.thaw();
        let answer = frozen.answer().expect("it lives");
        if let Some(error) = answer.get("error") {
            failed += 1;
            assert_eq!(error["retryable"], true, "{error}");
        }
        frozen.end();
    }
    reporter.end();
    stage.drain_to_the_end(&[]);
    let late = assert_all_delivered(&stage, &messages);
    println!(
        "{rounds} times frozen, {leases} leases ended, {failed} drains failed: {} messages, {late} written late \
         and repaired, 0 wrong",
        messages.len()
    );
    assert_eq!(
        stage
            .tables()
            .connections("state LIKE 'idle in transaction%'"),
        0
    );
}

/// Writes down what the setting is at each commit that stores a receipt.
const AT_COMMIT: &str = "
    CREATE TABLE at_commit (message_id TEXT, setting TEXT);
    CREATE FUNCTION note_setting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO at_commit VALUES (NEW.message_id, current_setting('synchronous_commit'));
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON b24_receipt
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_setting()";

/// The server loses what it has not written yet when it is killed, unless a commit waits for that.
/// 50 rounds with `B24_CRASH_ROUNDS=50`.
#[test]
fn a_server_that_is_not_durable_by_itself_loses_no_acknowledged_receipt() {
    let rounds = number_of("B24_CRASH_ROUNDS", 5);
    let server = Server::start();
    // What is not waited for is written late.
    server.set(&["synchronous_commit = 'off'", "wal_writer_delay = '10s'"]);
    let stage = Stage::on_postgres(HAND, &json!({"portals": 3}), server.clone());
    let bouncer = stage.tables().url(Way::Bouncer);
    let mut ways = [
        ("the socket", stage.hand(&[]), 0, 0),
        ("pgbouncer", stage.hand(&[("store", &bouncer)]), 0, 0),
        // What is lost if durability is not asked for: the control of this test.
        (
            "durability=process",
            stage.hand(&[("durability", "process")]),
            0,
            0,
        ),
    ];
    for (_, hand, ..) in &mut ways {
        hand.done(&json!(["open"]));
    }
    for round in 0..rounds {
        // The one whose commits wait for nothing reports last: a commit that waits takes along all
        // that came before it.
        let numbers = 0..10;
        for (at, (_, hand, acknowledged, _)) in ways.iter_mut().enumerate() {
            for number in numbers.clone() {
                let order = report(0, &format!("w{at}-{round}-{number}"), "sent");
                // The first one may find that its connections are gone.
                hand.done(&order);
                *acknowledged += 1;
            }
        }
        server.ask("kill");
        server.ask("start");
        for (at, (_, _, _, lost)) in ways.iter_mut().enumerate() {
            let stored = stage.number(&format!(
                "SELECT count(*) FROM b24_receipt WHERE message_id LIKE 'w{at}-{round}-%'"
            ));
            *lost += 10 - stored;
        }
    }
    for (way, _, acknowledged, lost) in &ways {
        println!(
            "synchronous_commit=off, {rounds} crashes, by {way}: {acknowledged} acknowledged, {lost} lost"
        );
    }
    assert_eq!((ways[0].3, ways[1].3), (0, 0));
    assert!(
        ways[2].3 > 0,
        "nothing can be lost here, so this shows nothing"
    );

    // Each kind of commit says itself what it waits for.
    stage.tables().sql(AT_COMMIT);
    for (setting, wanted) in [
        ("off", "on"),
        ("local", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        server.set(&[&format!("synchronous_commit = '{setting}'")]);
        server.ask("restart");
        stage.tables().sql("TRUNCATE at_commit");
        for (at, (_, hand, ..)) in ways.iter_mut().take(2).enumerate() {
            let message = format!("{setting}-{at}");
            hand.done(&report(0, &message, "sent"));
            hand.done(&json!([
                "flood",
                member(1),
                format!("{message}-many-"),
                "sent",
                0,
                3
            ]));
            hand.done(&json!([
                "track",
                format!("ref-{message}"),
                member(2),
                format!("{message}-track")
            ]));
            hand.done(&json!([
                "report_reference",
                format!("ref-{message}"),
                "sent",
                0
            ]));
        }
        stage.tables().sql(&format!(
            "SELECT b24_report('{}', 'provider1', '{setting}-in-sql', 'sent')",
            member(0)
        ));
        let different = stage.tables().sql(&format!(
            "SELECT message_id, setting FROM at_commit WHERE setting <> '{wanted}'"
        ));
        assert_eq!(different, "", "synchronous_commit = {setting}");
        assert_eq!(stage.number("SELECT count(*) FROM at_commit"), 2 * 5 + 1);
    }
}

/// A server that has lost its last seconds, as an asynchronous replica that takes over. What was
/// acknowledged in them is lost, and the pairs of tokens that were renewed in them; nothing else is.
#[test]
fn a_failover_to_an_older_replica_loses_its_last_seconds_alone() {
    const PORTALS: u64 = 6;
    let server = Server::start();
    let stage = Stage::on_postgres(HAND, &json!({"portals": PORTALS, "log": 0}), server.clone());
    let mut hand = stage.hand(&[("timeout_ms", "5000")]);
    stage.install(&mut hand, 0..PORTALS);
    let mut all = Vec::new();
    let mut report_all = |hand: &mut Hand, name: &str| {
        for number in 0..30 {
            let one = (number % PORTALS, format!("{name}-{number}"));
            hand.done(&report(one.0, &one.1, "delivered"));
            all.push(one);
        }
    };
    report_all(&mut hand, "before");
    hand.done(&json!(["drain", 1000]));
    report_all(&mut hand, "waits");

    // The replica is a copy of now.
    let (data, replica) = (server.data(), server.data().with_file_name("replica"));
    server.ask("stop");
    copy(&data, &replica);
    server.ask("start");

    // Two portals have their pairs renewed after that.
    let expired: Vec<Value> = (0..2)
        .map(|portal| json!({"at": "batch", "kind": "expire", "host": host(portal)}))
        .collect();
    let before = stage.portal.seen().renewals;
    stage.fault(&Value::Array(expired));
    hand.done(&json!(["drain", 1500]));
    let renewals = stage.portal.seen().renewals - before;
    assert_eq!(renewals, 2);
    report_all(&mut hand, "lost");
    server.ask("kill");
    std::fs::rename(&data, data.with_file_name("lost")).expect("the data");
    std::fs::rename(&replica, &data).expect("the replica");
    server.ask("start");

    // The same processes go on.
    let held = |hand: &mut Hand| -> Vec<Value> {
        let rows = hand.done(&json!(["inspect"]));
        assert_eq!(rows.as_array().map(Vec::len), Some(6), "{rows}");
        let rows = rows.as_array().expect("rows").iter();
        rows.filter(|row| row["state"] == "held").cloned().collect()
    };
    assert_eq!(held(&mut hand), Vec::<Value>::new());
    let lost = all.iter().filter(|(_, message)| {
        let found = stage.number(&format!(
            "SELECT count(*) FROM b24_receipt WHERE message_id = '{message}'"
        ));
        found == 0
    });
    let lost: Vec<&String> = lost.map(|(_, message)| message).collect();
    assert_eq!(lost.len(), 30);
    assert!(lost.iter().all(|message| message.starts_with("lost-")));
    // All access tokens expire. A process that has renewed a pair still knows it, and stores it again;
    // others have what the replica has, a refresh token that is spent.
    let expired = stage.portal.set(&json!({"expired": true}));
    expired.expect("a setting");
    let mut other = stage.hand(&[]);
    let refused = other.fails(&json!(["senders", member(1)]));
    assert_eq!(refused["kind"], "AUTH", "{refused}");
    other.end();
    hand.done(&json!(["senders", member(0)]));
    // What was sent already is sent again, which the portal takes.
    hand.done(&json!(["drain", 1500]));
    let rows = held(&mut hand);
    println!(
        "{} receipts of the last seconds are lost, of {} acknowledged ones; {renewals} pairs were renewed in them, \
         {} portals are held: {}",
        lost.len(),
        all.len(),
        rows.len(),
        rows.iter()
            .map(|row| &row["reason"])
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    );
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["member_id"], member(1), "{rows:?}");
    // The application is installed there again, and what is lost is reported again.
    stage.install_one(&mut hand, json!({"host": host(1), "again": true}));
    for (portal, message) in &all {
        hand.done(&report(*portal, message, "delivered"));
    }
    hand.end();
    stage.drain_to_the_end(&[]);
    for (portal, message) in &all {
        assert_eq!(stage.status(*portal, message), "delivered", "{message}");
    }
    assert_eq!(held(&mut stage.hand(&[])), Vec::<Value>::new());
}

/// Waits until a standby has what was written before.
fn until_streamed(server: &Server) {
    let position = server.sql("SELECT pg_current_wal_insert_lsn()");
    let is_behind =
        format!("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= '{position}'");
    let give_up = Instant::now() + Duration::from_secs(60);
    while server.sql(&is_behind) == "0" {
        assert!(Instant::now() < give_up, "nothing is streamed");
    }
}

/// A standby that had not received the last seconds takes over. Exactly those are lost.
#[test]
fn a_standby_that_is_not_waited_for_loses_what_it_had_not_received() {
    let server = Server::start();
    server.ask("standby");
    let stage = Stage::on_postgres(HAND, &json!({"portals": 3, "log": 0}), server.clone());
    let both = stage.tables().url(Way::Primary);
    let options = [("store", both.as_str()), ("timeout_ms", "8000")];
    let mut hand = stage.hand(&options);
    stage.install(&mut hand, 0..3);
    let report_all = |hand: &mut Hand, name: &str| {
        for number in 0..30 {
            hand.done(&report(number % 3, &format!("{name}-{number}"), "sent"));
        }
    };
    report_all(&mut hand, "before");
    until_streamed(&server);
    server.ask("freeze-standby");
    // Nothing is on its way to it.
    server.sql("SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_replication");
    report_all(&mut hand, "lost");
    server.ask("kill");
    server.ask("thaw-standby");
    server.fail_over();
    // The same process goes on.
    report_all(&mut hand, "after");
    hand.end();
    let stored = |name: &str| {
        stage.number(&format!(
            "SELECT count(*) FROM b24_receipt WHERE message_id LIKE '{name}-%'"
        ))
    };
    let [before, lost, after] = ["before", "lost", "after"].map(stored);
    println!("of 30 each: {before} before, {lost} of the last seconds, {after} after are there");
    assert_eq!((before, lost, after), (30, 0, 30));
    stage.drain_to_the_end(&options);
}

/// With a synchronous standby nothing that was acknowledged is lost when it takes over, and nothing is
/// acknowledged that it does not have.
#[test]
fn a_standby_that_is_waited_for_loses_nothing() {
    let server = Server::start();
    server.ask("standby");
    server.set(&["synchronous_standby_names = '*'"]);
    let stage = Stage::on_postgres(
        HAND,
        &json!({"portals": 20, "expires_in": 600, "latency_ms": 10, "log": 0}),
        server.clone(),
    );
    let both = stage.tables().url(Way::Primary);
    let options = vec![
        ("store", both.as_str()),
        ("timeout_ms", "4000"),
        ("workers", "4"),
    ];
    let mut hand = stage.hand(&options);
    stage.install(&mut hand, 0..20);
    hand.end();

    // Nobody has what the primary server alone has, also when it was restarted meanwhile and shows it.
    server.ask("freeze-standby");
    let mut hasty = stage.hand(&[("store", &both), ("timeout_ms", "1000")]);
    let order = json!(["report", member(0), "alone", "sent", 1_000]);
    let alone = [(); 2].map(|()| {
        let failed = hasty.fails(&order);
        server.ask("kill");
        server.ask("start");
        failed
    });
    let seen = stage.number("SELECT count(*) FROM b24_receipt WHERE message_id = 'alone'");
    println!(
        "{seen} receipts that the standby does not have are seen, none is acknowledged: {alone:?}"
    );
    assert!(alone.iter().all(|failed| failed["retryable"] == true));
    server.ask("thaw-standby");
    hasty.end();

    let journals = Directory::new("standby-journals");
    let mut fleet = Fleet::new(&stage, &journals, 1, &options, &[]);
    fleet.fill();
    until_all_go_on(&stage, &journals, "the start");
    server.fail_over();
    let after = until_all_go_on(&stage, &journals, "the failover");
    println!("all went on after {after:.1?}");
    fleet.end();
}

/// Copies the files of a server, with their owner.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

/// The clock of one machine is an hour wrong. What is stored has the times of the server; only what an
/// operator says of a receipt's time is compared as it is, and a time in the future counts as now.
#[test]
fn a_machine_whose_clock_is_wrong_changes_no_order() {
    use super::provider_time::{HOUR, WrongClock};
    let stage = Stage::on_postgres(
        HAND,
        &json!({"portals": 3, "expires_in": 1800}),
        Server::shared(),
    );
    let mut rounds = 0;
    let (ahead, behind) = (WrongClock::build("ahead"), WrongClock::build("behind"));
    ahead.set(HOUR);
    behind.set(-HOUR);
    let mut right = stage.hand(&[]);
    stage.install(&mut right, 0..3);
    let before = stage.portal.seen();
    for clock in [&ahead, &behind] {
        let mut wrong = Hand::start(clock.apply(&mut stage.command(&["hand"], &[])));
        wrong.done(&json!(["open"]));
        for wrong_first in [true, false] {
            rounds += 1;
            let id = |name: &str| format!("{name}{rounds}");
            let (first, second) = if wrong_first {
                (&mut wrong, &mut right)
            } else {
                (&mut right, &mut wrong)
            };
            // Without times the server's clock counts.
            first.done(&report(0, &id("rank"), "delivered"));
            second.done(&report(0, &id("rank"), "sent"));
            first.done(&report(0, &id("later"), "delivered"));
            second.done(&report(0, &id("later"), "failed"));
            // With times of machines, those of the one that is ahead count as now.
            let at = first.done(&json!(["now"]));
            first.done(&json!(["report", member(1), id("at"), "delivered", at]));
            let at = second.done(&json!(["now"]));
            second.done(&json!(["report", member(1), id("at"), "failed", at]));
            for hand in [first, second] {
                hand.done(&json!(["drain", 700]));
            }
            let started = Instant::now();
            while right.done(&json!(["drain", 200]))["waiting"] != 0 {
                assert!(
                    started.elapsed() < Duration::from_secs(20),
                    "it waits for the wrong clock"
                );
            }
            assert_eq!(stage.status(0, &id("rank")), "delivered", "{rounds}");
            assert_eq!(stage.status(0, &id("later")), "failed", "{rounds}");
            let is_older = if wrong_first {
                // The first one is an hour ahead and counts as now, or an hour behind.
                false
            } else {
                // The second one is said to be from an hour ago.
                rounds > 2
            };
            let newest = if is_older { "delivered" } else { "failed" };
            assert_eq!(stage.status(1, &id("at")), newest, "{rounds}");
            // Both use the pair of each portal.
            for portal in 0..3 {
                wrong.done(&json!(["senders", member(portal)]));
                right.done(&json!(["senders", member(portal)]));
            }
        }
        assert_eq!(right.done(&json!(["refused"])), json!([]));
        wrong.end();
    }
    let seen = stage.portal.seen();
    println!(
        "{rounds} orders with a clock an hour ahead or behind: {} renewals for 3 portals, {} with a used token",
        seen.renewals - before.renewals,
        seen.spent_tokens
    );
    assert_eq!((seen.spent_tokens, &seen.bad), (0, &Vec::new()));
    // The machine that is ahead takes each pair for expired once, and then the new one lasts longer.
    assert!(seen.renewals - before.renewals <= 3, "{seen:?}");
}
