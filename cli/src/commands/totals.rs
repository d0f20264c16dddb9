//! What the store has for all portals together.

use b24_messageservice::PortalState;
use std::time::Duration;

/// What holds for all portals together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) portals: u64,
    /// Held ones included.
    pub(super) waiting: u64,
    /// Those of portals that are held.
    pub(super) held: u64,
    pub(super) refused: u64,
    pub(super) oldest: Option<Duration>,
    pub(super) next_due: Option<Duration>,
}

impl Totals {
    pub(super) fn of(portals: &[PortalState]) -> Self {
        let mut totals = Self::default();
        for portal in portals {
            totals.portals += 1;
            totals.waiting += portal.waiting;
            totals.refused += portal.refused;
            if is_held(portal) {
                totals.held += portal.waiting;
            }
            totals.oldest = totals.oldest.max(portal.oldest);
            totals.next_due = match (totals.next_due, portal.next_due) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        totals
    }
}

pub(super) fn is_held(portal: &PortalState) -> bool {
    portal.state == "held"
}
