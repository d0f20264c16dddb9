use b24_messageservice::{Client, Status};
use b24_stress::{CODE, Fixture, Worker};
use serde_json::json;
use std::process::Command;

fn call(client: &Client) {
    client
        .message_status_update(CODE, "m1", Status::Sent)
        .expect("the portal stores it");
}

#[test]
fn many_calls_of_many_clients_use_one_connection() {
    let fixture = Fixture::new(&json!({}));
    for _ in 0..10 {
        let client = fixture.client(&[]);
        for _ in 0..100 {
            call(&client);
        }
    }
    let seen = fixture.portal.seen();
    assert_eq!((seen.requests, seen.connections), (1000, 1));
    assert_eq!(seen.bad, Vec::<String>::new());
}

#[test]
fn a_connection_closed_without_a_word_is_replaced_unnoticed() {
    let settings = json!({"keep_alive_requests": 1, "close_silently": true});
    let fixture = Fixture::new(&settings);
    let client = fixture.client(&[("max_retries", "0")]);
    for _ in 0..200 {
        call(&client);
    }
    let seen = fixture.portal.seen();
    assert_eq!((seen.updates, seen.connections), (200, 200));
}

#[test]
fn sessions_are_resumed() {
    let fixture = Fixture::new(&json!({"keep_alive": false}));
    let portal = format!("https://127.0.0.1:{}", fixture.portal.https_port());
    for _ in 0..20 {
        call(&fixture.client(&[("portal", &portal)]));
    }
    let seen = fixture.portal.seen();
    assert_eq!((seen.tls_handshakes_full, seen.tls_resumed), (1, 19));
}

#[test]
fn connections_are_as_many_as_threads_at_most() {
    let fixture = Fixture::new(&json!({}));
    let client = fixture.client(&[]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for _ in 0..250 {
                    let id = format!("m{thread}");
                    let outcome = client.message_status_update(CODE, &id, Status::Sent);
                    outcome.expect("the portal stores it");
                }
            });
        }
    });
    let seen = fixture.portal.seen();
    assert_eq!(seen.requests, 2000);
    assert!(seen.connections <= 8, "{} connections", seen.connections);
}

/// The proxy of the environment does not exist.
#[test]
fn no_proxy_takes_ranges_of_addresses() {
    for (direct, kind) in [
        ("10.0.0.0/8,127.0.0.0/8", "OK"),
        ("10.0.0.0/8,127.1.0.0/16", "TRANSPORT"),
    ] {
        let fixture = Fixture::new(&json!({}));
        let options = fixture.options(&[("proxy", "env"), ("max_retries", "0")]);
        let mut command = Command::new(super::WORKER);
        command
            .env("http_proxy", "http://127.0.0.1:1")
            .env("no_proxy", direct)
            .env_remove("NO_PROXY");
        let mut worker = Worker::start(&mut command, &["one", "1"], &options);
        worker.go();
        assert_eq!(worker.report()["kind"], json!(kind), "{direct}");
    }
}
