//! Processes of a provider are killed at random, and nothing that was acknowledged is lost.

use super::{Directory, HAND};
use b24_stress::CODE;
use b24_stress::provider::{Hand, Stage, host, member};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PORTALS: u64 = 20;

/// How often a process is killed; `B24_KILL_ROUNDS` changes it.
fn rounds() -> u32 {
    let named = std::env::var("B24_KILL_ROUNDS").ok();
    named.and_then(|count| count.parse().ok()).unwrap_or(60)
}

/// A receipt as a reporter's journal has it.
#[derive(Clone, Debug)]
struct Told {
    portal: u64,
    message: String,
    status: String,
    at: u64,
    acknowledged: bool,
}

impl Told {
    /// What decides which status of a message counts: the rank, and of two final ones the time.
    fn key(&self) -> (u8, u64) {
        match self.status.as_str() {
            "queued" => (0, 0),
            "sent" => (1, 0),
            _ => (2, self.at),
        }
    }
}

/// What a reporter has written until it was killed, and how many of its reports failed.
fn read_journal(path: &std::path::Path) -> (Vec<Told>, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut told: HashMap<&str, Told> = HashMap::new();
    let mut failed = Vec::new();
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["T", number, portal, message, status, at] => {
                let one = Told {
                    portal: portal.parse().expect("a portal"),
                    message: (*message).to_owned(),
                    status: (*status).to_owned(),
                    at: at.parse().expect("a time"),
                    acknowledged: false,
                };
                told.insert(number, one);
            }
            ["A", number] => told.get_mut(number).expect("a receipt").acknowledged = true,
            ["E", ..] => failed.push(line.to_owned()),
            _ => panic!("{line:?} in {}", path.display()),
        }
    }
    (told.into_values().collect(), failed)
}

fn fault(random: &mut fastrand::Rng) -> Value {
    let at = if random.u32(0..5) == 0 {
        "update"
    } else {
        "batch"
    };
    match random.u32(0..9) {
        0 => json!({"at": at, "kind": "status", "status": 502}),
        1 => json!({"at": at, "kind": "drop_before"}),
        2 => json!({"at": at, "kind": "drop_after"}),
        3 => json!({"at": at, "kind": "reset_after"}),
        4 => json!({"at": at, "kind": "truncated"}),
        5 => json!({"at": at, "kind": "expire"}),
        6 => json!({"at": "oauth", "kind": "drop_before"}),
        _ => json!({"at": at, "kind": "execute_late", "ms": random.u32(50..4000)}),
    }
}

/// What the processes of one machine have for themselves.
pub(super) struct Machine {
    /// Where they run, with their temporary files and their state.
    pub(super) directory: Directory,
    /// The options that are different there.
    pub(super) options: Vec<(String, String)>,
}

impl Machine {
    /// Makes a process one of this machine.
    pub(super) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, value) in &self.options {
            command.arg(format!("{name}={value}"));
        }
        command.current_dir(&self.directory.0);
        for name in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"] {
            command.env(name, &self.directory.0);
        }
        command
    }
}

/// The processes that are killed.
pub(super) struct Fleet<'a> {
    pub(super) stage: &'a Stage,
    pub(super) journals: &'a Directory,
    pub(super) start: u64,
    pub(super) seed: u64,
    pub(super) children: Vec<(usize, Child)>,
    pub(super) options: Vec<(&'a str, &'a str)>,
    /// They take turns. None if it is this machine alone.
    pub(super) machines: &'a [Machine],
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        stage: &'a Stage,
        journals: &'a Directory,
        seed: u64,
        options: &[(&'a str, &'a str)],
        machines: &'a [Machine],
    ) -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH);
        let start = start.expect("a time").as_millis();
        Self {
            stage,
            journals,
            start: u64::try_from(start).expect("a time"),
            seed,
            children: Vec::new(),
            options: options.to_vec(),
            machines,
        }
    }

    /// Starts a process: three reporters, two drainers, three renewers.
    fn start(&mut self, place: usize) -> Child {
        self.seed += 1;
        let seed = self.seed.to_string();
        let (journal, start) = (
            format!("{}/{seed}", self.journals.path()),
            self.start.to_string(),
        );
        let words: Vec<&str> = match place {
            0..3 => vec!["reporter", &journal, &start, &seed],
            3..5 => vec!["drainer", "700"],
            _ => vec!["renewer", &seed],
        };
        let mut command = self.stage.command(&words, &self.options);
        if !self.machines.is_empty() {
            self.machines[place % self.machines.len()].apply(&mut command);
        }
        command.stdin(Stdio::null());
        command.spawn().expect("a process")
    }

    pub(super) fn fill(&mut self) {
        for place in 0..8 {
            if !self.children.iter().any(|(taken, _)| *taken == place) {
                let child = self.start(place);
                self.children.push((place, child));
            }
        }
    }

    pub(super) fn kill(&mut self, at: usize) {
        let (place, mut child) = self.children.swap_remove(at);
        if let Ok(Some(status)) = child.try_wait() {
            panic!("process {place} ended by itself: {status}");
        }
        child.kill().expect("it runs");
        child.wait().expect("it runs");
    }

    /// Kills them all, and drains. Nothing that was acknowledged may be lost.
    #[track_caller]
    pub(super) fn end(&mut self) -> Checked {
        while !self.children.is_empty() {
            self.kill(0);
        }
        self.stage.drain_to_the_end(&self.options);
        let checked = check_reporters(self.stage, self.journals, &self.options);
        println!("{checked}");
        checked.assert_none_lost();
        checked
    }
}

/// Installs the application again where a killed renewer has lost the pair. Returns the reasons
/// with which these portals were held.
pub(super) fn install_again(stage: &Stage, hand: &mut Hand) -> Vec<String> {
    let inspected = hand.done(&json!(["inspect"]));
    let mut reasons = Vec::new();
    for (portal, row) in (0..PORTALS).filter_map(|portal| {
        let rows = inspected.as_array().expect("rows");
        let row = rows.iter().find(|row| row["member_id"] == member(portal))?;
        (row["state"] == "held").then_some((portal, row))
    }) {
        let reason = row["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "held without a reason: {row}");
        reasons.push(reason.to_owned());
        // The request may meet a fault.
        for attempt in 0.. {
            let order = json!({"host": host(portal), "again": attempt == 0});
            let request = stage.portal.install(order).expect("an order");
            let answer = hand.ask(&json!([
                "receive",
                request["content_type"],
                request["body"]
            ]));
            if answer.get("ok").is_some() {
                break;
            }
            assert!(
                attempt < 10,
                "portal {portal} cannot be installed: {answer}"
            );
        }
    }
    reasons
}

/// A check of fewer receipts than these shows little.
pub(super) const ENOUGH: usize = 100;

/// What became of what reporters were acknowledged.
pub(super) struct Checked {
    pub(super) acknowledged: usize,
    pub(super) messages: usize,
    /// The errors of reports.
    pub(super) failed: Vec<String>,
    /// Messages that were given up, by reason.
    pub(super) refused: BTreeMap<String, u32>,
    /// Messages whose last status at the portal is not the newest that was acknowledged.
    lost: Vec<String>,
}

impl Checked {
    #[track_caller]
    pub(super) fn assert_none_lost(&self) {
        let lost = &self.lost;
        assert_eq!(lost.len(), 0, "{:#?}", &lost[..lost.len().min(5)]);
        let acknowledged = self.acknowledged;
        assert!(
            acknowledged > ENOUGH,
            "only {acknowledged} reports were acknowledged"
        );
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} receipts of {} messages acknowledged, {} reports failed, refused: {:?}, {} lost",
            self.acknowledged,
            self.messages,
            self.failed.len(),
            self.refused,
            self.lost.len()
        )
    }
}

/// Compares the journals of reporters with what the portals have, when nothing waits any more.
pub(super) fn check_reporters(
    stage: &Stage,
    journals: &Directory,
    options: &[(&str, &str)],
) -> Checked {
    let mut hand = stage.hand(options);
    let refused = hand.done(&json!(["refused"]));
    let inspected = hand.done(&json!(["inspect"]));
    hand.end();
    let refused: HashMap<(String, String), String> = refused
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| ((row[0].to_string(), row[1].to_string()), row[3].to_string()))
        .collect();

    let files: Vec<PathBuf> = std::fs::read_dir(&journals.0)
        .expect("journals")
        .map(|file| file.expect("a file").path())
        .collect();
    let mut all: HashMap<(u64, String), Vec<Told>> = HashMap::new();
    let mut failed = Vec::new();
    for file in &files {
        let (told, errors) = read_journal(file);
        failed.extend(errors);
        for one in told {
            all.entry((one.portal, one.message.clone()))
                .or_default()
                .push(one);
        }
    }
    let stored = stage.portal.all_messages();
    let (mut acknowledged, mut wrong, mut given_up) =
        (0, Vec::new(), BTreeMap::<String, u32>::new());
    for ((portal, message), told) in &all {
        acknowledged += told.iter().filter(|one| one.acknowledged).count();
        let best = told
            .iter()
            .filter(|one| one.acknowledged)
            .map(Told::key)
            .max();
        let Some(best) = best else {
            continue;
        };
        let last = stored[host(*portal)][format!("{CODE}|{message}")]
            .as_str()
            .unwrap_or_default();
        let right = told
            .iter()
            .any(|one| one.key() >= best && one.status == last);
        let key = (
            json!(member(*portal)).to_string(),
            json!(message).to_string(),
        );
        if let Some(reason) = refused.get(&key).filter(|_| !right) {
            *given_up.entry(reason.clone()).or_default() += 1;
        } else if !right {
            wrong.push(format!(
                "portal {portal} message {message}: {last:?}, history {:?}, told {told:?}",
                stored[host(*portal)]["history"][format!("{CODE}|{message}")]
            ));
        }
    }
    let rows = inspected.as_array().expect("rows").iter();
    let waiting: u64 = rows.filter_map(|row| row["waiting"].as_u64()).sum();
    assert_eq!(waiting, 0);
    Checked {
        acknowledged,
        messages: all.len(),
        failed,
        refused: given_up,
        lost: wrong,
    }
}

/// The portals of the tests that kill processes.
pub(super) fn portals() -> Value {
    json!({"portals": PORTALS, "oauth_latency_ms": 30, "latency_ms": 20, "log": 0})
}

#[test]
fn killed_processes_lose_no_receipt() {
    let stage = Stage::new(HAND, &portals());
    let failed = kill_processes(&stage, "kill-journals", &[], &mut |_, _| {});
    assert_eq!(failed, Vec::<String>::new());
    let check = stage
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.as_deref(), Ok("ok"));
}

/// Kills processes at random, and checks that nothing that was acknowledged is lost. After each round
/// `trouble` does something to the store. Returns the errors of reports.
#[allow(
    clippy::too_many_lines,
    reason = "one story from its beginning to its end"
)]
pub(super) fn kill_processes(
    stage: &Stage,
    journals: &str,
    machines: &[Machine],
    trouble: &mut dyn FnMut(u32, &mut fastrand::Rng),
) -> Vec<String> {
    let seed = std::env::var("B24_KILL_SEED").ok();
    let seed: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(seed);
    let journals = Directory::new(journals);
    let options = vec![("timeout_ms", "4000"), ("workers", "4")];
    let mut hand = stage.hand(&options);
    stage.install(&mut hand, 0..PORTALS);
    // Only now, since installing takes its time.
    let short = json!({"expires_in": 3});
    stage.portal.set(&short).expect("settings");
    let mut fleet = Fleet::new(stage, &journals, seed * 1_000_000, &options, machines);
    let began = Instant::now();
    let mut batches = 0;
    let (mut lost, mut killed) = (BTreeMap::<String, u32>::new(), [0_u32; 3]);
    for round in 0..rounds() {
        fleet.fill();
        // Every third request fails.
        let requests = stage.portal.seen().batches;
        let mut faults = Vec::new();
        for _ in batches..requests {
            if random.u32(0..3) == 0 {
                faults.push(fault(&mut random));
            }
        }
        batches = requests;
        stage.fault(&Value::Array(faults));
        std::thread::sleep(Duration::from_millis(random.u64(20..400)));
        for _ in 0..random.usize(1..3) {
            let at = random.usize(0..fleet.children.len());
            let place = fleet.children[at].0;
            killed[[0, 0, 0, 1, 1, 2, 2, 2][place]] += 1;
            fleet.kill(at);
        }
        trouble(round, &mut random);
        if round % 20 == 19 {
            for reason in install_again(stage, &mut hand) {
                *lost.entry(reason).or_default() += 1;
            }
        }
    }
    let took = began.elapsed();
    while !fleet.children.is_empty() {
        fleet.kill(0);
    }
    // What is executed late is executed now, and faults that were not used up go on.
    std::thread::sleep(Duration::from_millis(500));
    stage.portal.release();
    std::thread::sleep(Duration::from_millis(500));
    hand.end();
    let stage_options: Vec<(&str, &str)> = options;
    let mut sent = 0;
    loop {
        let (more, left) = stage.drain_to_the_end(&stage_options);
        sent += more;
        if left["held"] == 0 {
            break;
        }
        let mut hand = stage.hand(&stage_options);
        for reason in install_again(stage, &mut hand) {
            *lost.entry(reason).or_default() += 1;
        }
        hand.end();
    }
    let checked = check_reporters(stage, &journals, &stage_options);
    let counts = stage.portal.seen();
    println!(
        "{} rounds in {:.0} s, killed: {} reporters, {} drainers, {} renewers; {checked}; {sent} sent after \
         the kills; {} requests, {} batches, {} late, {} renewals; portals held because of a lost pair: \
         {lost:?}; violations: {:?}",
        rounds(),
        took.as_secs_f64(),
        killed[0],
        killed[1],
        killed[2],
        counts.requests,
        counts.batches,
        counts.late,
        counts.renewals,
        counts.bad.iter().collect::<HashSet<_>>(),
    );
    checked.assert_none_lost();
    checked.failed
}

/// Checks that what the journals of a directory say was acknowledged is in the store. Returns how
/// many receipts that are, and the errors of the others.
pub(super) fn check_journals(stage: &Stage, journals: &Directory) -> (usize, Vec<String>) {
    const STORED: &str = "SELECT message_id FROM b24_receipt WHERE status = 1";
    let stored: HashSet<String> = if let Some(tables) = &stage.postgres {
        tables.sql(STORED).lines().map(str::to_owned).collect()
    } else {
        let database = stage.database();
        let mut stored = database.prepare(STORED).expect("the store");
        let stored = stored.query_map([], |row| row.get(0)).expect("the store");
        stored.collect::<Result<_, _>>().expect("the store")
    };
    let (mut acknowledged, mut errors) = (0, Vec::new());
    for file in std::fs::read_dir(&journals.0).expect("journals") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a journal");
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("A", message)) => {
                    acknowledged += 1;
                    assert!(
                        stored.contains(message),
                        "{message} was acknowledged and is lost"
                    );
                }
                _ => errors.push(line.to_owned()),
            }
        }
    }
    (acknowledged, errors)
}

/// The number of an environment variable.
pub(super) fn number_of(name: &str, or: u64) -> u64 {
    let named = std::env::var(name).ok();
    named.and_then(|count| count.parse().ok()).unwrap_or(or)
}

pub(super) fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().expect("a process");
    assert!(status.success(), "{command:?}: {status}");
}

/// 300 of them with `B24_FORK_MASTERS=300`.
#[test]
fn forked_children_and_their_masters_lose_no_receipt() {
    let masters = number_of("B24_FORK_MASTERS", 20);
    let (mut acknowledged, mut errors) = (0, Vec::new());
    for seed in 0..masters {
        let stage = Stage::new(HAND, &json!({}));
        let journals = Directory::new(&format!("fork-{seed}"));
        let seed = (seed + 1).to_string();
        run(&mut stage.command(&["master", journals.path(), &seed], &[]));
        let (now, wrong) = check_journals(&stage, &journals);
        acknowledged += now;
        errors.extend(wrong);
        let check = stage
            .database()
            .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(check.as_deref(), Ok("ok"));
    }
    println!("{masters} masters: {acknowledged} receipts acknowledged, 0 lost");
    assert_eq!(errors, Vec::<String>::new());
    assert!(acknowledged > 30 * usize::try_from(masters).expect("a small number"));
}

#[test]
fn a_child_of_a_busy_process_says_that_it_cannot_report() {
    let children = number_of("B24_FORK_CHILDREN", 100);
    let stage = Stage::new(HAND, &json!({}));
    let journals = Directory::new("torn");
    run(&mut stage.command(&["torn", journals.path(), &children.to_string()], &[]));
    let (acknowledged, errors) = check_journals(&stage, &journals);
    let refusals = errors
        .iter()
        .filter(|line| line.starts_with("E STORAGE ") && line.contains("restart this worker"))
        .count();
    println!(
        "{children} children of a process that was reporting: {acknowledged} receipts acknowledged, 0 lost; \
         {refusals} refused by children that have to be restarted"
    );
    assert_eq!(refusals, errors.len(), "{errors:#?}");
    assert!(refusals > 0, "no child was forked during a report");
}

/// The same processes, and none is killed: no pair of tokens is lost or renewed twice. Longer with
/// `B24_RENEW_SECONDS`.
#[test]
fn processes_that_nobody_kills_renew_each_pair_once() {
    let stage = Stage::new(
        HAND,
        &json!({"portals": PORTALS, "expires_in": 2, "oauth_latency_ms": 30, "latency_ms": 20, "log": 0}),
    );
    let journals = Directory::new("renew-journals");
    let options = vec![("timeout_ms", "4000"), ("workers", "4")];
    let mut hand = stage.hand(&options);
    stage.install(&mut hand, 0..PORTALS);
    hand.end();
    let mut fleet = Fleet::new(&stage, &journals, 1, &options, &[]);
    fleet.fill();
    std::thread::sleep(Duration::from_secs(number_of("B24_RENEW_SECONDS", 6)));
    let counts = stage.portal.seen();
    while !fleet.children.is_empty() {
        fleet.kill(0);
    }
    println!(
        "{} renewals for {PORTALS} portals by 8 processes, {} of them with a used token",
        counts.renewals, counts.spent_tokens
    );
    assert_eq!((counts.spent_tokens, counts.bad), (0, Vec::new()));
    assert!(counts.renewals > 20, "nothing was renewed");
}

/// All at once, and nobody else has the store open: one of them repairs its log, and the others wait.
#[test]
fn processes_that_open_a_store_at_once_wait_for_each_other() {
    let stage = Stage::new(HAND, &json!({}));
    let mut first = stage.hand(&[]);
    let flood = json!(["flood", member(0), "m", "sent", 0, 2000]);
    assert_eq!(first.done(&flood)["stored"], 2000);
    first.kill();
    for round in 0..number_of("B24_OPEN_ROUNDS", 15) {
        let mut hands: Vec<Hand> = (0..8).map(|_| stage.hand(&[])).collect();
        for (number, hand) in hands.iter_mut().enumerate() {
            // Some read first.
            hand.done(&json!(["usage"]));
            hand.tell(&json!(["open"]));
            let message = format!("r{round}-{number}");
            hand.tell(&json!(["report", member(0), message, "sent", 0]));
            hand.tell(&json!(["inspect"]));
        }
        for hand in &mut hands {
            for _ in 0..3 {
                let answer = hand.answer().expect("it lives");
                assert!(answer.get("ok").is_some(), "{answer}");
            }
            hand.kill();
        }
    }
}
