use super::cancel::Stalled;
use b24_messageservice::{Client, ErrorKind, Status};
use b24_stress::{CODE, Fixture};
use serde_json::json;
use std::time::Instant;

const TIMEOUT_MS: f64 = 400.0;
const TIMEOUT: (&str, &str) = ("timeout_ms", "400");

fn times_out(what: &str, client: &Client) {
    let started = Instant::now();
    let outcome = client.message_status_update(CODE, "m1", Status::Sent);
    let over = started.elapsed().as_secs_f64() * 1000.0 - TIMEOUT_MS;
    println!("{what}: {over:.1} ms past a deadline of {TIMEOUT_MS} ms");
    assert_eq!(
        outcome.expect_err(what).kind(),
        ErrorKind::Timeout,
        "{what}"
    );
}

#[test]
fn hold_whatever_the_portal_does() {
    for fault in [
        json!([{"kind": "hang", "count": 2}]),
        json!([{"kind": "hang_after", "count": 2}]),
        json!([{"kind": "drip", "ms_per_byte": 20, "count": 2}]),
        json!([{"kind": "slow_header", "ms_per_byte": 20, "count": 2}]),
    ] {
        for scheme in ["http", "https"] {
            let fixture = Fixture::new(&json!({}));
            fixture.fault(&fault);
            let portal = format!("https://127.0.0.1:{}", fixture.portal.https_port());
            let client = match scheme {
                "https" => fixture.client(&[TIMEOUT, ("portal", &portal)]),
                _ => fixture.client(&[TIMEOUT]),
            };
            times_out(&format!("{scheme} {fault}"), &client);
        }
    }
}

#[test]
fn hold_while_connecting() {
    let stalled = Stalled::new();
    let fixture = Fixture::new(&json!({}));
    let client = fixture.client(&[TIMEOUT, ("portal", &stalled.url())]);
    times_out("a connection that is not accepted", &client);
}
