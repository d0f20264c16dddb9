//! The messages of one portal, and the statuses that they were told.

use std::collections::{BTreeMap, HashSet, VecDeque};

/// Statuses of one message that are remembered; the oldest go first.
const MAX_HISTORY: usize = 1000;

/// The messages of a portal, by `CODE|MESSAGE_ID`.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    told: BTreeMap<String, Message>,
    /// Those that the portal sent to a handler: they exist whatever the settings say.
    sent: HashSet<String>,
}

/// A message that has a status.
#[derive(Debug)]
struct Message {
    /// The portal's own number of it, counted from 1.
    number: u64,
    statuses: VecDeque<&'static str>,
}

impl Messages {
    /// Notes that the portal sent this message to a handler.
    pub(crate) fn note_sent(&mut self, key: String) {
        self.sent.insert(key);
    }

    /// Whether the portal sent this message to a handler.
    pub(crate) fn was_sent(&self, key: &str) -> bool {
        self.sent.contains(key)
    }

    pub(crate) fn store(&mut self, key: String, status: &'static str) {
        let number = self.told.len() as u64 + 1;
        let message = self.told.entry(key).or_insert_with(|| Message {
            number,
            statuses: VecDeque::new(),
        });
        if message.statuses.len() >= MAX_HISTORY {
            message.statuses.pop_front();
        }
        message.statuses.push_back(status);
    }

    /// Whether no message was told a status.
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The present status of the message that has this number.
    pub(crate) fn by_number(&self, number: u64) -> Option<&'static str> {
        let message = self
            .told
            .values()
            .find(|message| message.number == number)?;
        message.statuses.back().copied()
    }

    /// The present status of each message, and `history` with all of each.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut all = serde_json::Map::new();
        let mut history = serde_json::Map::new();
        for (key, message) in &self.told {
            if let Some(status) = message.statuses.back() {
                all.insert(key.clone(), (*status).into());
            }
            history.insert(key.clone(), message.statuses.iter().copied().collect());
        }
        all.insert("history".into(), history.into());
        all.into()
    }
}
