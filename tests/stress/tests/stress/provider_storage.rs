//! What a provider says and does when its store cannot be used, and that it goes on afterwards.

use super::HAND;
use b24_stress::provider::{Hand, Stage, member};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A stage with one portal on which the application is installed, and a process that has the store
/// open.
fn stage() -> (Stage, Hand) {
    let stage = Stage::new(HAND, &json!({"portals": 3}));
    let mut hand = stage.hand(&[]);
    stage.install(&mut hand, 0..1);
    (stage, hand)
}

fn report(message: &str) -> Value {
    json!(["report", member(0), message, "delivered", 0])
}

fn beside(stage: &Stage, suffix: &str) -> PathBuf {
    format!("{}{suffix}", stage.store().display()).into()
}

/// Checks an error of the store: its kind, whether it is to be tried again, and parts of the message.
#[track_caller]
fn check(error: &Value, kind: &str, retryable: bool, parts: &[&str]) {
    let message = error["message"].as_str().unwrap_or_default();
    println!("  {kind} retryable={}: {message}", error["retryable"]);
    assert_eq!(error["kind"], kind, "{error}");
    assert_eq!(error["retryable"], retryable, "{error}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {error}");
    }
}

/// Sends what is in the store, and checks that these messages are at the portal.
fn all_arrive<'a>(stage: &Stage, hand: &mut Hand, messages: impl IntoIterator<Item = &'a str>) {
    // After many failures it would wait for long.
    hand.done(&json!(["resume", member(0)]));
    // For less time than a lease lasts that could not be given back.
    for _ in 0..40 {
        if hand.done(&json!(["drain", 300]))["waiting"] == 0 {
            break;
        }
    }
    for message in messages {
        assert_eq!(stage.status(0, message), "delivered", "{message}");
    }
}

/// A small file system in the directory of a stage, until this is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`, and why, where nothing can be mounted.
    fn mount(stage: &Stage, megabytes: u32) -> Option<Self> {
        let options = format!("size={megabytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&stage.directory);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(stage.directory.clone())),
            Ok(output) => {
                println!(
                    "skipped: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(fault) => {
                println!("skipped: mount: {fault}");
                None
            }
        }
    }

    /// Leaves so many bytes free; 0 for none at all.
    fn fill(&self, leave: u64) {
        let mut file = File::create(self.0.join("filler")).expect("a file");
        let disk = rustix::fs::statvfs(&self.0).expect("a file system");
        let mut free = (disk.f_bavail * disk.f_frsize).saturating_sub(leave);
        let block = vec![1; 1 << 16];
        while free > 0 || leave == 0 {
            let part = usize::try_from(free).unwrap_or(usize::MAX).min(block.len());
            let part = if leave == 0 { block.len() } else { part };
            if file.write_all(&block[..part]).is_err() {
                break;
            }
            free = free.saturating_sub(part as u64);
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_receipts_and_loses_none() {
    let stage = Stage::new(HAND, &json!({"portals": 3}));
    let Some(disk) = Tmpfs::mount(&stage, 90) else {
        return;
    };
    let mut hand = stage.hand(&[]);
    stage.install(&mut hand, 0..1);
    let flood =
        |prefix: &str, count: u64| json!(["flood", member(0), prefix, "delivered", 0, count]);
    assert_eq!(hand.done(&flood("a", 300))["stored"], 300);
    println!("nearly full");
    disk.fill(20 << 20);
    check(
        &hand.fails(&report("b")),
        "STORAGE",
        true,
        &["64 MB", "free"],
    );
    let track = json!(["track", "r1", member(0), "b"]);
    check(&hand.fails(&track), "STORAGE", true, &["64 MB"]);
    let drained = hand.done(&json!(["drain", 3000]));
    assert_eq!(
        (&drained["sent"], &drained["waiting"]),
        (&json!(300), &json!(0))
    );
    disk.free();
    hand.done(&report("b"));

    println!("quite full");
    assert_eq!(hand.done(&flood("c", 3000))["stored"], 3000);
    disk.fill(0);
    check(&hand.fails(&report("d")), "STORAGE", true, &["free"]);
    // It may or may not have room in its log, but it does not fail for good.
    let mut drained = hand.ask(&json!(["drain", 2500]));
    println!("  drain: {drained}");
    if let Some(error) = drained.get_mut("error") {
        check(&error.take(), "STORAGE", true, &[]);
    }
    let other = format!("sqlite:{}/other.db", stage.directory.display());
    let mut second = stage.hand(&[("store", &other)]);
    check(&second.fails(&json!(["open"])), "STORAGE", true, &["full"]);
    disk.free();
    second.done(&json!(["open"]));
    hand.done(&report("d"));

    println!("it becomes full during reports");
    let (mut stored, mut failed) = (0, 0);
    for round in 0..8 {
        hand.tell(&flood(&format!("e{round}-"), 20_000));
        std::thread::sleep(Duration::from_millis(40 * round));
        disk.fill(0);
        let answer = hand.answer().expect("it lives");
        disk.free();
        let answer = &answer["ok"];
        if answer["failed"] != 0 {
            check(&answer["error"], "STORAGE", true, &[]);
        }
        stored += answer["stored"].as_i64().expect("a number");
        failed += answer["failed"].as_i64().expect("a number");
    }
    hand.end();
    second.end();
    let rows = stage.number("SELECT count(*) FROM b24_receipt WHERE message_id LIKE 'e%'");
    println!("  {stored} acknowledged, {failed} refused, {rows} in the store");
    assert_eq!(rows, stored);
    assert!(failed > 0 && stored > 0);
    assert_eq!(
        stage.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
        1
    );
    // Those need not all be sent here.
    stage
        .database()
        .execute("DELETE FROM b24_receipt WHERE message_id LIKE 'e%'", [])
        .expect("the store");
    let mut hand = stage.hand(&[]);
    let mut all: Vec<String> = (0..3000).map(|n| format!("c{n}")).collect();
    all.extend(["b".to_owned(), "d".to_owned()]);
    for _ in 0..100 {
        if hand.done(&json!(["drain", 500]))["waiting"] == 0 {
            break;
        }
    }
    all_arrive(&stage, &mut hand, all.iter().map(String::as_str));
}

/// Makes a directory read-only for whoever opens something there, until this is dropped. `None`, and
/// why, where nothing can be mounted.
fn read_only(directory: &Path) -> Option<Tmpfs> {
    let mut bind = Command::new("mount");
    bind.arg("--bind").args([directory, directory]);
    let output = bind.output().ok()?;
    if !output.status.success() {
        println!(
            "skipped: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        return None;
    }
    let mounted = Tmpfs(directory.to_owned());
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,bind,ro"]).arg(directory);
    assert!(remount.status().expect("mount").success(), "{remount:?}");
    Some(mounted)
}

#[test]
fn a_read_only_file_system_is_said_and_passes() {
    let (stage, mut hand) = stage();
    hand.done(&report("a"));
    // It closes the file when that is replaced, and opens it again.
    hand.end();
    settle(&stage);
    hand = stage.hand(&[]);
    hand.done(&json!(["inspect"]));
    let copy = stage.directory.join("copy");
    fs::copy(stage.store(), &copy).expect("a copy");
    fs::rename(&copy, stage.store()).expect("the copy");
    check(&hand.fails(&report("b")), "STORAGE", true, &["replaced"]);
    let Some(mounted) = read_only(&stage.directory) else {
        return;
    };
    check(&hand.fails(&report("b")), "STORAGE", false, &[]);
    check(&hand.fails(&json!(["drain", 300])), "STORAGE", false, &[]);
    let error = stage.hand(&[]).fails(&json!(["open"]));
    check(&error, "INVALID_CONFIG", false, &[]);
    drop(mounted);
    hand.done(&report("c"));
    all_arrive(&stage, &mut hand, ["a", "c"]);
    assert_eq!(stage.status(0, "b"), "");
}

#[test]
fn no_descriptor_left_is_said_and_passes() {
    let (stage, mut hand) = stage();
    hand.done(&report("a"));
    let mut acknowledged = vec!["a"];
    let clock = || {
        stage.database().query_row(
            "SELECT value FROM b24_meta WHERE name = 'clock'",
            [],
            |row| row.get::<_, String>(0),
        )
    };
    let before = clock();
    let limits = [3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24];
    for (limit, message) in limits.into_iter().zip("bcdefghijklmnop".chars()) {
        let message = &*message.to_string().leak();
        println!("{limit} descriptors");
        // One that has the store open, and one that has not.
        hand.done(&json!(["descriptors", limit]));
        let answer = hand.ask(&report(message));
        match answer.get("error") {
            Some(error) => check(error, "STORAGE", true, &["descriptor"]),
            None => acknowledged.push(message),
        }
        let drained = hand.ask(&json!(["drain", 300]));
        println!("  drain: {drained}");
        if let Some(error) = drained.get("error") {
            assert_eq!(error["retryable"], true, "{error}");
            assert!(
                error["message"].to_string().contains("descriptor"),
                "{error}"
            );
            assert_ne!(error["kind"], "CANCELLED", "{error}");
        }
        let mut second = stage.hand(&[]);
        second.done(&json!(["descriptors", limit]));
        let opened = second.ask(&json!(["open"]));
        println!("  open: {opened}");
        if let Some(error) = opened.get("error") {
            // The certificates are read as well.
            assert!(
                error["message"].to_string().contains("descriptor")
                    || error["message"].to_string().contains("open files"),
                "{error}"
            );
        }
        assert_eq!(clock(), before, "the clock of the store was set");
        second.done(&json!(["descriptors", 1000]));
        second.done(&json!(["open"]));
        hand.done(&json!(["descriptors", 1000]));
    }
    hand.done(&report("last"));
    acknowledged.push("last");
    all_arrive(&stage, &mut hand, acknowledged);
}

#[test]
fn a_lease_that_could_not_be_given_back_is_given_back_later() {
    let (stage, mut hand) = stage();
    hand.done(&report("a"));
    stage.fault(&json!([{"kind": "hang_after", "at": "batch"}]));
    let before = stage.portal.seen().requests;
    hand.tell(&json!(["drain", 300]));
    assert_eq!(
        stage.portal.wait(before + 1, Duration::from_secs(20)),
        before + 1
    );
    // Nobody can write, for longer than a call may take.
    let database = stage.database();
    database.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    stage.portal.release();
    let drained = hand.answer().expect("an answer");
    println!("  {drained}");
    assert_eq!(drained["ok"]["waiting"], 1, "{drained}");
    database.execute_batch("COMMIT").expect("no lock");
    // It lasts 35 s, which this does not wait.
    all_arrive(&stage, &mut hand, ["a"]);
    let left = stage.number("SELECT count(*) FROM b24_receipt WHERE state = 0");
    assert_eq!(left, 0, "what the portal has is settled");
}

#[test]
fn others_permissions_are_refused_and_pass() {
    let (stage, mut hand) = stage();
    hand.done(&report("a"));
    let open = json!(["open"]);
    let mode = |mode| fs::set_permissions(stage.store(), fs::Permissions::from_mode(mode));
    for wrong in [0o644, 0o660, 0o606] {
        mode(wrong).expect("chmod");
        check(&hand.fails(&report("b")), "STORAGE", false, &["0600"]);
        check(
            &hand.fails(&json!(["drain", 100])),
            "STORAGE",
            false,
            &["0600"],
        );
        check(
            &stage.hand(&[]).fails(&open),
            "INVALID_CONFIG",
            false,
            &["0600"],
        );
        mode(0o600).expect("chmod");
        hand.done(&report("c"));
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    chown(stage.store(), Some(65534), None).expect("chown");
    check(&hand.fails(&report("b")), "STORAGE", false, &["65534"]);
    check(
        &stage.hand(&[]).fails(&open),
        "INVALID_CONFIG",
        false,
        &["65534"],
    );
    chown(stage.store(), Some(0), None).expect("chown");
    hand.done(&report("d"));
    all_arrive(&stage, &mut hand, ["a", "c", "d"]);
    assert_eq!(stage.status(0, "b"), "");
}

#[test]
fn files_that_may_not_be_used_are_said() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start a process as another user");
        return;
    }
    let stage = Stage::new(HAND, &json!({"portals": 3}));
    chown(&stage.directory, Some(NOBODY), None).expect("chown");
    let certificate = stage.directory.join("ca.pem");
    fs::copy(stage.portal.ca_file(), &certificate).expect("a copy");
    fs::set_permissions(&certificate, fs::Permissions::from_mode(0o644)).expect("chmod");
    let program = stage.directory.join("program");
    // By a process of its own: a child that another test starts meanwhile would inherit the file
    // that is being written, and a program that is being written cannot be started.
    let copied = Command::new("cp").arg(HAND).arg(&program).status();
    assert!(copied.expect("cp").success(), "a copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    let start = || {
        let path = certificate.display().to_string();
        let options = stage.options(&[("ca_file", path.as_str())]);
        let mut command = Command::new(&program);
        command.arg("hand").uid(NOBODY).gid(NOBODY);
        command.args(
            options
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        Hand::start(&mut command)
    };
    let mut hand = start();
    stage.install(&mut hand, 0..1);
    hand.done(&report("a"));
    let directory = |mode| {
        fs::set_permissions(&stage.directory, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    println!("the directory may not be entered");
    directory(0o000);
    check(&hand.fails(&report("b")), "STORAGE", false, &[]);
    check(&hand.fails(&json!(["drain", 100])), "STORAGE", false, &[]);
    directory(0o755);
    hand.done(&report("c"));
    println!("the log is another user's");
    for suffix in ["-wal", "-shm", "-users", "-turn"] {
        hand.end();
        hand = start();
        hand.done(&json!(["open"]));
        hand.done(&report("d"));
        hand.end();
        chown(beside(&stage, suffix), Some(0), Some(0)).expect("chown");
        fs::set_permissions(beside(&stage, suffix), fs::Permissions::from_mode(0o600))
            .expect("chmod");
        hand = start();
        let error = hand.fails(&json!(["open"]));
        check(&error, "INVALID_CONFIG", false, &[]);
        chown(beside(&stage, suffix), Some(NOBODY), None).expect("chown");
        hand.done(&report("e"));
    }
    println!("the directory may not be written");
    hand.end();
    settle(&stage);
    directory(0o555);
    chown(&stage.directory, Some(0), None).expect("chown");
    hand = start();
    check(&hand.fails(&json!(["open"])), "INVALID_CONFIG", false, &[]);
    directory(0o755);
    chown(&stage.directory, Some(NOBODY), None).expect("chown");
    hand.done(&report("f"));
    all_arrive(&stage, &mut hand, ["a", "c", "d", "e", "f"]);
}

/// Moves all of a store into its main file, which nobody may have open.
fn settle(stage: &Stage) {
    let database = stage.database();
    let moved = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(moved, Ok(0));
    drop(database);
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the store");
    file.seek(SeekFrom::Start(at)).expect("the store");
    file.write_all(bytes).expect("the store");
}

fn truncate(path: &Path, size: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the store");
    file.set_len(size).expect("the store");
}

/// Whether a row is in the store.
fn has(path: &Path, message: &str) -> bool {
    let database = Connection::open(path).expect("the store");
    let found = database.query_row(
        "SELECT count(*) FROM b24_receipt WHERE member_id = ?1 AND code = 'provider1' AND message_id = ?2",
        [&member(0), message],
        |row| row.get::<_, i64>(0),
    );
    found == Ok(1)
}

#[test]
#[allow(
    clippy::too_many_lines,
    reason = "one story from its beginning to its end"
)]
fn a_damaged_file_is_said_and_can_be_restored() {
    type Damage = fn(&Path, u64);
    let kinds: [(&str, Damage); 9] = [
        ("the header is zeros", |path, _| {
            overwrite(path, 0, &[0; 100]);
        }),
        ("the header is another file's", |path, _| {
            overwrite(path, 0, b"PK\x03\x04 a zip archive, perhaps");
        }),
        ("the schema is noise", |path, _| {
            overwrite(path, 100, &[0xA5; 3900]);
        }),
        ("pages are zeros", |path, size| {
            overwrite(
                path,
                4096,
                &vec![0; usize::try_from(size - 4096).expect("a size")],
            );
        }),
        ("the middle is noise", |path, size| {
            let mut random = fastrand::Rng::with_seed(1);
            let from = size / 4;
            let bytes: Vec<u8> = (0..size / 2).map(|_| random.u8(..)).collect();
            overwrite(path, from, &bytes);
        }),
        ("bits are changed", |path, size| {
            let mut random = fastrand::Rng::with_seed(2);
            for _ in 0..200 {
                overwrite(path, random.u64(4096..size), &[random.u8(..)]);
            }
        }),
        ("half of it is missing", |path, size| {
            truncate(path, size / 2);
        }),
        ("only a part of the header is left", |path, _| {
            truncate(path, 60);
        }),
        ("it is not a multiple of pages", |path, size| {
            truncate(path, size - 5000);
        }),
    ];
    for open_already in [false, true] {
        for (name, damage) in kinds {
            println!(
                "{name}, {}",
                if open_already {
                    "under an open provider"
                } else {
                    "before"
                }
            );
            let (stage, mut hand) = stage();
            let flood = json!(["flood", member(0), "a", "delivered", 0, 300]);
            assert_eq!(hand.done(&flood)["stored"], 300);
            hand.end();
            settle(&stage);
            let store = stage.store();
            let saved = stage.directory.join("saved");
            fs::copy(&store, &saved).expect("a copy");
            let size = fs::metadata(&store).expect("the store").len();
            hand = stage.hand(&[]);
            if open_already {
                hand.done(&report("before"));
                hand.done(&json!(["inspect"]));
            }
            damage(&store, size);
            let message = stage
                .portal
                .message(json!({"host": b24_stress::provider::host(0)}))
                .expect("a message");
            let mut errors = 0;
            let mut acknowledged = Vec::new();
            for (at, order) in [
                report("m0"),
                json!(["flood", member(1), "b", "sent", 0, 200]),
                json!(["inspect"]),
                json!(["refused"]),
                json!(["receive", message["content_type"], message["body"]]),
                json!(["drain", 300]),
                json!(["track", "r", member(0), "m1"]),
                report("m1"),
                json!(["prune", 0]),
            ]
            .iter()
            .enumerate()
            {
                let answer = hand.ask(order);
                let inner = answer["ok"].get("error").filter(|error| !error.is_null());
                if let Some(error) = answer.get("error").or(inner) {
                    errors += 1;
                    let kind = error["kind"].as_str().unwrap_or_default();
                    assert!(
                        kind == "STORAGE" || kind == "INVALID_CONFIG",
                        "{order}: {error}"
                    );
                    if errors <= 2 {
                        println!(
                            "  {}: {} {} {}",
                            order[0], kind, error["retryable"], error["message"]
                        );
                    }
                } else if order[0] == "report" {
                    acknowledged.push(if at == 0 { "m0" } else { "m1" });
                }
            }
            // A row may be out of reach where pages are damaged, but then other calls have said so.
            for message in acknowledged.iter().filter(|_| errors == 0) {
                assert!(
                    has(&store, message),
                    "{message} was acknowledged and is not there"
                );
            }
            println!("  {errors} of 9 calls failed; acknowledged: {acknowledged:?}");
            // Somebody puts the backup back.
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(beside(&stage, suffix));
            }
            fs::rename(&saved, &store).expect("the backup");
            let again = (0..5).any(|_| hand.ask(&report("after")).get("ok").is_some());
            assert!(again, "it does not go on: {}", hand.ask(&report("after")));
            for _ in 0..100 {
                if hand.done(&json!(["drain", 300]))["waiting"] == 0 {
                    break;
                }
            }
            all_arrive(&stage, &mut hand, ["a0", "a299", "after"]);
        }
    }
}

/// Reports until it succeeds. Returns the errors.
fn report_at_last(hand: &mut Hand, message: &str) -> Vec<Value> {
    let mut errors = Vec::new();
    for _ in 0..5 {
        let answer = hand.ask(&report(message));
        match answer.get("error") {
            None => return errors,
            Some(error) => errors.push(error.clone()),
        }
    }
    panic!("it does not go on: {errors:#?}");
}

#[test]
fn a_file_that_is_removed_or_replaced_is_said() {
    println!("removed");
    let (stage, mut hand) = stage();
    hand.done(&report("a"));
    fs::remove_file(stage.store()).expect("the store");
    check(&hand.fails(&report("b")), "STORAGE", false, &["removed"]);
    check(
        &hand.fails(&json!(["drain", 100])),
        "STORAGE",
        false,
        &["removed"],
    );
    // Another provider makes it anew, whatever lies beside it and although another process has the
    // former one open, and the first one goes on with that.
    let mut second = stage.hand(&[]);
    stage.install_one(&mut second, json!({"host": b24_stress::provider::host(0)}));
    second.done(&report("c"));
    report_at_last(&mut hand, "d");
    all_arrive(&stage, &mut second, ["c", "d"]);
    hand.end();
    second.end();

    println!("replaced by a copy");
    let (stage, mut hand) = self::stage();
    hand.done(&report("a"));
    hand.end();
    settle(&stage);
    hand = stage.hand(&[]);
    hand.done(&report("b"));
    let copy = stage.directory.join("copy");
    fs::copy(stage.store(), &copy).expect("a copy");
    fs::rename(&copy, stage.store()).expect("the copy");
    check(&hand.fails(&report("c")), "STORAGE", true, &["replaced"]);
    report_at_last(&mut hand, "c");
    let mut second = stage.hand(&[]);
    second.done(&report("d"));
    hand.done(&report("e"));
    all_arrive(&stage, &mut second, ["a", "c", "d", "e"]);
}

/// Two processes report in turn, before and after a file beside the store is removed. What they
/// acknowledged after that is not lost, and what is not in the removed file neither.
fn remove_beside(suffixes: &[&str], before_is_kept: bool) {
    let (stage, mut first) = stage();
    // So that the tables are not in the log.
    first.end();
    settle(&stage);
    let mut first = stage.hand(&[]);
    let mut second = stage.hand(&[]);
    let mut kept = Vec::new();
    for number in 0..20 {
        first.done(&report(&format!("a{number}")));
        second.done(&report(&format!("b{number}")));
    }
    if before_is_kept {
        kept.extend((0..20).flat_map(|number| [format!("a{number}"), format!("b{number}")]));
    }
    for suffix in suffixes {
        fs::remove_file(beside(&stage, suffix)).expect("the file");
    }
    // One that opens the store now, and one that has it open: who is first may matter.
    let mut third = stage.hand(&[]);
    let mut errors = Vec::new();
    for number in 0..20 {
        let mut hands = [("c", &mut third), ("d", &mut first), ("e", &mut second)];
        if suffixes == ["-wal"] {
            // Nobody can use a new log as long as anybody has the index of the former one.
            hands.rotate_left(1);
            if number == 0 {
                errors.push(hands[1].1.fails(&json!(["inspect"])));
            }
        }
        for (name, hand) in hands {
            let message = format!("{name}{number}");
            errors.extend(report_at_last(hand, &message));
            kept.push(message);
        }
    }
    for hand in [&mut first, &mut second, &mut third] {
        hand.end();
    }
    for error in &errors {
        assert_eq!(error["kind"], "STORAGE");
        assert_eq!(error["retryable"], true);
    }
    let lost: Vec<&String> = kept
        .iter()
        .filter(|message| !has(&stage.store(), message))
        .collect();
    println!(
        "{suffixes:?} removed: {} acknowledged, {} lost; {} errors, the first: {:?}",
        kept.len(),
        lost.len(),
        errors.len(),
        errors.first().map(|error| error["message"].to_string())
    );
    let check = stage
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!((lost, check.as_deref()), (Vec::new(), Ok("ok")));
}

#[test]
fn a_removed_log_loses_nothing_that_is_acknowledged_later() {
    remove_beside(&["-wal"], false);
}

#[test]
fn a_removed_index_of_the_log_loses_nothing() {
    remove_beside(&["-shm"], true);
}

#[test]
fn removed_lock_files_lose_nothing() {
    remove_beside(&["-users"], true);
    remove_beside(&["-turn"], true);
}

#[test]
fn a_removed_log_with_its_index_loses_nothing_that_is_acknowledged_later() {
    remove_beside(&["-wal", "-shm"], false);
}
