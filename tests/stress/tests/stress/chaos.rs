use b24_messageservice::{Client, Error, Status, Update};
use b24_stress::{CODE, Fixture, RENEWAL};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const THREADS: u64 = 8;

/// How many calls are made in all; `B24_CHAOS_CALLS` changes it.
fn call_count() -> usize {
    let named = std::env::var("B24_CHAOS_CALLS").ok();
    named.and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

const STATUSES: [Status; 5] = [
    Status::Queued,
    Status::Sent,
    Status::Delivered,
    Status::Undelivered,
    Status::Failed,
];

/// The faults of the network and the portal, and how often each occurs in five thousand requests.
/// Renewals have no faults that lose an issued pair on its way, because nobody could get that back.
fn faults(random: &mut fastrand::Rng) -> Vec<Value> {
    let kinds = [
        (60, json!({"kind": "drop_before"})),
        (60, json!({"kind": "drop_after"})),
        (60, json!({"kind": "reset_before"})),
        (60, json!({"kind": "reset_after"})),
        (100, json!({"kind": "close_idle"})),
        (50, json!({"kind": "truncated"})),
        (50, json!({"kind": "garbage"})),
        (30, json!({"kind": "wrong_json"})),
        (50, json!({"kind": "status", "status": 502})),
        (
            30,
            json!({"kind": "error", "status": 500, "error": "INTERNAL_SERVER_ERROR"}),
        ),
        (
            30,
            json!({"kind": "error", "status": 503, "error": "QUERY_LIMIT_EXCEEDED"}),
        ),
        (
            30,
            json!({"kind": "error", "status": 403, "error": "ACCESS_DENIED"}),
        ),
        (20, json!({"kind": "error_200", "error": "SOMETHING_NEW"})),
        (20, json!({"kind": "drip", "ms_per_byte": 1})),
        (15, json!({"kind": "expire"})),
        (6, json!({"kind": "hang"})),
        (6, json!({"kind": "hang_after"})),
    ];
    let pick = |random: &mut fastrand::Rng| {
        let mut at = random.u32(0..5_000);
        for (share, kind) in &kinds {
            match at.checked_sub(*share) {
                None => return kind.clone(),
                Some(rest) => at = rest,
            }
        }
        json!({"kind": "ok"})
    };
    let mut faults = vec![
        json!({"at": "oauth", "kind": "drop_before", "count": 2}),
        json!({"at": "oauth", "kind": "ok", "count": 2}),
        json!({"at": "oauth", "kind": "status", "status": 502}),
    ];
    for _ in 0..call_count() {
        let mut fault = pick(random);
        fault["at"] = json!(if random.u32(0..10) == 0 {
            "batch"
        } else {
            "update"
        });
        faults.push(fault);
    }
    faults
}

/// The results of the calls for one message.
#[derive(Default)]
struct Told {
    /// The last status whose call succeeded, and those whose calls have failed since: a failed
    /// call's status may have been stored or not.
    possible: Vec<Status>,
}

impl Told {
    fn note(&mut self, status: Status, outcome: &Result<(), Error>) {
        if outcome.is_ok() {
            self.possible.clear();
        }
        self.possible.push(status);
    }
}

/// The calls of one thread, for messages of its own: their results, and the failures by kind.
fn calls(client: &Client, thread: u64) -> (HashMap<String, Told>, BTreeMap<&'static str, u32>) {
    let mut random = fastrand::Rng::with_seed(thread);
    let mut told: HashMap<String, Told> = HashMap::new();
    let mut failures = BTreeMap::new();
    let mut left = call_count() / usize::try_from(THREADS).expect("a small number");
    while left > 0 {
        left -= 1;
        let amount = if random.u32(0..10) == 0 { 20 } else { 1 };
        let mut ids: Vec<u32> = (0..100).collect();
        random.shuffle(&mut ids);
        let updates: Vec<(String, Status)> = ids
            .into_iter()
            .take(amount)
            .map(|id| {
                (
                    format!("m{thread}-{id}"),
                    STATUSES[random.usize(0..STATUSES.len())],
                )
            })
            .collect();
        let outcomes = match updates.as_slice() {
            [(id, status)] => vec![client.message_status_update(CODE, id, status)],
            many => client.message_status_update_batch(
                many.iter()
                    .map(|(id, status)| Update::new(CODE, id, status)),
            ),
        };
        assert_eq!(outcomes.len(), updates.len());
        for ((id, status), outcome) in updates.into_iter().zip(outcomes) {
            told.entry(id).or_default().note(status, &outcome);
            if let Err(fault) = outcome {
                *failures.entry(fault.kind().name()).or_default() += 1;
            }
        }
    }
    (told, failures)
}

#[test]
fn the_portal_has_what_callers_were_told() {
    let seed = std::env::var("B24_CHAOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(3);
    let fixture = Fixture::new(&json!({"log": 0}));
    fixture.fault(&Value::Array(faults(&mut fastrand::Rng::with_seed(seed))));
    let mut options = RENEWAL.to_vec();
    options.push(("timeout_ms", "2000"));
    let client = fixture.client(&options);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let client = &client;
                scope.spawn(move || calls(client, seed * THREADS + thread))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let messages = fixture.portal.messages();
    let mut failures: BTreeMap<&str, u32> = BTreeMap::new();
    let mut checked = 0;
    for (told, failed) in outcomes {
        for (id, told) in told {
            let status = messages[format!("{CODE}|{id}")]
                .as_str()
                .unwrap_or_default();
            let possible: Vec<_> = told.possible.iter().map(|status| status.as_str()).collect();
            assert!(
                possible.contains(&status),
                "{id} is {status:?}, not one of {possible:?}"
            );
            checked += 1;
        }
        for (kind, number) in failed {
            *failures.entry(kind).or_default() += number;
        }
    }
    let counts = fixture.portal.seen();
    println!(
        "seed {seed}: {checked} messages as told; {} requests, {} renewals; failures reported: {failures:?}",
        counts.requests, counts.renewals
    );
    assert_eq!(counts.spent_tokens, 0);
    assert_eq!(counts.bad, Vec::<String>::new());
    assert!(
        counts.renewals > 0 && !failures.is_empty(),
        "the chaos was none"
    );
}
