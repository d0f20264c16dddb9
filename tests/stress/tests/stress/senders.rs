//! Whatever fails, the caller learns whether a sender was added or removed, and a method that is
//! not idempotent is not sent twice if the portal may have executed it.

use b24_messageservice::{Error, Sender};
use b24_stress::{CODE, Fixture};
use serde_json::{Value, json};

const HANDLER: &str = "https://provider.example.com/mine";
const TAKEN: &str = "ERROR_SENDER_ALREADY_INSTALLED";
const UNKNOWN: &str = "ERROR_SENDER_NOT_FOUND";

/// Faults of a request, and whether the portal may have executed it.
fn faults() -> Vec<(Value, bool)> {
    let kind = |kind: &str| json!({ "kind": kind });
    let error = |status: u16, code: &str| json!({"kind": "error", "status": status, "error": code});
    vec![
        (kind("ok"), false),
        (kind("drop_before"), true),
        (kind("drop_after"), true),
        (kind("reset_before"), true),
        (kind("reset_after"), true),
        (kind("hang"), true),
        (kind("hang_after"), true),
        (kind("truncated"), true),
        (kind("garbage"), true),
        (kind("wrong_json"), true),
        (json!({"kind": "nested", "depth": 1000}), true),
        (json!({"kind": "status", "status": 502}), true),
        (json!({"kind": "status", "status": 404}), true),
        (kind("close_idle"), false),
        (kind("expire"), false),
        (error(503, "QUERY_LIMIT_EXCEEDED"), false),
        (error(500, "INTERNAL_SERVER_ERROR"), true),
        (error(403, "ACCESS_DENIED"), false),
    ]
}

/// Faults of the list that is asked for afterwards.
fn list_faults() -> [Value; 4] {
    ["ok", "drop_after", "hang", "garbage"].map(|kind| json!({ "kind": kind }))
}

/// Runs `f` with each fault and each fault of the list, with a sender that was there before and
/// without. There is a thread for each fault, since most of them wait.
fn each(f: impl Fn(bool, &Value, bool, &Value) + Sync) {
    let f = &f;
    std::thread::scope(|scope| {
        for (fault, may_have_run) in faults() {
            scope.spawn(move || {
                for list_fault in list_faults() {
                    f(false, &fault, may_have_run, &list_fault);
                    f(true, &fault, may_have_run, &list_fault);
                }
            });
        }
    });
}

/// How many requests of a method the portal saw.
fn requests(fixture: &Fixture, method: &str) -> usize {
    let log = fixture.portal.seen().log;
    log.iter()
        .filter(|call| call.path.ends_with(method))
        .count()
}

fn case(
    there_before: bool,
    at: &str,
    fault: &Value,
    list_fault: &Value,
    call: impl FnOnce(&b24_messageservice::Client) -> Result<(), Error>,
) -> (Result<(), Error>, Value, usize) {
    let senders = if there_before { vec![CODE] } else { vec![] };
    let fixture = Fixture::new(&json!({ "senders": senders }));
    let mut fault = fault.clone();
    fault["at"] = json!(at);
    let mut list_fault = list_fault.clone();
    list_fault["at"] = json!("sender.list");
    // The list that is asked for before a sender is added succeeds.
    let before = json!({"kind": "ok", "at": "sender.list", "count": u8::from(at == "sender.add")});
    fixture.fault(&json!([fault, before, list_fault]));
    let client = fixture.client(&[("timeout_ms", "1500"), ("max_retries", "2")]);
    let outcome = call(&client);
    fixture.portal.release();
    (outcome, fixture.portal.senders(), requests(&fixture, at))
}

#[test]
fn a_sender_is_added_once_and_told_so() {
    let mut sender = Sender::new(CODE);
    sender.handler(HANDLER).name("Mine");
    each(|there_before, fault, may_have_run, list_fault| {
        let about = format!("there before: {there_before}, {fault}, then {list_fault}");
        let (outcome, senders, sent) =
            case(there_before, "sender.add", fault, list_fault, |client| {
                client.sender_add(&sender)
            });
        let mine = senders[CODE]["handler"] == HANDLER;
        let code = outcome
            .as_ref()
            .err()
            .map(|error| error.portal_code().to_owned());
        match &outcome {
            Ok(()) => assert!(mine, "told as added, and it is not: {about}"),
            Err(error) if error.portal_code() == TAKEN => {
                assert!(there_before, "refused for its own success: {about}");
            }
            // If it is there nevertheless, the error does not say to add it again.
            Err(error) => assert!(!mine || !error.is_retryable(), "{about}: {error:?}"),
        }
        if there_before {
            assert!(!mine && outcome.is_err(), "{about}: {code:?}");
        }
        if may_have_run {
            assert_eq!(
                sent, 1,
                "sent again though it may have been executed: {about}"
            );
        }
    });
}

#[test]
fn a_sender_is_deleted_once_and_told_so() {
    each(|there_before, fault, may_have_run, list_fault| {
        let about = format!("there before: {there_before}, {fault}, then {list_fault}");
        let (outcome, senders, sent) =
            case(there_before, "sender.delete", fault, list_fault, |client| {
                client.sender_delete(CODE)
            });
        let gone = senders.get(CODE).is_none();
        match &outcome {
            Ok(()) => assert!(gone, "told as deleted, and it is not: {about}"),
            Err(error) if error.portal_code() == UNKNOWN => {
                assert!(!there_before, "refused for its own success: {about}");
            }
            Err(error) => assert!(
                !there_before || !gone || !error.is_retryable(),
                "{about}: {error:?}"
            ),
        }
        if may_have_run {
            assert_eq!(
                sent, 1,
                "sent again though it may have been executed: {about}"
            );
        }
    });
}
