//! Clocks that jump, processes that stand still, and portals that execute late: the newest status
//! stands in the end.

use super::provider_kills::check_reporters;
use super::{Directory, HAND};
use b24_stress::provider::{Hand, Stage, host, member};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The last status of each of these messages must be `delivered`. Returns for how many an older one was
/// executed late, and repaired.
#[track_caller]
pub(super) fn assert_all_delivered(stage: &Stage, messages: &[(u64, String)]) -> u32 {
    let (mut late, mut wrong) = (0, Vec::new());
    for (portal, message) in messages {
        let history = stage.history(*portal, message);
        let first = history.iter().position(|status| status == "delivered");
        late += u32::from(
            first.is_some_and(|first| history[first..].iter().any(|status| status == "sent")),
        );
        if history.last().is_none_or(|last| last != "delivered") {
            wrong.push((portal, message, history));
        }
    }
    assert_eq!(wrong, []);
    late
}

fn report(message: &str, status: &str) -> Value {
    json!(["report", member(0), message, status, 0])
}

/// The number of an environment variable.
fn number_of(name: &str, or: u64) -> u64 {
    let named = std::env::var(name).ok();
    named.and_then(|count| count.parse().ok()).unwrap_or(or)
}

/// A library that moves the wall clock of a process by so many seconds as a file says.
pub(super) struct WrongClock {
    directory: Directory,
    library: PathBuf,
}

impl WrongClock {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void)
{
    char text[32] = {0};
    int file = open(getenv("B24_CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) < 0)
        abort();
    close(file);
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static int (*real)(struct timeval *, void *);
    if (!real)
        real = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    now->tv_sec += offset();
    return result;
}

time_t time(time_t *now)
{
    static time_t (*real)(time_t *);
    if (!real)
        real = dlsym(RTLD_NEXT, "time");
    time_t result = real(NULL) + offset();
    if (now)
        *now = result;
    return result;
}
"#;

    pub(super) fn build(name: &str) -> Self {
        let directory = Directory::new(name);
        let (source, library) = (directory.0.join("clock.c"), directory.0.join("libclock.so"));
        std::fs::write(&source, Self::SOURCE).expect("a source");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl");
        assert!(compiler.status().expect("cc").success());
        let clock = Self { directory, library };
        clock.set(0);
        clock
    }

    pub(super) fn set(&self, seconds: i64) {
        let (new, file) = (
            self.directory.0.join("new"),
            self.directory.0.join("offset"),
        );
        std::fs::write(&new, seconds.to_string()).expect("an offset");
        std::fs::rename(&new, &file).expect("an offset");
    }

    pub(super) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("B24_CLOCK_OFFSET", self.directory.0.join("offset"))
    }
}

pub(super) const HOUR: i64 = 3600;

#[test]
fn a_wall_clock_that_jumps_changes_no_order() {
    let clock = WrongClock::build("jumps");
    let stage = Stage::new(HAND, &json!({"portals": 3, "expires_in": 1800}));
    let mut hand = Hand::start(clock.apply(&mut stage.command(&["hand"], &[])));
    stage.install(&mut hand, 0..2);
    let real = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_millis();
    clock.set(HOUR);
    let now = hand.done(&json!(["now"])).as_u64().expect("a time");
    let ahead = i64::try_from(u128::from(now) - real).expect("a time");
    assert!(
        (ahead - HOUR * 1000).abs() < 60_000,
        "the clock is not moved: {ahead}"
    );
    clock.set(0);
    let mut round = 0;
    for (before, after) in [
        (0, HOUR),
        (HOUR, 0),
        (0, -HOUR),
        (-HOUR, 0),
        (HOUR, -HOUR),
        (0, 100 * HOUR),
        (0, -100 * HOUR),
    ] {
        for drained_between in [false, true] {
            round += 1;
            let id = |name: &str| format!("{name}{round}");
            clock.set(before);
            hand.done(&report(&id("ranks"), "sent"));
            hand.done(&report(&id("higher"), "delivered"));
            hand.done(&report(&id("later"), "delivered"));
            // A time in the future counts as now.
            let future = hand.done(&json!(["now"])).as_u64().expect("a time") + 86_400_000;
            hand.done(&json!([
                "report",
                member(0),
                id("future"),
                "delivered",
                future
            ]));
            // A portal that is down, so that something waits while the clock jumps.
            stage
                .portal
                .set(&json!({"down": [host(1)]}))
                .expect("a setting");
            hand.done(&json!(["report", member(1), id("waits"), "delivered", 0]));
            hand.done(&json!(["drain", if drained_between { 300 } else { 1 }]));
            stage.portal.set(&json!({"down": []})).expect("a setting");
            clock.set(after);
            hand.done(&report(&id("ranks"), "delivered"));
            hand.done(&report(&id("higher"), "sent"));
            hand.done(&report(&id("later"), "failed"));
            hand.done(&report(&id("future"), "undelivered"));
            let drained = hand.done(&json!(["drain", 700]));
            assert!(
                drained["next_due"].as_u64().unwrap_or(0) < 20_000,
                "it waits for the wrong clock: {drained}"
            );
            let started = Instant::now();
            while hand.done(&json!(["drain", 200]))["waiting"] != 0 {
                assert!(
                    started.elapsed() < Duration::from_secs(20),
                    "it waits for the wrong clock"
                );
            }
            for (name, status) in [
                ("ranks", "delivered"),
                ("higher", "delivered"),
                ("later", "failed"),
                ("future", "undelivered"),
            ] {
                assert_eq!(
                    stage.status(0, &id(name)),
                    status,
                    "{name} {before} {after}"
                );
            }
            assert_eq!(stage.status(1, &id("waits")), "delivered");
            assert_eq!(hand.done(&json!(["refused"])), json!([]));
        }
    }
    clock.set(0);
    let seen = stage.portal.seen();
    println!(
        "{round} jumps, {} renewals, {} requests",
        seen.renewals, seen.requests
    );
    assert_eq!((seen.spent_tokens, seen.bad), (0, Vec::new()));
}

/// Longer with `B24_CLOCK_SECONDS`.
#[test]
fn reports_and_drains_go_on_while_the_clock_jumps() {
    let clock = WrongClock::build("jumping");
    let stage = Stage::new(HAND, &json!({"portals": 20, "expires_in": 600, "log": 0}));
    let journals = Directory::new("clock-journals");
    let options = [("workers", "4")];
    let mut hand = stage.hand(&options);
    stage.install(&mut hand, 0..20);
    hand.end();
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_millis()
        - 4_000_000;
    let mut children = Vec::new();
    for number in 0..5 {
        let (journal, start, seed) = (
            format!("{}/{number}", journals.path()),
            start.to_string(),
            number.to_string(),
        );
        let words = match number {
            0..3 => vec!["reporter", &journal, &start, &seed],
            _ => vec!["drainer", "500"],
        };
        let mut command = stage.command(&words, &options);
        children.push(
            clock
                .apply(&mut command)
                .stdin(Stdio::null())
                .spawn()
                .expect("a process"),
        );
    }
    let mut random = fastrand::Rng::with_seed(5);
    let began = Instant::now();
    let mut jumps = 0;
    while began.elapsed() < Duration::from_secs(number_of("B24_CLOCK_SECONDS", 6)) {
        clock.set([0, HOUR, -HOUR][random.usize(0..3)]);
        jumps += 1;
        std::thread::sleep(Duration::from_millis(random.u64(50..400)));
    }
    for child in &mut children {
        assert!(
            child.try_wait().expect("it runs").is_none(),
            "a process has ended"
        );
        child.kill().expect("it runs");
        child.wait().expect("it runs");
    }
    stage.drain_to_the_end(&options);
    let checked = check_reporters(&stage, &journals, &options);
    println!("{jumps} jumps: {checked}");
    checked.assert_none_lost();
    assert!(checked.failed.is_empty() && checked.refused.is_empty());
}

#[test]
fn what_cannot_be_sent_for_72_hours_is_given_up_and_not_before() {
    let stage = Stage::new(HAND, &json!({"portals": 3, "down": [host(0)]}));
    let mut hand = stage.hand(&[]);
    stage.portal.set(&json!({"down": []})).expect("a setting");
    stage.install(&mut hand, 0..1);
    stage
        .portal
        .set(&json!({"down": [host(0)]}))
        .expect("a setting");
    // An early time of the event itself does not matter.
    hand.done(&json!([
        "report",
        member(0),
        "m1",
        "delivered",
        1_000_000_000_000_u64
    ]));
    hand.done(&json!(["drain", 300]));
    hand.end();
    stage.advance(Duration::from_secs(71 * 3600));
    let mut hand = stage.hand(&[]);
    let drained = hand.done(&json!(["drain", 300]));
    assert_eq!(
        (&drained["refused"], &drained["waiting"]),
        (&json!(0), &json!(1))
    );
    hand.end();
    stage.advance(Duration::from_secs(3600));
    let mut hand = stage.hand(&[]);
    let drained = hand.done(&json!(["drain", 300]));
    assert_eq!(
        (&drained["refused"], &drained["waiting"]),
        (&json!(1), &json!(0))
    );
    let refused = hand.done(&json!(["refused"]));
    let reason = refused[0][3].as_str().unwrap_or_default();
    assert!(reason.starts_with("EXPIRED"), "{refused}");
}

/// A drainer is stopped somewhere, somebody else sends what is newer, and it continues. As often as
/// `B24_STOP_ROUNDS` says. The lease is ended in the store instead of waiting until it is over.
#[test]
fn a_drainer_that_stood_still_overwrites_nothing_in_the_end() {
    let rounds = number_of("B24_STOP_ROUNDS", 20);
    let mut random = fastrand::Rng::with_seed(number_of("B24_STOP_SEED", 11));
    let stage = Stage::new(HAND, &json!({"portals": 4, "latency_ms": 40, "log": 0}));
    let mut reporter = stage.hand(&[("timeout_ms", "1500")]);
    stage.install(&mut reporter, 0..4);
    let (mut in_transaction, mut taken_over, mut messages) = (0, 0, Vec::new());
    for round in 0..rounds {
        let numbers = 0..random.u64(4..40);
        let mut all = |hand: &mut Hand, status: &str| {
            for number in numbers.clone() {
                let portal = number % 4;
                let message = format!("r{round}-{number}");
                hand.done(&json!(["report", member(portal), message, status, 0]));
                if status == "sent" {
                    messages.push((portal, message));
                }
            }
        };
        all(&mut reporter, "sent");
        let mut stopped = stage.hand(&[("workers", "4")]);
        stopped.done(&json!(["open"]));
        stopped.tell(&json!(["drain", 300]));
        if random.u32(0..4) > 0 {
            // Before it sends, or while it waits for the answer.
            let give_up = Instant::now() + Duration::from_secs(1);
            while stage.number("SELECT count(*) FROM b24_lane WHERE lease_until > 0") == 0
                && Instant::now() < give_up
            {
                std::thread::yield_now();
            }
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        stopped.signal(Signal::STOP);
        stopped.wait_for_state('T');
        // As if the lease was over.
        let database = stage.database();
        database
            .busy_timeout(Duration::from_millis(300))
            .expect("a setting");
        let ended = database.execute(
            "UPDATE b24_lane SET lease_until = 1 WHERE lease_until > 0",
            [],
        );
        drop(database);
        // It may stand still inside of a transaction, or at its turn for one. Then nobody can write,
        // and that is said.
        let probe = reporter.ask(&report("probe", "sent"));
        if let Some(error) = probe.get("error") {
            in_transaction += 1;
            assert_eq!(error["kind"], "STORAGE", "{error}");
            assert_eq!(error["retryable"], true, "{error}");
            stopped.signal(Signal::CONT);
            stopped.answer();
            all(&mut reporter, "delivered");
            continue;
        }
        taken_over += ended.expect("nobody writes");
        all(&mut reporter, "delivered");
        let mut other = stage.hand(&[("workers", "4")]);
        other.done(&json!(["drain", 300]));
        stopped.signal(Signal::CONT);
        let answer = stopped.answer().expect("it lives");
        assert!(answer.get("ok").is_some(), "{answer}");
        stopped.end();
    }
    reporter.end();
    stage.drain_to_the_end(&[]);
    let late = assert_all_delivered(&stage, &messages);
    println!(
        "{rounds} stops, {in_transaction} of them inside of a transaction, {taken_over} leases taken over: {} messages, \
         {late} written late and repaired, 0 wrong",
        messages.len()
    );
}

/// The same with a lease that is really over, which takes more than a minute: with `B24_STOP_REAL=1`.
#[test]
fn a_drainer_that_stood_still_for_longer_than_its_lease() {
    const DRAINERS: u64 = 12;
    if std::env::var_os("B24_STOP_REAL").is_none() {
        println!("skipped: it takes two minutes; set B24_STOP_REAL=1");
        return;
    }
    let mut random = fastrand::Rng::with_seed(3);
    let stage = Stage::new(
        HAND,
        &json!({"portals": DRAINERS, "latency_ms": 30, "log": 0}),
    );
    let options = [("timeout_ms", "1000"), ("workers", "1")];
    let mut reporter = stage.hand(&options);
    stage.install(&mut reporter, 0..DRAINERS);
    let mut stopped = Vec::new();
    for portal in 0..DRAINERS {
        for number in 0..30 {
            reporter.done(&json!([
                "report",
                member(portal),
                format!("m{number}"),
                "sent",
                0
            ]));
        }
        let mut hand = stage.hand(&options);
        hand.done(&json!(["open"]));
        hand.tell(&json!(["drain", 2000]));
        std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
        hand.signal(Signal::STOP);
        hand.wait_for_state('T');
        // One that stands still inside of a transaction would stop all others.
        while reporter
            .ask(&report("probe", "sent"))
            .get("error")
            .is_some()
        {
            hand.signal(Signal::CONT);
            std::thread::sleep(Duration::from_micros(random.u64(500..10_000)));
            hand.signal(Signal::STOP);
            hand.wait_for_state('T');
        }
        stopped.push(hand);
    }
    let leases = stage.number("SELECT count(*) FROM b24_lane WHERE lease_until > 0");
    std::thread::sleep(Duration::from_secs(32));
    for portal in 0..DRAINERS {
        for number in 0..30 {
            reporter.done(&json!([
                "report",
                member(portal),
                format!("m{number}"),
                "delivered",
                0
            ]));
        }
    }
    let mut other = stage.hand(&[("timeout_ms", "1000")]);
    other.done(&json!(["drain", 3000]));
    for hand in &mut stopped {
        hand.signal(Signal::CONT);
    }
    for hand in &mut stopped {
        hand.answer();
        hand.end();
    }
    // Unknown outcomes are over a minute after the lease was taken over: nobody moves a clock.
    let began = Instant::now();
    while other.done(&json!(["drain", 1000]))["waiting"] != 0 {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "something waits for ever"
        );
    }
    println!(
        "{DRAINERS} drainers stopped for 35 s, {leases} with a lease; all was sent after further {:?}",
        began.elapsed()
    );
    for portal in 0..DRAINERS {
        for number in 0..30 {
            assert_eq!(
                stage.status(portal, &format!("m{number}")),
                "delivered",
                "{portal} {number}"
            );
        }
    }
}

#[test]
fn a_portal_that_executes_late_has_the_newest_status_in_the_end() {
    let late =
        |ms: u64| json!([{"at": "batch", "kind": "execute_late", "ms": ms, "host": host(0)}]);
    let wait = Duration::from_millis(1200);
    let hour = 3_600_000;
    // What is done to the older status, and then to the newer one.
    for (name, older_again, newer_late) in [
        ("the newer one is stored at once", false, None),
        ("the older one is repeated first", true, None),
        ("the newer one is late, but comes before", false, Some(200)),
        ("the newer one is late and comes after", false, Some(hour)),
    ] {
        for (older, newer) in [
            ("sent", "delivered"),
            ("queued", "sent"),
            ("delivered", "failed"),
        ] {
            let stage = Stage::new(HAND, &json!({"portals": 1}));
            let mut hand = stage.hand(&[]);
            stage.install(&mut hand, 0..1);
            stage.fault(&late(hour));
            hand.done(&report("m1", older));
            hand.done(&json!(["drain", 100]));
            assert_eq!(stage.status(0, "m1"), "");
            if older_again {
                std::thread::sleep(wait);
                hand.done(&json!(["drain", 100]));
                assert_eq!(stage.status(0, "m1"), older);
            }
            hand.done(&report("m1", newer));
            if let Some(ms) = newer_late {
                stage.fault(&late(ms));
            }
            std::thread::sleep(wait);
            hand.done(&json!(["drain", 400]));
            hand.end();
            // Now the older one is executed.
            stage.portal.release();
            std::thread::sleep(Duration::from_millis(100));
            let between = stage.history(0, "m1");
            stage.drain_to_the_end(&[]);
            let history = stage.history(0, "m1");
            println!("{name}: {between:?}, in the end {history:?}");
            assert_eq!(
                history.last().map(String::as_str),
                Some(newer),
                "{name}: {history:?}"
            );
            assert!(history.iter().any(|status| status == older));
        }
    }
}

/// With nothing but real time: with `B24_LATE_REAL=1`, as it takes three minutes.
#[test]
fn a_portal_that_executes_a_minute_later() {
    if std::env::var_os("B24_LATE_REAL").is_none() {
        println!("skipped: it takes three minutes; set B24_LATE_REAL=1");
        return;
    }
    let stage = Stage::new(HAND, &json!({"portals": 1}));
    let mut hand = stage.hand(&[]);
    stage.install(&mut hand, 0..1);
    stage.fault(&json!([{"at": "batch", "kind": "execute_late", "ms": 60_000}]));
    hand.done(&report("m1", "sent"));
    hand.done(&json!(["drain", 100]));
    hand.done(&report("m1", "delivered"));
    let began = Instant::now();
    while hand.done(&json!(["drain", 2000]))["waiting"] != 0 {
        assert!(
            began.elapsed() < Duration::from_secs(200),
            "it waits for ever"
        );
    }
    println!("{:?} after {:?}", stage.history(0, "m1"), began.elapsed());
    assert_eq!(stage.history(0, "m1"), ["delivered", "sent", "delivered"]);
}
