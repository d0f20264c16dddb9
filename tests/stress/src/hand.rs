//! The processes that the stress tests of the provider kill, stop, fork and starve.
//!
//! usage: b24-stress-provider WORK [WORD ...] [NAME=VALUE ...]
//!
//! `hand` reads orders from its input, each a line with a JSON array, and answers each with a line
//! `{"ok": …}` or `{"error": {"kind", "retryable", "message"}}`. The others work until they are killed.

#[cfg(unix)]
mod hand {
    use std::error::Error as StdError;
    use std::io::{self, BufRead, Write};
    use std::path::Path;
    use std::sync::OnceLock;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use b24_messageservice::{
        Config, Error, PortalState, Provider, Receipt, RefusedReceipt, Status,
    };
    use b24_stress::provider::{Journal, member};
    use b24_stress::{CODE, Usage, config};
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};
    use serde_json::{Value, json};

    type Outcome<T> = Result<T, Box<dyn StdError>>;

    const STATUSES: [Status; 5] = [
        Status::Queued,
        Status::Sent,
        Status::Delivered,
        Status::Undelivered,
        Status::Failed,
    ];

    pub(crate) fn main() -> Outcome<()> {
        let (options, words): (Vec<String>, Vec<String>) = std::env::args()
            .skip(1)
            .partition(|word| word.contains('='));
        let options: Vec<(String, String)> = options
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let config = config(&options)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(path) = std::env::var_os("B24_STRESS_LOG") {
            log_to(Path::new(&path))?;
        }
        match words.as_slice() {
            ["hand"] => hand(&config),
            ["reporter", journal, start, seed] => {
                reporter(&config, Path::new(journal), start.parse()?, seed.parse()?)
            }
            ["drainer", milliseconds] => drainer(&config, milliseconds.parse()?),
            ["renewer", seed] => renewer(&config, seed.parse()?),
            ["master", journals, seed] => master(&config, Path::new(journals), seed.parse()?),
            ["torn", journals, children] => torn(&config, Path::new(journals), children.parse()?),
            _ => Err(format!("{words:?} is no work").into()),
        }
    }

    /// Writes every log record of every target to a file.
    fn log_to(path: &Path) -> io::Result<()> {
        #[derive(Debug)]
        struct ToFile(std::fs::File);
        impl log::Log for ToFile {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                let line = format!("{} {} {}\n", record.level(), record.target(), record.args());
                let _ = (&self.0).write_all(line.as_bytes());
            }
            fn flush(&self) {}
        }
        static LOG: OnceLock<ToFile> = OnceLock::new();
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?;
        if log::set_logger(LOG.get_or_init(|| ToFile(file))).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
        Ok(())
    }

    fn milliseconds(since: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(since)
    }

    fn unix_milliseconds() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
    }

    /// Does what it is told.
    fn hand(config: &Config) -> Outcome<()> {
        let mut provider = None;
        for line in io::stdin().lock().lines() {
            let order: Vec<Value> = serde_json::from_str(&line?)?;
            let answer = match obey(config, &mut provider, &order) {
                Ok(result) => json!({"ok": result}),
                Err(fault) => json!({"error": shown(&fault)}),
            };
            println!("{answer}");
        }
        Ok(())
    }

    fn shown(fault: &Error) -> Value {
        json!({
            "kind": fault.kind().name(),
            "retryable": fault.is_retryable(),
            "portal_code": fault.portal_code(),
            "message": fault.to_string(),
            "debug": format!("{fault:?}"),
        })
    }

    fn wrong(order: &[Value]) -> Error {
        panic!("{order:?} cannot be done")
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each order")]
    fn obey(
        config: &Config,
        opened: &mut Option<Provider>,
        order: &[Value],
    ) -> Result<Value, Error> {
        let text = |at: usize| order.get(at).and_then(Value::as_str).unwrap_or_default();
        let number = |at: usize| order.get(at).and_then(Value::as_u64).unwrap_or_default();
        let at = |at: usize| Some(number(at)).filter(|at| *at > 0).map(milliseconds);
        match text(0) {
            "usage" => {
                let usage = Usage::now().map_err(|_| wrong(order))?;
                let peak = b24_stress::peak().map_err(|_| wrong(order))?;
                return Ok(json!({"peak": peak, "resident": usage.resident,
                    "descriptors": usage.descriptors, "threads": usage.threads}));
            }
            // So many descriptors may be open.
            "descriptors" => {
                use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
                let maximum = getrlimit(Resource::Nofile).maximum;
                let current = Some(number(1));
                setrlimit(Resource::Nofile, Rlimit { current, maximum })
                    .map_err(|_| wrong(order))?;
                return Ok(Value::Null);
            }
            "now" => return Ok(unix_milliseconds().into()),
            "forget" => {
                *opened = None;
                return Ok(Value::Null);
            }
            _ => {}
        }
        let provider = match opened {
            Some(provider) => provider,
            None => opened.insert(Provider::open(config)?),
        };
        Ok(match text(0) {
            "open" => Value::Null,
            "receive" => {
                let request = provider.receive(text(1), text(2).as_bytes())?;
                format!("{}", request.kind()).into()
            }
            "frame" => {
                let request = provider.receive(text(1), text(2).as_bytes())?;
                provider.install_request(&request)?;
                Value::Null
            }
            "install" => provider.install(text(1), text(2))?.into(),
            "report" => provider
                .report(text(1), CODE, text(2), text(3), at(4))?
                .into(),
            "track" => provider.track(text(1), text(2), CODE, text(3))?.into(),
            "report_reference" => provider.report_reference(text(1), text(2), at(3))?.into(),
            // Portal, prefix, status, first, count.
            "flood" => {
                let receipts = (number(4)..number(4) + number(5))
                    .map(|n| Receipt::new(text(1), CODE, format!("{}{n}", text(2)), text(3)));
                let (mut stored, mut faults) = (0_u64, Vec::new());
                for outcome in provider.report_many(receipts) {
                    match outcome {
                        Ok(()) => stored += 1,
                        Err(fault) => faults.push(fault),
                    }
                }
                json!({"stored": stored, "failed": faults.len(), "error": faults.first().map(shown)})
            }
            "drain" => {
                let drained = provider.drain(Duration::from_millis(number(1)))?;
                json!({"sent": drained.sent, "refused": drained.refused, "held": drained.held,
                    "waiting": drained.waiting,
                    "next_due": drained.next_due.map(|due| u64::try_from(due.as_millis()).ok())})
            }
            "inspect" => provider.inspect()?.iter().map(portal_state).collect(),
            "refused" => all_refused(provider)?,
            "resume" => provider.resume(text(1))?.into(),
            "prune" => provider.prune(Duration::from_secs(number(1)))?.into(),
            "call" => provider
                .client(text(1))?
                .message_status_update(CODE, text(2), text(3))?
                .into(),
            "senders" => provider.client(text(1))?.sender_list()?.len().into(),
            "close" => {
                provider.close();
                Value::Null
            }
            "import" => provider.import_state_dir(Path::new(text(1)))?.into(),
            // What is under way in so many milliseconds is cancelled then.
            "cancel_in" => {
                let (provider, wait) = (provider.clone(), Duration::from_millis(number(1)));
                std::thread::spawn(move || {
                    std::thread::sleep(wait);
                    provider.cancel();
                });
                Value::Null
            }
            // Calls a portal from so many threads at once, each with a provider of its own.
            "threads" => {
                let member = text(1);
                let faults: Vec<Error> = std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..number(2))
                        .map(|_| {
                            scope.spawn(|| {
                                let provider = Provider::open(config)?;
                                provider.client(member)?.sender_list().map(drop)
                            })
                        })
                        .collect();
                    let outcomes = threads.into_iter().map(|thread| match thread.join() {
                        Ok(outcome) => outcome,
                        Err(_) => Err(wrong(order)),
                    });
                    outcomes.filter_map(Result::err).collect()
                });
                faults.iter().map(shown).collect()
            }
            // A call on a thread of its own, whose outcome is not awaited.
            "later" => {
                let client = provider.client(text(1))?;
                std::thread::spawn(move || {
                    if let Err(fault) = client.sender_list() {
                        eprintln!("later: {fault}");
                    }
                });
                Value::Null
            }
            _ => return Err(wrong(order)),
        })
    }

    fn portal_state(portal: &PortalState) -> Value {
        json!({"member_id": portal.member_id, "state": portal.state, "reason": portal.reason,
            "waiting": portal.waiting, "refused": portal.refused,
            "client_endpoint": portal.client_endpoint})
    }

    fn all_refused(provider: &Provider) -> Result<Value, Error> {
        let mut all: Vec<RefusedReceipt> = Vec::new();
        loop {
            let after = all.last().map(|last| last.cursor.clone());
            let next = provider.refused(&after.unwrap_or_default(), 1000)?;
            if next.is_empty() {
                break;
            }
            all.extend(next);
        }
        Ok(all
            .iter()
            .map(|row| {
                json!([
                    row.member_id,
                    row.message_id,
                    row.status,
                    row.reason,
                    row.reference
                ])
            })
            .collect())
    }

    /// Opens a provider, as often as its store says that trying again may help.
    fn opened(config: &Config) -> Result<Provider, Error> {
        loop {
            match Provider::open(config) {
                Err(fault) if fault.is_retryable() => eprintln!("opening: {fault}"),
                opened => return opened,
            }
        }
    }

    /// Reports for ever: messages that other reporters report as well, in any order. The journal has
    /// a line with `T` before each report and one with `A` when it was acknowledged.
    fn reporter(config: &Config, journal: &Path, start: u64, seed: u64) -> Outcome<()> {
        const PORTALS: u64 = 20;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut journal = Journal::open(journal)?;
        let provider = opened(config)?;
        let mut number = 0_u64;
        loop {
            // New messages come all the time; some receipts are for those of a while ago.
            let mut generation = unix_milliseconds().saturating_sub(start) / 2000;
            if random.u32(0..10) == 0 {
                generation = generation.saturating_sub(random.u64(0..10));
            }
            let count = if random.u32(0..5) == 0 { 10 } else { 1 };
            let receipts: Vec<(u64, String, Status, u64)> = (0..count)
                .map(|_| {
                    (
                        random.u64(0..PORTALS),
                        format!("m{generation}-{}", random.u32(0..10)),
                        random.choice(STATUSES).unwrap_or(Status::Sent),
                        start - 1 - random.u64(0..10_000_000),
                    )
                })
                .collect();
            let first = number;
            for (portal, message, status, at) in &receipts {
                number += 1;
                let status = status.as_str();
                journal.add(&format!("T {number} {portal} {message} {status} {at}"))?;
            }
            let outcomes = match receipts.as_slice() {
                [(portal, message, status, at)] if random.u32(0..4) == 0 => {
                    let (member, at) = (member(*portal), Some(milliseconds(*at)));
                    let reference = format!("r{portal}-{message}");
                    let tracked = provider.track(reference.as_str(), &member, CODE, message);
                    let reported = tracked
                        .and_then(|()| provider.report_reference(reference.as_str(), *status, at));
                    vec![reported]
                }
                [(portal, message, status, at)] => {
                    let at = Some(milliseconds(*at));
                    vec![provider.report(&member(*portal), CODE, message, *status, at)]
                }
                many => provider.report_many(many.iter().map(|(portal, message, status, at)| {
                    Receipt::new(member(*portal), CODE, message, *status).at(milliseconds(*at))
                })),
            };
            for (at, outcome) in (first + 1..).zip(outcomes) {
                match outcome {
                    Ok(()) => journal.add(&format!("A {at}"))?,
                    Err(fault) => journal.add(&format!("E {at} {fault}"))?,
                }
            }
            std::thread::sleep(Duration::from_millis(random.u64(0..15)));
        }
    }

    /// Drains for ever, so long at a time.
    fn drainer(config: &Config, milliseconds: u64) -> Outcome<()> {
        let provider = opened(config)?;
        loop {
            if let Err(fault) = provider.drain(Duration::from_millis(milliseconds)) {
                eprintln!("drainer: {fault}");
                if !fault.is_retryable() {
                    return Err(fault.into());
                }
            }
        }
    }

    /// Uses the tokens of all portals for ever, which have to be renewed all the time.
    fn renewer(config: &Config, seed: u64) -> Outcome<()> {
        const PORTALS: u64 = 20;
        let mut random = fastrand::Rng::with_seed(seed);
        let provider = opened(config)?;
        loop {
            let client = provider.client(&member(random.u64(0..PORTALS)));
            // The portal may be held or faulty.
            let _ = client.and_then(|client| client.sender_list());
            std::thread::sleep(Duration::from_millis(random.u64(0..30)));
        }
    }

    /// Reports messages of its own, one by one. Each that was acknowledged is in the journal.
    fn report_own(
        provider: &Provider,
        journal: &mut Journal,
        prefix: &str,
        numbers: std::ops::Range<u32>,
    ) -> Outcome<()> {
        for number in numbers {
            let message = format!("{prefix}-{number}");
            match provider.report(&member(u64::from(number % 3)), CODE, &message, "sent", None) {
                Ok(()) => journal.add(&format!("A {message}"))?,
                Err(fault) => journal.add(&format!("E {} {fault}", fault.kind().name()))?,
            }
        }
        Ok(())
    }

    /// How a child ends.
    fn leave(random: &mut fastrand::Rng, provider: Provider) -> ! {
        match random.u32(0..4) {
            0 => std::process::exit(0),
            1 => provider.close(),
            2 => drop(provider),
            _ => {}
        }
        // As `_exit`: nothing is cleaned up.
        #[allow(unsafe_code, reason = "it has no precondition")]
        unsafe {
            nix::libc::_exit(0)
        }
    }

    #[allow(unsafe_code, reason = "what a host in C does")]
    fn forked() -> Outcome<ForkResult> {
        // SAFETY: the library promises to work in such a child.
        Ok(unsafe { fork() }?)
    }

    /// A master as many hosts have one: it uses the provider, and then forks children that use it at
    /// once while it goes on, and ends before them or after them.
    fn master(config: &Config, journals: &Path, seed: u64) -> Outcome<()> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut own = Journal::open(&journals.join(format!("{seed}-master")))?;
        let provider = Provider::open(config)?;
        if random.u32(0..4) > 0 {
            report_own(&provider, &mut own, &format!("{seed}-first"), 0..3)?;
        }
        let mut children = Vec::new();
        for number in 0..4 {
            let child_seed = random.u64(..);
            match forked()? {
                ForkResult::Child => {
                    let mut random = fastrand::Rng::with_seed(child_seed);
                    let name = format!("{seed}-child{number}");
                    let mut journal = Journal::open(&journals.join(&name))?;
                    report_own(&provider, &mut journal, &name, 0..8)?;
                    if random.u32(0..4) == 0 {
                        // A child has children as well.
                        match forked()? {
                            ForkResult::Child => {
                                let name = format!("{name}-child");
                                let mut journal = Journal::open(&journals.join(&name))?;
                                report_own(&provider, &mut journal, &name, 0..4)?;
                                leave(&mut random, provider);
                            }
                            ForkResult::Parent { child } => {
                                report_own(&provider, &mut journal, &name, 8..12)?;
                                waitpid(child, None)?;
                            }
                        }
                    }
                    leave(&mut random, provider);
                }
                ForkResult::Parent { child } => children.push(child),
            }
            report_own(&provider, &mut own, &format!("{seed}-after{number}"), 0..3)?;
        }
        let (close_first, last) = (random.bool(), random.u32(0..3));
        if close_first {
            provider.close();
            drop(provider);
        } else {
            report_own(&provider, &mut own, &format!("{seed}-last"), 0..last)?;
            drop(provider);
        }
        for child in children {
            waitpid(child, None)?;
        }
        Ok(())
    }

    /// Forks while another thread reports all the time. A child that cannot report says so.
    fn torn(config: &Config, journals: &Path, children: u32) -> Outcome<()> {
        let provider = Provider::open(config)?;
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| -> Outcome<()> {
            let reporting = scope.spawn(|| -> Result<(), String> {
                let journal = Journal::open(&journals.join("parent"));
                let mut journal = journal.map_err(|fault| fault.to_string())?;
                let mut number = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let reported =
                        report_own(&provider, &mut journal, "parent", number..number + 1);
                    reported.map_err(|fault| fault.to_string())?;
                    number += 1;
                    if number % 3 == 0 {
                        std::thread::sleep(Duration::from_micros(u64::from(number % 7) * 300));
                    }
                }
                Ok(())
            });
            for number in 0..children {
                std::thread::sleep(Duration::from_millis(u64::from(number % 5)));
                match forked()? {
                    ForkResult::Child => {
                        let name = format!("child{number}");
                        let mut journal = Journal::open(&journals.join(&name))?;
                        report_own(&provider, &mut journal, &name, 0..3)?;
                        #[allow(unsafe_code, reason = "it has no precondition")]
                        unsafe {
                            nix::libc::_exit(0)
                        }
                    }
                    ForkResult::Parent { child } => {
                        waitpid(child, None)?;
                    }
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            match reporting.join() {
                Ok(outcome) => Ok(outcome?),
                Err(_) => Err("a panic".into()),
            }
        })
    }
}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    hand::main()
}

#[cfg(not(unix))]
fn main() {}
