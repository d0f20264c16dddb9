//! The clock of a store on one machine.

use super::system;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of a store: the time since the machine was started, and an offset that all processes
/// take from the store. So a wrong clock, or one that is set while the machine runs, does not move
/// leases and waits.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreClock {
    boot: String,
    offset: i64,
}

impl StoreClock {
    /// A clock of this machine, at the first use since its start. It does not go back behind what
    /// is in the store already.
    pub(super) fn started_at(newest: i64, boot: &str) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .unwrap_or_default();
        Self {
            boot: boot.to_owned(),
            offset: wall.max(newest) - since_boot(),
        }
    }

    /// The stored clock, if it is of the present start of the machine.
    pub(super) fn read(text: &str, boot: &str) -> Option<Self> {
        let (stored, offset) = text.split_once(' ')?;
        system::is_same_boot(stored, boot).then_some(Self {
            boot: boot.to_owned(),
            offset: offset.parse().ok()?,
        })
    }

    pub(super) fn now(&self) -> i64 {
        since_boot().saturating_add(self.offset)
    }
}

impl fmt::Display for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.boot, self.offset)
    }
}

/// Milliseconds since the machine was started, sleep included.
fn since_boot() -> i64 {
    i64::try_from(system::since_boot().as_millis()).unwrap_or(i64::MAX)
}
