//! Each property in many schedules: random ones, and those of PCT, which finds what depends on the
//! order of a few steps.
//!
//! `B24_SCHEDULES` is how many of each, `B24_SEED` chooses others.

use b24_messageservice::schedules::{begin, keyed_queue, rate_limit, renewal};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// PCT's bound: faults that need this many steps in a certain order.
const DEPTH: usize = 3;

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number"))
    })
}

/// What is per process in the library is so here for each schedule.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn check(name: &str, property: fn()) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let schedules = usize::try_from(number("B24_SCHEDULES", 1000)).unwrap();
    let seed = number("B24_SEED", 1);
    let random = RandomScheduler::new_from_seed(seed, schedules);
    let pct = PctScheduler::new_from_seed(seed, DEPTH, schedules);
    let outcomes = [
        explore(name, "random", property, random),
        explore(name, "PCT", property, pct),
    ];
    for outcome in outcomes {
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
}

fn explore<S: Scheduler + 'static>(
    name: &str,
    how: &str,
    property: fn(),
    scheduler: S,
) -> std::thread::Result<()> {
    let mut config = Config::new();
    config.stack_size = 512 * 1024;
    config.silence_warnings = true;
    let began = Instant::now();
    let tried = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tried);
    let schedule = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        begin();
        property();
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(schedule);
    }));
    let tried = tried.load(Ordering::Relaxed);
    let found = if outcome.is_ok() {
        "held in"
    } else {
        "FAULT in the last of"
    };
    println!(
        "{name}: {found} {tried} schedules ({how}), {:.1} s",
        began.elapsed().as_secs_f64()
    );
    outcome
}

macro_rules! properties {
    ($($module:ident: $($property:ident)*;)*) => {$(
        mod $module {
            $(#[test]
            fn $property() {
                super::check(
                    concat!(stringify!($module), "::", stringify!($property)),
                    super::super::$module::$property,
                );
            })*
        }
    )*};
}

mod of {
    use super::check;

    properties! {
        keyed_queue: turns_come_in_order groups_share_keys calls_that_end_early_hold_up_nobody;
        rate_limit: requests_keep_to_the_rate a_shared_level_is_changed_by_one_at_a_time
            a_cancelled_request_gives_its_place_back a_spent_budget_is_waited_for;
        renewal: many_renew_once many_renew_and_store_once a_second_pair_is_renewed_once_too a_failure_is_told_to_all
            a_retry_is_made_for_all a_refusal_is_asked_for_once calls_that_end_early_lose_nothing
            nobody_waits_any_more;
    }
}
