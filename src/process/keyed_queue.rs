//! Turns: calls for one message are made one after the other, in the order in which they were begun.
//!
//! A turn is in the queues of all its keys. All turns that a call takes at one time are added under
//! one lock. So any two calls are in the same order in every queue that they share, and cannot wait
//! for each other in a circle.

use super::cancellation::{CallContext, Event, Interrupt};
use super::per_process::{Local, PerProcess, Process};
use super::sync::atomic::{AtomicU64, Ordering};
use super::sync::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, PoisonError};

/// The queues of this process.
pub(crate) fn queues(process: &Arc<Process>) -> Local<KeyedQueues> {
    static QUEUES: PerProcess<KeyedQueues> = PerProcess::new();
    QUEUES.of(process)
}

/// The key of a queue: a hash, such as that of a message. Two messages with the same hash wait for
/// each other without need, which does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

/// The queues of one process.
#[derive(Debug, Default)]
pub(crate) struct KeyedQueues {
    queues: Mutex<HashMap<Key, Queue>>,
    next_turn: AtomicU64,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Queue {
    /// The numbers of the waiting turns; it is the turn of the first.
    turns: VecDeque<u64>,
    waiting: Vec<(u64, Arc<Event>)>,
}

impl KeyedQueues {
    pub(crate) fn key(&self, of: impl Hash) -> Key {
        Key(self.hasher.hash_one(of))
    }

    /// Takes a turn for one key.
    pub(crate) fn queue_up(&self, key: Key) -> Turn<'_> {
        self.turn(&mut self.lock(), Keys::One(key))
    }

    /// Takes turns for groups of keys, one turn for each group. Nobody else can take a turn in the
    /// meantime, so there should not be too many groups.
    pub(crate) fn queue_up_all(&self, groups: Vec<Vec<Key>>) -> Vec<Turn<'_>> {
        let mut queues = self.lock();
        groups
            .into_iter()
            .map(|keys| self.turn(&mut queues, Keys::Many(keys)))
            .collect()
    }

    fn turn(&self, queues: &mut HashMap<Key, Queue>, keys: Keys) -> Turn<'_> {
        let number = self.next_turn.fetch_add(1, Ordering::Relaxed);
        for key in keys.as_slice() {
            let turns = &mut queues.entry(*key).or_default().turns;
            if turns.back() != Some(&number) {
                turns.push_back(number);
            }
        }
        Turn {
            queues: self,
            number,
            keys,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A single call has one key, which needs no allocation.
#[derive(Debug)]
enum Keys {
    One(Key),
    Many(Vec<Key>),
}

impl Keys {
    fn as_slice(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

/// A place in the queues of its keys, given up when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    queues: &'a KeyedQueues,
    number: u64,
    keys: Keys,
}

impl Turn<'_> {
    /// Waits until the turn has come for every one of its keys.
    pub(crate) fn wait(&self, call: &CallContext) -> Result<(), Interrupt> {
        self.keys
            .as_slice()
            .iter()
            .try_for_each(|key| self.wait_for(*key, call))
    }

    fn wait_for(&self, key: Key, call: &CallContext) -> Result<(), Interrupt> {
        let event = {
            let mut queues = self.queues.lock();
            let Some(queue) = queues.get_mut(&key) else {
                return Ok(());
            };
            if queue.turns.front() == Some(&self.number) {
                return Ok(());
            }
            let event = Event::new().map_err(|_| Interrupt::NoDescriptor)?;
            queue.waiting.push((self.number, Arc::clone(&event)));
            event
        };
        let outcome = loop {
            match call.wait(&event, call.deadline) {
                Ok(true) => break Ok(()),
                Ok(false) => {}
                Err(interrupt) => break Err(interrupt),
            }
        };
        if let Some(queue) = self.queues.lock().get_mut(&key) {
            queue.waiting.retain(|(number, _)| *number != self.number);
        }
        outcome
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        for key in self.keys.as_slice() {
            let Some(queue) = queues.get_mut(key) else {
                continue;
            };
            queue.turns.retain(|number| *number != self.number);
            let Some(first) = queue.turns.front() else {
                queues.remove(key);
                continue;
            };
            for (number, event) in &queue.waiting {
                if number == first {
                    event.notify();
                }
            }
        }
    }
}
