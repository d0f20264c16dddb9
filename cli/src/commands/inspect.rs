//! `inspect`: what waits in the store.

use super::prometheus;
use super::totals::Totals;
use crate::exit::{self, Failure};
use crate::opened::Opening;
use crate::output::{Output, plain};
use crate::time;
use b24_messageservice::PortalState;
use clap::ArgMatches;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn run(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let portals = opening.provider()?.inspect()?;
    let totals = Totals::of(&portals);
    let shown = if matches.get_flag("totals") {
        &[][..]
    } else {
        &portals
    };
    let mut output = Output::new();
    if matches.get_flag("prometheus") {
        prometheus::write(&portals, shown, &totals, &mut |line| output.line(line))?;
    } else if matches.get_flag("json") {
        output.json(&object(shown, &totals))?;
    } else {
        for line in table(shown, &totals) {
            output.line(&line)?;
        }
    }
    output.flush()?;
    Ok(exit::OK)
}

fn seconds(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| json!(duration.as_secs_f64()))
}

fn object(portals: &[PortalState], totals: &Totals) -> Value {
    let portals: Vec<_> = portals
        .iter()
        .map(|portal| {
            json!({
                "member_id": portal.member_id,
                "client_endpoint": portal.client_endpoint,
                "state": portal.state,
                "reason": portal.reason,
                "waiting": portal.waiting,
                "refused": portal.refused,
                "oldest_seconds": seconds(portal.oldest),
                "next_due_seconds": seconds(portal.next_due),
            })
        })
        .collect();
    json!({
        "totals": {
            "portals": totals.portals,
            "waiting": totals.waiting,
            "held": totals.held,
            "refused": totals.refused,
            "oldest_seconds": seconds(totals.oldest),
            "next_due_seconds": seconds(totals.next_due),
        },
        "portals": portals,
    })
}

fn table(portals: &[PortalState], totals: &Totals) -> Vec<String> {
    let time = |duration: Option<Duration>| duration.map_or("-".to_owned(), time::shown);
    let mut rows = vec![
        [
            "PORTAL", "STATE", "WAITING", "REFUSED", "OLDEST", "DUE IN", "ADDRESS", "REASON",
        ]
        .map(str::to_owned),
    ];
    rows.extend(portals.iter().map(|portal| {
        [
            plain(&portal.member_id),
            portal.state.to_owned(),
            portal.waiting.to_string(),
            portal.refused.to_string(),
            time(portal.oldest),
            time(portal.next_due),
            plain(&portal.client_endpoint),
            plain(&portal.reason),
        ]
    }));
    rows.push([
        format!("{} portals", totals.portals),
        format!("{} held", totals.held),
        totals.waiting.to_string(),
        totals.refused.to_string(),
        time(totals.oldest),
        time(totals.next_due),
        String::new(),
        String::new(),
    ]);
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.into_iter()
        .map(|row| {
            let cells: Vec<_> = row
                .into_iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}
