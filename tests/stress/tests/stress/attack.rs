//! Situations in which a refresh token could be used twice: pairs left between two files, wrong
//! clocks, settings that mix old and new, a disk that was full for a while.

use super::{Directory, WORKER, worker};
use b24_messageservice::Status;
use b24_stress::{CODE, Fixture, RENEWAL};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An installation whose processes share a directory, and all its tokens so far.
struct Installation {
    fixture: Fixture,
    directory: Directory,
    pairs: Vec<(String, String)>,
}

impl Installation {
    fn new(name: &str) -> Self {
        let fixture = Fixture::new(&json!({"expired": true}));
        let pairs = vec![(
            fixture.own("access-0000000000000001"),
            fixture.own(RENEWAL[0].1),
        )];
        Self {
            directory: Directory::new(&format!("attack-{name}")),
            fixture,
            pairs,
        }
    }

    /// Opens the directory once, before system calls are counted.
    fn open(&self) {
        drop(self.fixture.client(&[("state_dir", self.directory.path())]));
    }

    /// Settings with this pair of tokens.
    fn options(&self, access: &str, refresh: &str) -> Vec<(String, String)> {
        let port = self.fixture.portal.http_port();
        let names = (0..NAMES).map(|number| format!("name{number}.bitrix24.test:{port}:127.0.0.1"));
        let resolve = names.collect::<Vec<_>>().join(",");
        self.fixture.options(&[
            ("resolve", &resolve),
            ("access_token", access),
            ("refresh_token", refresh),
            ("client_id", RENEWAL[1].1),
            ("client_secret", RENEWAL[2].1),
            ("state_dir", self.directory.path()),
        ])
    }

    /// Settings with one of its pairs; the first is 0.
    fn with(&self, pair: usize) -> Vec<(String, String)> {
        let (access, refresh) = &self.pairs[pair];
        self.options(access, refresh)
    }

    /// Notes the pair that was issued last.
    fn granted(&mut self) -> String {
        let tokens = self.fixture.portal.tokens();
        let text = |name: &str| tokens[name].as_str().expect(name).to_owned();
        self.pairs
            .push((text("access_token"), text("refresh_token")));
        text("access_token")
    }

    fn expire(&self) {
        self.fixture
            .fault(&json!([{"kind": "expire", "at": "update"}]));
    }

    /// The user installs the application again: a pair that does not come from a renewal.
    fn authorize(&mut self, refresh: &str) {
        let refresh = self.fixture.own(refresh);
        let access = format!("access-of-{refresh}");
        let settings = json!({"access_token": access, "refresh_token": refresh, "expired": true});
        self.fixture.portal.set(&settings).expect("settings");
        self.pairs.push((access, refresh));
    }

    /// One call of a process with these settings, which must succeed and not lose the installation.
    fn succeeds(&self, options: &[(String, String)]) {
        let mut worker = worker(&["one", "1"], options);
        worker.go();
        let report = worker.report();
        let seen = self.fixture.portal.seen();
        assert_eq!(
            (&report["kind"], seen.spent_tokens),
            (&json!("OK"), 0),
            "{report}, {:?}",
            self.files()
        );
        assert_eq!(self.fixture.portal.tokens()["lost"], false);
    }

    fn files(&self) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(&self.directory.0).expect("the state directory");
        listed.map(|file| file.expect("a file").path()).collect()
    }

    /// The files of one kind that contain a text. No other file is opened, because closing a file
    /// releases the locks of this process on it.
    fn holding(&self, kind: &str, text: &str) -> Vec<PathBuf> {
        let mut files = self.files();
        files.retain(|file| file.extension().is_some_and(|ending| ending == kind));
        files.retain(|file| {
            let content = std::fs::read(file).unwrap_or_default();
            let mut parts = content.windows(text.len());
            parts.any(|part| part == text.as_bytes())
        });
        files
    }

    /// Locks the member's file, as a process that renews its tokens does.
    fn lock(&self) -> File {
        let path = self.directory.0.join(format!("member-{MEMBER}~app.1.lock"));
        let open = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = open.expect("the lock of the member");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(mode).expect("a mode");
        fcntl_lock(&file, FlockOperation::LockExclusive).expect("nobody else has it");
        file
    }

    /// Lets a process renew with these settings, and kills it when the pair is in the link of the
    /// token that was used, before it is in the file of the member.
    fn killed_on_the_way(&mut self, options: &[(String, String)]) {
        let _lock = self.lock();
        let before = self.fixture.portal.seen().renewals;
        let mut killed = worker(&["one", "1"], options);
        killed.go();
        while self.fixture.portal.seen().renewals == before {
            std::thread::yield_now();
        }
        let access = self.granted();
        while self.holding("link", &access).is_empty() {
            std::thread::yield_now();
        }
        assert!(self.holding("tokens", &access).is_empty());
        killed.kill();
    }

    /// The link of the first token, as a renewal that was killed before its answer has named it.
    fn link_of_first(&self) -> String {
        self.fixture
            .fault(&json!([{"kind": "hang", "at": "oauth"}]));
        let mut killed = worker(&["one", "1"], &self.with(0));
        killed.go();
        while self.fixture.portal.seen().renewal_requests == 0 {
            std::thread::yield_now();
        }
        killed.kill();
        self.fixture.portal.release();
        let files = self.files();
        let room = files
            .iter()
            .find(|file| file.extension().is_some_and(|ending| ending == "new"));
        let link = room.expect("room").with_extension("link");
        link.to_str().expect("a path that is text").to_owned()
    }
}

/// Runs a worker whose system calls fail.
fn under_strace(faults: &[&str], words: &[&str], options: &[(String, String)]) -> Value {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    strace.args(faults).arg(WORKER).args(words);
    strace.args(options.iter().map(|(n, v)| format!("{n}={v}")));
    let output = strace.stdin(Stdio::null()).output().expect("strace");
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().last().unwrap_or_default();
    serde_json::from_str(report).unwrap_or_else(|fault| panic!("{output:?}: {fault}"))
}

/// How many names a portal has.
const NAMES: u8 = 4;
const MEMBER: &str = "a223c6b3710f85df22e9377d6c4f7553";

/// The pair in the file of the member was issued while a clock was ahead, or for a longer time.
#[test]
fn a_pair_left_in_a_link_is_newer_whatever_the_clock_said() {
    let mut attacked = Installation::new("clock");
    let longer = json!({"expires_in": 100_000});
    attacked.fixture.portal.set(&longer).expect("settings");
    attacked.succeeds(&attacked.with(0));
    attacked.authorize("refresh-of-0000000000000001");
    let shorter = json!({"expires_in": 60, "expired": true});
    attacked.fixture.portal.set(&shorter).expect("settings");
    attacked.killed_on_the_way(&attacked.with(1));
    for pair in [1, 1, 2] {
        attacked.succeeds(&attacked.with(pair));
        attacked.expire();
    }
}

/// A process that took over the pair on its way has renewed it since, so the one in the link is
/// older.
#[test]
fn a_pair_left_in_a_link_is_older_than_what_was_renewed_since() {
    let mut attacked = Installation::new("older");
    attacked.succeeds(&attacked.with(0));
    attacked.authorize("refresh-of-0000000000000001");
    attacked.killed_on_the_way(&attacked.with(1));
    attacked.authorize("refresh-again-0000000000000001");
    attacked.succeeds(&attacked.with(3));
    attacked.granted();
    for pair in [1, 0, 1, 3, 4] {
        attacked.expire();
        attacked.succeeds(&attacked.with(pair));
    }
}

/// A client starts with the pair on its way, which is valid: nothing has to be refused or renewed
/// first.
#[test]
fn a_client_begins_with_the_pair_in_the_link() {
    let mut attacked = Installation::new("begin");
    attacked.killed_on_the_way(&attacked.with(0));
    let before = attacked.fixture.portal.seen();
    attacked.succeeds(&attacked.with(0));
    let after = attacked.fixture.portal.seen();
    assert_eq!(after.requests - before.requests, 1);
    assert_eq!(after.renewal_requests, before.renewal_requests);
}

/// The portal sent its id late, and the process was killed when the pair was on its way there: the
/// file under the first token still has the used pair.
#[test]
fn a_file_left_behind_leads_to_the_newest_pair() {
    let mut attacked = Installation::new("behind");
    let silent = json!({"member_id": ""});
    attacked.fixture.portal.set(&silent).expect("settings");
    attacked.succeeds(&attacked.with(0));
    attacked.granted();
    let telling = json!({"member_id": MEMBER});
    attacked.fixture.portal.set(&telling).expect("settings");
    attacked.expire();
    attacked.killed_on_the_way(&attacked.with(0));
    // By a host, by the first token, by each of the others.
    let mut host_only = attacked.options(&attacked.pairs[0].0, "");
    host_only.retain(|(_, value)| !value.is_empty());
    attacked.succeeds(&host_only);
    for pair in [0, 1, 2, 0] {
        attacked.expire();
        attacked.succeeds(&attacked.with(pair));
    }
}

/// The same, and the pair in that file has expired since. A process that still has the first token
/// finds the file, but must not renew that pair: it goes on to where the installation is.
#[test]
fn a_process_with_the_first_token_goes_on_from_a_file_left_behind() {
    let mut attacked = Installation::new("onward");
    let old = b24_stress::client(&attacked.with(0)).expect("a client");
    let silent = json!({"member_id": ""});
    attacked.fixture.portal.set(&silent).expect("settings");
    attacked.succeeds(&attacked.with(0));
    let access = attacked.granted();
    let behind = attacked.holding("tokens", &access);
    let telling = json!({"member_id": MEMBER, "expired": true});
    attacked.fixture.portal.set(&telling).expect("settings");
    attacked.killed_on_the_way(&attacked.with(0));
    let content = std::fs::read(&behind[0]).expect("the file under the first token");
    let end = content
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a line");
    let head = std::str::from_utf8(&content[..end]).expect("text");
    let mut record: Value = serde_json::from_str(head).expect("JSON");
    record["credentials"]["expires_here"] = json!(1_000_000_000);
    let content = [record.to_string().as_bytes(), &content[end..]].concat();
    std::fs::write(&behind[0], content).expect("the file under the first token");
    for _ in 0..2 {
        let outcome = old.message_status_update(CODE, "m1", Status::Sent);
        outcome.expect("renewed, or taken over");
        attacked.succeeds(&attacked.with(0));
        attacked.expire();
    }
    assert_eq!(attacked.fixture.portal.seen().spent_tokens, 0);
}

/// While the disk was full, the pair was in memory only. The next pair that is stored brings with
/// it what the process knew, since the settings have not changed.
#[test]
fn what_could_not_be_stored_is_known_when_the_next_pair_is() {
    let mut attacked = Installation::new("full");
    attacked.open();
    let link = attacked.link_of_first();
    attacked.fixture.fault(&json!([
        {"kind": "ok", "at": "update", "count": 2},
        {"kind": "expire", "at": "update"},
    ]));
    // When the reserved file is renamed, and when a file that was written again is renamed.
    let (room, anew) = (link.replace(".link", ".new"), format!("{link}.new"));
    let full = ["-P", &room, "-P", &anew, "-e", "inject=rename:error=ENOSPC"];
    let report = under_strace(&full, &["calls", "2"], &attacked.with(0));
    assert!(report["threads"].is_i64(), "{report}");
    assert_eq!(attacked.fixture.portal.seen().renewals, 2);
    assert!(!std::path::Path::new(&link).exists(), "it was stored");
    let newest = attacked.granted();
    assert_eq!(attacked.holding("tokens", &newest).len(), 1);
    for _ in 0..2 {
        attacked.succeeds(&attacked.with(0));
        attacked.expire();
    }
}

/// The pair in the link has expired. One process has the token that was used for it, another one
/// has found the pair itself: both wait for the same lock.
#[test]
fn who_has_the_spent_token_and_who_has_the_pair_in_the_link_renew_once() {
    let mut attacked = Installation::new("meet");
    let old = b24_stress::client(&attacked.with(0)).expect("a client");
    let lifetime = |attacked: &Installation, seconds: u32| {
        let settings = json!({"expires_in": seconds, "oauth_latency_ms": 300});
        attacked.fixture.portal.set(&settings).expect("settings");
    };
    lifetime(&attacked, 0);
    attacked.killed_on_the_way(&attacked.with(0));
    lifetime(&attacked, 3600);
    let mut new = worker(&["one", "1"], &attacked.with(0));
    new.go();
    let outcome = old.message_status_update(CODE, "m1", Status::Sent);
    outcome.expect("renewed");
    assert_eq!(new.report()["kind"], "OK");
    let seen = attacked.fixture.portal.seen();
    assert_eq!((seen.renewals, seen.spent_tokens), (2, 0));
}

/// Something cleans the directory: the reserved file is gone when the answer has come.
#[test]
fn a_pair_is_stored_though_its_room_was_taken() {
    let mut attacked = Installation::new("room");
    attacked.open();
    let gone = ["-e", "inject=rename:error=ENOENT:when=1"];
    let report = under_strace(&gone, &["one", "1"], &attacked.with(0));
    assert_eq!(report["kind"], "OK");
    let newest = attacked.granted();
    assert_eq!(attacked.holding("tokens", &newest).len(), 1);
    attacked.succeeds(&attacked.with(0));
}

/// Two copies in one process are separated by the name of the process. Without it nothing is
/// renewed.
#[test]
fn nothing_is_renewed_under_half_a_lock() {
    let attacked = Installation::new("half");
    let faults = ["-P", "/proc/self/stat", "-e", "inject=openat:error=EMFILE"];
    let report = under_strace(&faults, &["one", "1"], &attacked.with(0));
    assert_eq!(report["kind"], "STORAGE");
    assert_eq!(attacked.fixture.portal.seen().renewal_requests, 0);
    attacked.succeeds(&attacked.with(0));
}

/// Another process holds the lock of the installation for too long: the pair is in the link,
/// through which processes with the used token and with the new one find it.
#[test]
fn a_place_that_stays_locked_is_found_by_the_new_token_too() {
    let mut attacked = Installation::new("locked");
    let lock = attacked.lock();
    let mut options = attacked.with(0);
    options.push(("timeout_ms".to_owned(), "60000".to_owned()));
    let mut patient = worker(&["one", "1"], &options);
    patient.go();
    assert_eq!(patient.report()["kind"], "OK");
    let access = attacked.granted();
    assert_eq!(attacked.holding("link", &access).len(), 1);
    drop(lock);
    for pair in [1, 0, 1] {
        attacked.expire();
        attacked.succeeds(&attacked.with(pair));
    }
}

/// The largest pair that fits into an answer makes files that can be read again.
#[test]
fn a_pair_as_large_as_an_answer_is_read_again() {
    let attacked = Installation::new("large");
    let any = json!({"access_token": "*", "expired": false});
    attacked.fixture.portal.set(&any).expect("settings");
    let refresh = attacked.fixture.own(&format!("{}.2", RENEWAL[0].1));
    let pair = json!({"access_token": "a".repeat(1_048_400), "refresh_token": refresh});
    attacked.fixture.fault(&json!([
        {"kind": "error", "at": "update", "status": 401, "error": "expired_token"},
        {"kind": "wrong_json", "at": "oauth", "body": pair.to_string()},
        {"kind": "ok", "at": "update", "count": 2},
        {"kind": "error", "at": "update", "status": 401, "error": "expired_token"},
    ]));
    for renewals in [1, 1, 2] {
        attacked.succeeds(&attacked.with(0));
        assert_eq!(attacked.fixture.portal.seen().renewals, renewals);
    }
}

/// The process was stopped, as by Ctrl-Z, for longer than an answer is awaited, and the answer came
/// in that time.
#[test]
fn an_answer_that_came_while_the_process_was_stopped_is_read() {
    let mut attacked = Installation::new("stopped");
    let slow = json!({"oauth_latency_ms": 500});
    attacked.fixture.portal.set(&slow).expect("settings");
    let mut options = attacked.with(0);
    options.push(("timeout_ms".to_owned(), "60000".to_owned()));
    options.push(("connect_timeout_ms".to_owned(), "1000".to_owned()));
    let mut stopped = worker(&["one", "1"], &options);
    stopped.go();
    while attacked.fixture.portal.seen().renewal_requests == 0 {
        std::thread::yield_now();
    }
    stopped.signal(Signal::STOP);
    std::thread::sleep(std::time::Duration::from_secs(33));
    stopped.signal(Signal::CONT);
    assert_eq!(stopped.report()["kind"], "OK");
    let newest = attacked.granted();
    assert_eq!(attacked.holding("tokens", &newest).len(), 1);
    attacked.succeeds(&attacked.with(0));
}

/// What may happen to an installation, at random: renamed portals, settings with any of its tokens,
/// member ids that are sent late, processes killed at any step, several at once.
struct Life {
    attacked: Installation,
    random: fastrand::Rng,
    /// The pairs that settings may have: of this and former authorizations.
    usable: Vec<usize>,
    /// Whether a renewal has returned the portal's id.
    is_told: bool,
    /// How often an issued pair had not reached the disk.
    unread: u32,
    killed: u32,
}

impl Life {
    const STEPS: [&str; 10] = [
        "openat", "rename", "unlink", "fsync", "fcntl", "flock", "close", "pwrite64", "write",
        "fstat",
    ];

    fn settings(&mut self) -> Vec<(String, String)> {
        let port = self.attacked.fixture.portal.http_port();
        let name = format!("name{}.bitrix24.test:{port}", self.random.u8(0..NAMES));
        let pair = self.usable[self.random.usize(0..self.usable.len())];
        let mut options = self.attacked.with(pair);
        options.push(("portal".to_owned(), format!("http://{name}")));
        options
    }

    /// Whether the newest pair that was issued can be found in the directory.
    fn is_stored(&self) -> bool {
        let tokens = self.attacked.fixture.portal.tokens();
        let access = tokens["access_token"].as_str().expect("a token");
        ["tokens", "link"]
            .iter()
            .any(|kind| !self.attacked.holding(kind, access).is_empty())
    }

    fn killed(&mut self) {
        let step = Self::STEPS[self.random.usize(0..Self::STEPS.len())];
        let at = self.random.u32(1..6);
        let options = self.settings();
        self.expire();
        let before = self.attacked.fixture.portal.seen().renewals;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
        strace.arg(format!("inject={step}:signal=KILL:when={at}"));
        strace.arg(WORKER).args(["one", "1"]);
        strace.args(options.iter().map(|(n, v)| format!("{n}={v}")));
        let status = strace.stdin(Stdio::null()).output().expect("strace").status;
        self.killed += u32::from(!status.success());
        let granted = self.attacked.fixture.portal.seen().renewals > before;
        if granted && !self.is_stored() {
            self.unread += 1;
            self.authorize();
        } else if granted {
            self.granted();
        }
    }

    fn expire(&self) {
        let settings = json!({"expired": true});
        self.attacked
            .fixture
            .portal
            .set(&settings)
            .expect("settings");
    }

    fn granted(&mut self) {
        self.attacked.granted();
        self.usable.push(self.attacked.pairs.len() - 1);
    }

    /// The user installs the application again, and the settings get the new pair.
    fn authorize(&mut self) {
        let refresh = format!("refresh-{}-0000000000000001", self.attacked.pairs.len());
        self.attacked.authorize(&refresh);
        let pair = self.attacked.pairs.len() - 1;
        let before = std::mem::replace(&mut self.usable, vec![pair]);
        self.attacked.succeeds(&self.attacked.with(pair));
        // Without its id nothing says that the former tokens are of this portal.
        if self.is_told {
            self.usable.extend(before);
        }
        self.granted();
    }

    /// One process is stopped while it renews, and continues when others have tried.
    fn stopped(&mut self) {
        self.expire();
        let options = self.settings();
        let mut stopped = worker(&["one", "1"], &options);
        let before = self.attacked.fixture.portal.seen().renewal_requests;
        stopped.go();
        while self.attacked.fixture.portal.seen().renewal_requests == before {
            std::thread::yield_now();
        }
        stopped.signal(Signal::STOP);
        let mut impatient = self.settings();
        impatient.push(("timeout_ms".to_owned(), "200".to_owned()));
        let mut other = worker(&["one", "1"], &impatient);
        other.go();
        let kind = other.report()["kind"].clone();
        stopped.signal(Signal::CONT);
        // What the other one could do depends on where the first one was stopped.
        assert!(
            ["OK", "TIMEOUT"].contains(&kind.as_str().expect("a kind")),
            "{kind}"
        );
        assert_eq!(stopped.report()["kind"], "OK");
        self.granted();
    }

    fn at_once(&mut self) {
        let all: Vec<_> = (0..3).map(|_| self.settings()).collect();
        let mut workers: Vec<_> = all
            .iter()
            .map(|one| worker(&["threads", "2"], one))
            .collect();
        workers.iter_mut().for_each(b24_stress::Worker::go);
        for worker in workers {
            let report = worker.report();
            assert_eq!(report["faults"], json!([]), "{report}");
        }
    }
}

#[test]
fn any_life_of_an_installation_ends_with_a_good_pair() {
    let seed =
        std::env::var("B24_LIFE_SEED").map_or(20_261_125, |seed| seed.parse().expect("a number"));
    let rounds =
        std::env::var("B24_LIFE_ROUNDS").map_or(60, |rounds| rounds.parse().expect("a number"));
    println!("a life of {rounds} rounds, seed {seed}");
    let mut life = Life {
        attacked: Installation::new(&format!("life-{seed}")),
        random: fastrand::Rng::with_seed(seed),
        usable: vec![0],
        is_told: false,
        unread: 0,
        killed: 0,
    };
    let tell = |life: &Life, member: &str| {
        let settings = json!({"member_id": member});
        life.attacked
            .fixture
            .portal
            .set(&settings)
            .expect("settings");
    };
    tell(&life, "");
    life.attacked.succeeds(&life.attacked.with(0));
    life.granted();
    for round in 0..rounds {
        if round == 10 {
            tell(&life, MEMBER);
        }
        match life.random.u8(0..8) {
            0 if round > 10 => life.authorize(),
            1 => life.at_once(),
            2 => life.stopped(),
            _ => life.killed(),
        }
        life.expire();
        let before = life.attacked.fixture.portal.seen().renewals;
        let settings = life.settings();
        life.attacked.succeeds(&settings);
        if life.attacked.fixture.portal.seen().renewals > before {
            life.granted();
        }
        life.is_told = round >= 10;
    }
    println!(
        "{} kills, {} of them between the grant and the disk; {} renewals, none of a spent token",
        life.killed,
        life.unread,
        life.attacked.fixture.portal.seen().renewals
    );
    assert!(life.killed > 0);
}
