//! The portal stores the same bytes, whether an update is sent alone or in a batch.

#![allow(
    clippy::unwrap_used,
    reason = "a test: what cannot be unwrapped has failed"
)]
use b24_messageservice::{Client, Config, Status, Update};
use b24_portal::{Portal, Settings};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

fn stored(portal: &Portal, send: impl FnOnce(&Client)) -> Value {
    portal
        .reset(Settings {
            access_token: "*".to_owned(),
            ..Settings::default()
        })
        .unwrap();
    let mut config = Config::new();
    config
        .portal(&format!("http://127.0.0.1:{}", portal.http_port()))
        .allow_http(true)
        .access_token("access-0000000000000001")
        .rate_limit("off")
        .proxy("none");
    send(&Client::new(&config).unwrap());
    portal.messages()
}

#[test]
fn batches_store_what_single_calls_store() {
    let portal = Portal::start(Settings::default()).unwrap();
    let awkward = prop_oneof![
        "\\PC{1,128}",
        "[ &=+%?#/\\[\\]{}$\"'\\\\<>a-c.]{1,40}",
        "\\$result\\[u0[0-9]\\](\\[[a-z]{0,3}\\])?",
        "[0-9]{1,12}",
    ];
    let ids = proptest::collection::hash_set(awkward, 1..60);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    runner
        .run(&ids, |ids| {
            let ids: Vec<String> = ids.into_iter().collect();
            let alone = stored(&portal, |client| {
                for id in &ids {
                    // What cannot be sent alone must not be sent in a batch either.
                    drop(client.message_status_update("provider1", id, Status::Delivered));
                }
            });
            let together = stored(&portal, |client| {
                let updates = ids
                    .iter()
                    .map(|id| Update::new("provider1", id, "delivered"));
                drop(client.message_status_update_batch(updates));
            });
            prop_assert_eq!(alone, together);
            Ok(())
        })
        .unwrap();
}
