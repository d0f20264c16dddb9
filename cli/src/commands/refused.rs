//! `refused`: the receipts that were given up.

use crate::command_line::argument;
use crate::exit::{self, Failure};
use crate::opened::Opening;
use crate::output::{Output, plain};
use crate::time;
use b24_messageservice::RefusedReceipt;
use clap::ArgMatches;
use serde_json::json;

/// How many are read from the store at a time.
const PAGE: u64 = 1000;

pub(super) fn run(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let provider = opening.provider()?;
    let as_json = matches.get_flag("json");
    let mut left = matches.get_one::<u64>("limit").copied().unwrap_or(u64::MAX);
    let mut after = argument(matches, "after").to_owned();
    let mut output = Output::new();
    while left > 0 && output.has_reader() {
        if opening.stop.is_requested() {
            return Err(Failure::Stopped);
        }
        let page = usize::try_from(left.min(PAGE)).unwrap_or(1);
        let receipts = provider.refused(&after, page)?;
        let Some(last) = receipts.last() else {
            break;
        };
        after.clone_from(&last.cursor);
        left = left.saturating_sub(receipts.len() as u64);
        for receipt in &receipts {
            if as_json {
                output.json(&object(receipt))?;
            } else {
                output.line(&line(receipt))?;
            }
        }
        output.flush()?;
    }
    Ok(exit::OK)
}

fn object(receipt: &RefusedReceipt) -> serde_json::Value {
    json!({
        "at": time::rfc3339(receipt.at_ms),
        "member_id": receipt.member_id,
        "code": receipt.code,
        "message_id": receipt.message_id,
        "operator": receipt.operator,
        "reference": receipt.reference,
        "status": receipt.status,
        "reason": receipt.reason,
        "cursor": receipt.cursor,
    })
}

/// Time, portal, code, message, status and reason; a reference that was never tracked has none of the
/// three in the middle.
fn line(receipt: &RefusedReceipt) -> String {
    let message = if receipt.message_id.is_empty() {
        format!("reference {} {}", receipt.operator, receipt.reference)
    } else {
        receipt.message_id.clone()
    };
    let at = time::rfc3339(receipt.at_ms);
    [
        &at,
        &receipt.member_id,
        &receipt.code,
        &message,
        receipt.status,
        &receipt.reason,
    ]
    .map(|column| {
        if column.is_empty() {
            "-".to_owned()
        } else {
            plain(column)
        }
    })
    .join("\t")
}
