//! Turns: one at a time for each key, in their order, and nobody waits for ever.

use super::{LONG, Thread, call, canceller, passing, patient, run};
use crate::process::cancellation::{CancelSource, Interrupt};
use crate::process::keyed_queue::{Key, KeyedQueues, queues};
use crate::process::per_process::Process;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

const SHORT: Duration = Duration::from_secs(1);

/// What the turns of one schedule have seen.
#[derive(Default)]
struct Seen {
    /// Locked while a turn is taken, so that the order of the turns is known.
    taking: Mutex<usize>,
    inside: [AtomicUsize; 3],
    order: Mutex<Vec<usize>>,
}

impl Seen {
    /// Nobody else is inside for any of these keys.
    fn go_in(&self, keys: &[usize]) {
        for key in keys {
            assert_eq!(
                self.inside[*key].swap(1, Ordering::SeqCst),
                0,
                "two at a time"
            );
        }
        shuttle::thread::yield_now();
        for key in keys {
            self.inside[*key].store(0, Ordering::SeqCst);
        }
    }
}

fn keys(queues: &KeyedQueues) -> [Key; 3] {
    [0, 1, 2].map(|key| queues.key(key))
}

/// Nobody is in any queue any more.
fn all_are_empty(queues: &KeyedQueues) {
    let nobody = call(&Arc::new(CancelSource::new(None)), Duration::ZERO);
    let turns = queues.queue_up_all(vec![keys(queues).to_vec()]);
    assert_eq!(
        turns[0].wait(&nobody),
        Ok(()),
        "somebody is left in a queue"
    );
}

/// Turns for one key come one at a time, in the order in which they were taken, and all come.
pub fn turns_come_in_order() {
    let queues = queues(&Process::current());
    let seen = Arc::new(Seen::default());
    let threads = (0..3).map(|_| {
        let (queues, seen) = (queues.clone(), Arc::clone(&seen));
        let thread = move || {
            let call = patient();
            for _ in 0..2 {
                let (number, turn) = {
                    let mut taking = seen.taking.lock().unwrap();
                    *taking += 1;
                    (*taking, queues.queue_up(keys(&queues)[0]))
                };
                assert_eq!(turn.wait(&call), Ok(()), "a turn did not come");
                seen.go_in(&[0]);
                seen.order.lock().unwrap().push(number);
            }
        };
        Box::new(thread) as Thread
    });
    run(threads.collect());
    assert!(seen.order.lock().unwrap().is_sorted(), "not in their order");
    all_are_empty(&queues);
}

/// Calls that share several keys do not wait for each other in a circle.
pub fn groups_share_keys() {
    let queues = queues(&Process::current());
    let seen = Arc::new(Seen::default());
    let groups: [&[&[usize]]; 4] = [&[&[0, 1], &[2]], &[&[1, 0]], &[&[2, 1], &[0]], &[&[0]]];
    let threads = groups.map(|groups| {
        let (queues, seen) = (queues.clone(), Arc::clone(&seen));
        let thread = move || {
            let call = patient();
            let keys = keys(&queues);
            let of = |group: &&[usize]| group.iter().map(|key| keys[*key]).collect();
            let mut turns = queues.queue_up_all(groups.iter().map(of).collect());
            for group in groups {
                let turn = turns.remove(0);
                assert_eq!(turn.wait(&call), Ok(()), "a turn did not come");
                seen.go_in(group);
            }
        };
        Box::new(thread) as Thread
    });
    run(threads.into());
    all_are_empty(&queues);
}

/// One call is cancelled and one's deadline passes, at any moment: all others get their turns.
pub fn calls_that_end_early_hold_up_nobody() {
    let queues = queues(&Process::current());
    let seen = Arc::new(Seen::default());
    let cancelled = Arc::new(CancelSource::new(None));
    let calls = [
        (Arc::new(CancelSource::new(None)), LONG, None),
        (Arc::clone(&cancelled), LONG, Some(Interrupt::Cancelled)),
        (
            Arc::new(CancelSource::new(None)),
            SHORT,
            Some(Interrupt::Deadline),
        ),
        (Arc::new(CancelSource::new(None)), LONG, None),
    ];
    let threads = calls.map(|(cancel, timeout, may_end)| {
        let (queues, seen) = (queues.clone(), Arc::clone(&seen));
        let thread = move || {
            let call = call(&cancel, timeout);
            let turn = queues.queue_up(keys(&queues)[0]);
            match turn.wait(&call) {
                Ok(()) => seen.go_in(&[0]),
                Err(interrupt) => assert_eq!(Some(interrupt), may_end),
            }
        };
        Box::new(thread) as Thread
    });
    let mut threads = Vec::from(threads);
    threads.extend([canceller(&cancelled), passing(SHORT)]);
    run(threads);
    all_are_empty(&queues);
}
