//! The process under measurement: makes the calls that a test asks for, and reports in JSON.
//!
//! usage: b24-stress-worker WORK COUNT [NAME=VALUE ...]

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use b24_messageservice::{Client, Status, Update};
use b24_stress::{CODE, Usage, client, config};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;
type Options = Vec<(String, String)>;

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: b24-stress-worker WORK COUNT [NAME=VALUE ...]";
    let work = words.next().ok_or(usage)?;
    let count: u32 = words.next().ok_or(usage)?.parse()?;
    let options: Options = words
        .filter_map(|word| Some(word.split_once('=')?).map(|(n, v)| (n.to_owned(), v.to_owned())))
        .collect();
    let report = match work.as_str() {
        "calls" => calls(count, &options)?,
        "clients" => clients(count, &options)?,
        "shared" => shared(count, &options)?,
        "threads" => threads(count, &options)?,
        "names" => names(count, &options)?,
        "batches" => batches(count, &options)?,
        "batch" => batch(count, &options)?,
        "one" => one(&options)?,
        _ => return Err(usage.into()),
    };
    println!("{report}");
    Ok(())
}

/// Reports that everything is prepared, and waits for the signal to begin.
fn wait_to_go() -> io::Result<()> {
    println!("ready");
    io::stdin().read_line(&mut String::new()).map(drop)
}

fn call(client: &Client, message_id: &str) -> Outcome<()> {
    Ok(client.message_status_update(CODE, message_id, Status::Delivered)?)
}

/// Calls one after the other; growth is counted from the first hundredth on.
fn calls(count: u32, options: &Options) -> Outcome<Value> {
    let client = client(options)?;
    wait_to_go()?;
    let warm = (count / 100).max(1);
    for _ in 0..warm {
        call(&client, "m1")?;
    }
    let before = Usage::now()?;
    for _ in warm..count {
        call(&client, "m1")?;
    }
    Ok(growth(before, Usage::now()?))
}

/// Clients of that many portals, all kept.
fn clients(count: u32, options: &Options) -> Outcome<Value> {
    let mut config = config(options)?;
    let first = Client::new(&config)?;
    wait_to_go()?;
    let before = Usage::now()?;
    let started = Instant::now();
    let mut kept = Vec::with_capacity(usize::try_from(count)?);
    for number in 0..count {
        config.set("portal", &format!("portal{number}.bitrix24.test"))?;
        config.set("access_token", &format!("access-of-portal-{number:016}"))?;
        kept.push(Client::new(&config)?);
    }
    let each = started.elapsed() / count;
    let growth = growth(before, Usage::now()?);
    drop((first, kept));
    Ok(json!({"growth": growth, "microseconds": each.as_secs_f64() * 1e6}))
}

/// Shared clients of that many access tokens, each used once and dropped.
fn shared(count: u32, options: &Options) -> Outcome<Value> {
    let mut config = config(options)?;
    let mut run = |numbers: std::ops::Range<u32>| -> Outcome<()> {
        for number in numbers {
            config.set("access_token", &format!("access-of-event-{number:016}"))?;
            call(&Client::shared(&config)?, "m1")?;
        }
        Ok(())
    };
    wait_to_go()?;
    let warm = count / 100;
    run(0..warm)?;
    let before = Usage::now()?;
    run(warm..count)?;
    Ok(growth(before, Usage::now()?))
}

/// One call in each thread, all over one client.
fn threads(count: u32, options: &Options) -> Outcome<Value> {
    let client = client(options)?;
    wait_to_go()?;
    let outcomes: Vec<Option<String>> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..count)
            .map(|number| {
                let client = &client;
                scope.spawn(move || {
                    let id = format!("m{number}");
                    let outcome = client.message_status_update(CODE, &id, Status::Delivered);
                    outcome.err().map(|fault| fault.to_string())
                })
            })
            .collect();
        let panicked = || Some("a panic".to_owned());
        calls
            .into_iter()
            .map(|call| call.join().unwrap_or_else(|_| panicked()))
            .collect()
    });
    let faults: Vec<_> = outcomes.into_iter().flatten().collect();
    Ok(json!({"faults": faults, "access_token": client.tokens().access_token()}))
}

/// Three rounds of parallel calls. `{n}` in the portal's name is the number of the call. Reports
/// how they ended, and how many threads they left.
fn names(count: u32, options: &Options) -> Outcome<Value> {
    let clients: Vec<Client> = (0..count)
        .map(|number| {
            let mut options = options.clone();
            for (_, value) in &mut options {
                *value = value.replace("{n}", &number.to_string());
            }
            client(&options)
        })
        .collect::<Result<_, _>>()?;
    wait_to_go()?;
    let before = Usage::now()?.threads;
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..3 {
        let kinds: Vec<&str> = std::thread::scope(|scope| {
            let calls: Vec<_> = clients
                .iter()
                .enumerate()
                .map(|(number, client)| {
                    scope.spawn(move || {
                        let id = format!("m{number}");
                        let outcome = client.message_status_update(CODE, &id, Status::Sent);
                        outcome.map_or_else(|fault| fault.kind().name(), |()| "OK")
                    })
                })
                .collect();
            let calls = calls.into_iter();
            calls.map(|call| call.join().unwrap_or("PANIC")).collect()
        });
        for kind in kinds {
            *outcomes.entry(kind).or_default() += 1;
        }
    }
    let left = Usage::now()?.threads - before;
    Ok(json!({"outcomes": outcomes, "threads": left}))
}

/// Batches of 50.
fn batches(count: u32, options: &Options) -> Outcome<Value> {
    let client = client(options)?;
    wait_to_go()?;
    let mut faults = Vec::new();
    for batch in 0..count {
        let updates = (0..50).map(|at| {
            Update::new(
                CODE,
                format!("m{}-{batch}-{at}", std::process::id()),
                Status::Sent,
            )
        });
        let outcomes = client.message_status_update_batch(updates);
        faults.extend(
            outcomes
                .into_iter()
                .filter_map(Result::err)
                .map(|f| f.to_string()),
        );
    }
    Ok(json!({"faults": faults}))
}

/// One batch of that many updates, while another thread makes calls. Reports how the updates ended
/// and after how long, the peak of memory, and the longest of the other calls.
fn batch(count: u32, options: &Options) -> Outcome<Value> {
    let client = client(options)?;
    let updates: Vec<Update> = (0..count)
        .map(|number| Update::new(CODE, format!("m{number}"), Status::Sent))
        .collect();
    let mut of_other = options.clone();
    of_other.push(("rate_limit".to_owned(), "off".to_owned()));
    let other = b24_stress::client(&of_other)?;
    call(&other, "warm")?;
    wait_to_go()?;
    let before = Usage::now()?.resident;
    let done = AtomicBool::new(false);
    let (outcomes, took, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                let _ = other.message_status_update(CODE, "other", Status::Sent);
                times.push(started.elapsed());
            }
            times
        });
        let started = Instant::now();
        let outcomes = client.message_status_update_batch(updates);
        let took = started.elapsed();
        done.store(true, Ordering::Relaxed);
        (outcomes, took, others.join().unwrap_or_default())
    });
    let peak = b24_stress::peak()? - before;
    let mut kinds = BTreeMap::<_, u32>::new();
    for outcome in &outcomes {
        let kind = outcome.as_ref().err().map_or("OK", |e| e.kind().name());
        *kinds.entry(kind).or_default() += 1;
    }
    Ok(json!({
        "kinds": kinds,
        "milliseconds": took.as_secs_f64() * 1000.0,
        "peak": peak,
        "others": others.len(),
        "slowest": others.iter().max().map_or(0.0, |time| time.as_secs_f64() * 1000.0),
    }))
}

/// A single call. Reports how it ended, and after how long.
fn one(options: &Options) -> Outcome<Value> {
    let client = client(options)?;
    wait_to_go()?;
    let started = Instant::now();
    let outcome = client.message_status_update(CODE, "m1", Status::Sent);
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    let kind = outcome.map_or_else(|fault| fault.kind().name(), |()| "OK");
    Ok(json!({"kind": kind, "milliseconds": milliseconds}))
}

fn growth(before: Usage, after: Usage) -> Value {
    json!({
        "resident": after.resident - before.resident,
        "descriptors": after.descriptors - before.descriptors,
        "threads": after.threads - before.threads,
    })
}
