//! The rate limit: never more requests than the portal accepts, and nobody waits longer than needed.

use super::shared::Shared;
use super::{LONG, Thread, call, canceller, patient, run};
use crate::engine::rate_limit::{BudgetKey, RateLimit, RateRequest, limits};
use crate::process::cancellation::{CallContext, CancelSource};
use crate::process::per_process::Process;
use crate::process::sync;
use crate::store::token_store::Store;
use crate::values::address::Origin;
use crate::values::error::{Error, ErrorKind};
use crate::values::rate::Rate;
use shuttle::sync::Mutex;
use std::sync::Arc;
use std::time::Duration;

const RATE: Rate = Rate {
    burst: 2.0,
    drain: 1.0,
};
/// How much smaller the burst is that is used, since the portal may count later.
const LAG: f64 = 0.05;
/// Of sums of floating point numbers.
const ALMOST: f64 = 1e-6;

/// A portal, and when requests were sent to it.
struct Portal {
    origin: Origin,
    limit: Arc<RateLimit>,
    store: Option<Shared>,
    sent: Mutex<Vec<f64>>,
}

impl Portal {
    fn new(store: Option<Shared>) -> Arc<Self> {
        let origin = Origin::parse("https://portal.bitrix24.com").unwrap();
        Arc::new(Self {
            limit: limits(&Process::current()).get(&origin),
            origin,
            store,
            sent: Mutex::default(),
        })
    }

    fn take(&self, call: &CallContext) -> Result<(), Error> {
        let process = Process::current();
        let request = RateRequest {
            portal: &self.origin,
            rate: Some(RATE),
            store: self.store.as_ref().map(|store| store as &dyn Store),
            process: &process,
            call,
            budget: BudgetKey::new("app.1", 1, "update"),
        };
        self.limit.take(request)?;
        self.sent.lock().unwrap().push(sync::passed().as_secs_f64());
        Ok(())
    }

    /// However long the portal takes the time between two requests, it accepts both.
    fn accepts_all(&self, requests: usize) {
        let mut sent = self.sent.lock().unwrap().clone();
        sent.sort_by(f64::total_cmp);
        assert_eq!(sent.len(), requests);
        let mut level = 0.0_f64;
        let mut before = 0.0;
        for at in &sent {
            level = (level - RATE.drain * (at - before)).max(0.0) + 1.0;
            before = *at;
            assert!(level <= RATE.burst + ALMOST, "too many requests: {sent:?}");
        }
    }
}

fn takers(portal: &Arc<Portal>, threads: usize, each: usize) -> Vec<Thread> {
    let take = |_| {
        let portal = Arc::clone(portal);
        let thread = move || {
            for _ in 0..each {
                portal.take(&patient()).unwrap();
            }
        };
        Box::new(thread) as Thread
    };
    (0..threads).map(take).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a few requests")]
fn no_more_than_the_rate_and_no_less(portal: &Arc<Portal>) {
    run(takers(portal, 3, 2));
    portal.accepts_all(6);
    let last = portal
        .sent
        .lock()
        .unwrap()
        .iter()
        .copied()
        .fold(0.0, f64::max);
    let at_the_latest = (6.0 - (RATE.burst - LAG)) / RATE.drain;
    assert!(
        last <= at_the_latest + ALMOST,
        "the last one waited until {last}"
    );
}

/// The portal accepts every request, and its bucket drains at the full rate.
pub fn requests_keep_to_the_rate() {
    no_more_than_the_rate_and_no_less(&Portal::new(None));
}

/// The same with a level that processes share, which one thread at a time may change.
pub fn a_shared_level_is_changed_by_one_at_a_time() {
    no_more_than_the_rate_and_no_less(&Portal::new(Some(Shared::default())));
}

/// A request that is cancelled while it waits gives its place back: the next does not wait for it.
pub fn a_cancelled_request_gives_its_place_back() {
    let portal = Portal::new(None);
    let cancelled = Arc::new(CancelSource::new(None));
    let mut threads = takers(&portal, 2, 1);
    let ended_early = Arc::new(Mutex::new(false));
    let (ends, taker, source) = (
        Arc::clone(&ended_early),
        Arc::clone(&portal),
        Arc::clone(&cancelled),
    );
    threads.push(Box::new(move || {
        if let Err(error) = taker.take(&call(&source, LONG)) {
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            *ends.lock().unwrap() = true;
        }
    }));
    threads.push(canceller(&cancelled));
    run(threads);
    let others = 3 - usize::from(*ended_early.lock().unwrap());
    let began = sync::passed();
    run(takers(&portal, 1, 1));
    portal.accepts_all(others + 1);
    let waited = sync::passed() - began;
    let one_more = Duration::from_secs_f64(1.0 / RATE.drain + LAG + ALMOST);
    assert!(
        waited <= one_more,
        "waited {waited:?} for a place that nobody uses"
    );
}

/// Nobody sends before the time budget is there again.
pub fn a_spent_budget_is_waited_for() {
    let portal = Portal::new(None);
    let spender = Arc::clone(&portal);
    let noted = Arc::new(Mutex::new(false));
    let notes = Arc::clone(&noted);
    let mut threads: Vec<Thread> = vec![Box::new(move || {
        let key = BudgetKey::new("app.1", 1, "update");
        spender.limit.note_reset(key, Some(Duration::from_secs(60)));
        assert!(spender.limit.note_spent(key).is_some());
        *notes.lock().unwrap() = true;
    })];
    let taker = Arc::clone(&portal);
    threads.push(Box::new(move || {
        let is_spent = *noted.lock().unwrap();
        taker.take(&patient()).unwrap();
        assert!(!is_spent || sync::passed() >= Duration::from_secs(60));
    }));
    run(threads);
}
