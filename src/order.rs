//! Turns: calls for one message are made one after the other, in the order in which they were begun.
//!
//! A ticket stands in the queues of all its keys. The tickets that a call holds at one time are put
//! there under one lock, so that any two calls stand in the same order in every queue they share,
//! and no two can wait for each other in a circle.

use crate::wait::{Call, Event, Stop};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A hash of what must not overtake itself. Two things of one hash wait for each other
/// needlessly, which harms nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

/// The queues of one process.
#[derive(Debug, Default)]
pub(crate) struct Order {
    queues: Mutex<HashMap<Key, Queue>>,
    next_ticket: AtomicU64,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Queue {
    /// Ticket numbers; whoever is first has its turn.
    tickets: VecDeque<u64>,
    waiting: Vec<(u64, Arc<Event>)>,
}

impl Order {
    pub(crate) fn key(&self, of: impl Hash) -> Key {
        Key(self.hasher.hash_one(of))
    }

    /// Queues up for one key.
    pub(crate) fn queue_up(&self, key: Key) -> Ticket<'_> {
        self.ticket(&mut self.lock(), Keys::One(key))
    }

    /// Queues up for groups of keys, a ticket for each group. Nobody else can queue up meanwhile,
    /// so the groups should not be more than it takes a moment to go through.
    pub(crate) fn queue_up_all(&self, groups: Vec<Vec<Key>>) -> Vec<Ticket<'_>> {
        let mut queues = self.lock();
        groups
            .into_iter()
            .map(|keys| self.ticket(&mut queues, Keys::Many(keys)))
            .collect()
    }

    fn ticket(&self, queues: &mut HashMap<Key, Queue>, keys: Keys) -> Ticket<'_> {
        let number = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        for key in keys.as_slice() {
            let tickets = &mut queues.entry(*key).or_default().tickets;
            if tickets.back() != Some(&number) {
                tickets.push_back(number);
            }
        }
        Ticket {
            order: self,
            number,
            keys,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A single call has one key, and should not allocate for it.
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
pub(crate) struct Ticket<'a> {
    order: &'a Order,
    number: u64,
    keys: Keys,
}

impl Ticket<'_> {
    /// Waits until it is this ticket's turn for every one of its keys.
    pub(crate) fn wait(&self, call: &Call) -> Result<(), Stop> {
        self.keys
            .as_slice()
            .iter()
            .try_for_each(|key| self.wait_for(*key, call))
    }

    fn wait_for(&self, key: Key, call: &Call) -> Result<(), Stop> {
        let event = {
            let mut queues = self.order.lock();
            let Some(queue) = queues.get_mut(&key) else {
                return Ok(());
            };
            if queue.tickets.front() == Some(&self.number) {
                return Ok(());
            }
            let event = Event::new().map_err(|_| Stop::NoDescriptor)?;
            queue.waiting.push((self.number, Arc::clone(&event)));
            event
        };
        let outcome = loop {
            match call.wait(&event, call.deadline) {
                Ok(true) => break Ok(()),
                Ok(false) => {}
                Err(stop) => break Err(stop),
            }
        };
        if let Some(queue) = self.order.lock().get_mut(&key) {
            queue.waiting.retain(|(number, _)| *number != self.number);
        }
        outcome
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queues = self.order.lock();
        for key in self.keys.as_slice() {
            let Some(queue) = queues.get_mut(key) else {
                continue;
            };
            queue.tickets.retain(|number| *number != self.number);
            let Some(first) = queue.tickets.front() else {
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
