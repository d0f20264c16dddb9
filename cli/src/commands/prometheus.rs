//! The metrics of `inspect --prometheus`, in the text format of Prometheus.

use super::totals::{Totals, is_held};
use crate::exit::Failure;
use b24_messageservice::PortalState;
use std::time::Duration;

/// Each state of a portal. One that is not among them counts as unknown.
const STATES: [&str; 5] = ["active", "waiting", "held", "uninstalled", "unknown"];

type Line<'a> = &'a mut dyn FnMut(&str) -> Result<(), Failure>;
/// What a metric is for a portal; none if it has no value.
type Value = fn(&PortalState) -> Option<String>;

/// Writes the totals over `all`, and metrics for each portal that is `shown`.
pub(super) fn write(
    all: &[PortalState],
    shown: &[PortalState],
    totals: &Totals,
    line: Line<'_>,
) -> Result<(), Failure> {
    head(
        line,
        "b24_portals",
        "Portals that the store knows, by state.",
    )?;
    for state in STATES {
        let is_last = state == "unknown";
        let count = all
            .iter()
            .filter(|portal| portal.state == state || (is_last && !STATES.contains(&portal.state)))
            .count();
        line(&format!("b24_portals{{state=\"{state}\"}} {count}"))?;
    }
    for (name, help, value) in [
        (
            "b24_receipts_waiting",
            "Receipts that are not sent yet, held ones included.",
            Some(totals.waiting.to_string()),
        ),
        (
            "b24_receipts_held",
            "Receipts that wait for portals that are held.",
            Some(totals.held.to_string()),
        ),
        (
            "b24_receipts_refused",
            "Receipts that were refused and are kept with the reason.",
            Some(totals.refused.to_string()),
        ),
        (
            "b24_receipts_oldest_seconds",
            "Age of the oldest receipt that is not sent yet; 0 if there is none.",
            Some(seconds(totals.oldest.unwrap_or_default())),
        ),
        (
            "b24_receipts_next_due_seconds",
            "Time until the next receipt can be sent; absent if there is none.",
            totals.next_due.map(seconds),
        ),
    ] {
        head(line, name, help)?;
        if let Some(value) = value {
            line(&format!("{name} {value}"))?;
        }
    }
    if shown.is_empty() {
        return Ok(());
    }
    let per_portal: [(&str, &str, Value); 5] = [
        (
            "b24_portal_receipts_waiting",
            "Receipts of a portal that are not sent yet.",
            |portal| Some(portal.waiting.to_string()),
        ),
        (
            "b24_portal_receipts_refused",
            "Receipts of a portal that were refused.",
            |portal| Some(portal.refused.to_string()),
        ),
        (
            "b24_portal_receipts_oldest_seconds",
            "Age of the oldest receipt of a portal that is not sent yet; 0 if there is none.",
            |portal| Some(seconds(portal.oldest.unwrap_or_default())),
        ),
        (
            "b24_portal_receipts_next_due_seconds",
            "Time until the next receipt of a portal can be sent; absent if there is none.",
            |portal| portal.next_due.map(seconds),
        ),
        (
            "b24_portal_held",
            "Whether a portal is held: 1 if its receipts wait for resume or a new installation.",
            |portal| Some(u8::from(is_held(portal)).to_string()),
        ),
    ];
    for (name, help, value) in per_portal {
        head(line, name, help)?;
        for portal in shown {
            if let Some(value) = value(portal) {
                let member_id = label(&portal.member_id);
                let endpoint = label(&portal.client_endpoint);
                line(&format!(
                    "{name}{{member_id=\"{member_id}\",client_endpoint=\"{endpoint}\"}} {value}"
                ))?;
            }
        }
    }
    Ok(())
}

fn head(line: Line<'_>, name: &str, help: &str) -> Result<(), Failure> {
    line(&format!("# HELP {name} {help}"))?;
    line(&format!("# TYPE {name} gauge"))
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// A label's value: three characters have an escape, and all others may stand in it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
