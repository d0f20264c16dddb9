//! The methods of a provider by name, and those of a vocabulary.

use crate::calls::{Returned, nothing, text, updates};
use b24_messageservice::{
    Client, Drained, Error, PortalState, Provider, Receipt, Reference, RefusedReceipt, Request,
    Vocabulary,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a call leaves to later lines.
#[derive(Default)]
pub(crate) struct Left {
    /// Becomes the present client.
    pub(crate) client: Option<Client>,
    /// The request that was received.
    pub(crate) request: Option<Request>,
}

/// Calls the method; `None` if there is no method of this name. `received` is the request that was
/// received last.
pub(crate) fn call(
    provider: &Provider,
    method: &str,
    arguments: &Value,
    received: Option<&Request>,
    left: &mut Left,
) -> Option<Result<Returned, Error>> {
    let text = |name: &str| text(arguments.get(name));
    let number = |name: &str| arguments.get(name).and_then(Value::as_i64);
    let milliseconds = |name: &str| Duration::from_millis(number(name).unwrap_or(0).unsigned_abs());
    let (operator, reference) = (text("operator"), text("reference"));
    let reference = Reference::new(&reference).of_operator(&operator);
    Some(match method {
        "receive" => receive(provider, arguments).map(|request| {
            let shown = show(&request, arguments);
            left.request = Some(request);
            Returned::Value(shown)
        }),
        "install" => nothing(provider.install(&text("auth"), &text("application_token"))),
        "install_request" => nothing(provider.install_request(received?)),
        "client" => provider.client(&text("member_id")).map(|client| {
            left.client = Some(client);
            Returned::Nothing
        }),
        "import_state_dir" => {
            let imported = provider.import_state_dir(Path::new(&text("path")));
            imported.map(|count| Returned::Value(count.into()))
        }
        "track" => nothing(provider.track(
            reference,
            &text("member_id"),
            &text("code"),
            &text("message_id"),
        )),
        "report" => nothing(provider.report(
            &text("member_id"),
            &text("code"),
            &text("message_id"),
            text("status"),
            at(arguments),
        )),
        "report_batch" => Ok(Returned::Outcomes(
            provider.report_batch(&text("member_id"), updates(arguments)),
        )),
        "report_many" => Ok(Returned::Outcomes(
            provider.report_many(receipts(arguments)),
        )),
        "report_reference" => {
            nothing(provider.report_reference(reference, text("status"), at(arguments)))
        }
        "drain" => {
            let drained = provider.drain(milliseconds("ms"));
            drained.map(|drained| Returned::Value(counts(&drained)))
        }
        "inspect" => {
            let portals = provider.inspect();
            portals.map(|portals| Returned::Value(portals.iter().map(portal).collect()))
        }
        "refused" => {
            let limit = number("limit").and_then(|limit| usize::try_from(limit).ok());
            let receipts = provider.refused(&text("after"), limit.unwrap_or(1000));
            receipts.map(|receipts| Returned::Value(receipts.iter().map(refused).collect()))
        }
        "resume" => nothing(provider.resume(&text("member_id"))),
        "prune" => {
            let keep = number("keep_seconds").unwrap_or(0).unsigned_abs();
            nothing(provider.prune(Duration::from_secs(keep)))
        }
        "cancel" => {
            provider.cancel();
            Ok(Returned::Nothing)
        }
        _ => return None,
    })
}

/// The status that a word means. With a table it is a vocabulary of the row's own.
pub(crate) fn vocabulary(arguments: &Value) -> Result<Returned, Error> {
    let (name, word) = (text(arguments.get("name")), text(arguments.get("word")));
    let vocabulary = match arguments.get("table").and_then(Value::as_object) {
        Some(table) => {
            let mut vocabulary = Vocabulary::new(&name);
            for (word, status) in table {
                vocabulary.set(word, text(Some(status)))?;
            }
            vocabulary
        }
        None => Vocabulary::named(&name)?,
    };
    let status = vocabulary.status(&word)?;
    Ok(Returned::Value(status.as_str().into()))
}

fn receive(provider: &Provider, arguments: &Value) -> Result<Request, Error> {
    let body = decoded(&text(arguments.get("body64")));
    provider.receive(&text(arguments.get("content_type")), &body)
}

fn show(request: &Request, arguments: &Value) -> Value {
    let names = arguments.get("get").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let got: serde_json::Map<_, _> = names
        .map(|name| {
            let value = request.get(name).unwrap_or_default();
            (name.to_owned(), value.into())
        })
        .collect();
    json!({
        "kind": request.kind().as_str(),
        "member_id": request.member_id(),
        "client_endpoint": request.client_endpoint(),
        "get": got,
    })
}

/// Bytes from Base64; what is no digit of it is passed over.
fn decoded(base64: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in base64.bytes() {
        let Some(value) = ALPHABET.iter().position(|known| *known == digit) else {
            continue;
        };
        bits = (bits << 6) | u32::try_from(value).unwrap_or_default();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    bytes
}

/// When a receipt came about; `None`, which stands for now, if that is 0 or absent.
fn at(arguments: &Value) -> Option<SystemTime> {
    let at_ms = arguments.get("at_ms").and_then(Value::as_i64)?;
    let distance = Duration::from_millis(at_ms.unsigned_abs());
    match at_ms {
        0 => None,
        1.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    }
}

fn receipts(arguments: &Value) -> Vec<Receipt> {
    let rows = arguments.get("receipts").and_then(Value::as_array);
    rows.into_iter()
        .flatten()
        .map(|row| {
            let [member_id, code, message_id, status] = [0, 1, 2, 3].map(|at| text(row.get(at)));
            Receipt::new(member_id, code, message_id, status)
        })
        .collect()
}

fn counts(drained: &Drained) -> Value {
    json!({
        "sent": drained.sent,
        "refused": drained.refused,
        "held": drained.held,
        "waiting": drained.waiting,
        "next_due_ms": in_ms(drained.next_due),
    })
}

fn portal(portal: &PortalState) -> Value {
    json!({
        "member_id": portal.member_id,
        "client_endpoint": portal.client_endpoint,
        "state": portal.state,
        "reason": portal.reason,
        "waiting": portal.waiting,
        "refused": portal.refused,
        "oldest_ms": in_ms(portal.oldest),
        "next_due_ms": in_ms(portal.next_due),
    })
}

fn refused(receipt: &RefusedReceipt) -> Value {
    json!({
        "cursor": receipt.cursor,
        "member_id": receipt.member_id,
        "code": receipt.code,
        "message_id": receipt.message_id,
        "reference": receipt.reference,
        "status": receipt.status,
        "at_ms": receipt.at_ms,
        "reason": receipt.reason,
    })
}

fn in_ms(time: Option<Duration>) -> i64 {
    time.map_or(-1, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}
