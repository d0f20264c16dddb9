use super::cancel::Stalled;
use super::{Directory, WORKER};
use b24_messageservice::{Client, ErrorKind, Status};
use b24_stress::{CODE, Fixture, Worker};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::process::Command;
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

/// In a mount namespace of its own, so that no other program's DNS is disturbed.
#[test]
fn hold_while_dns_does_not_answer() {
    let silent = match UdpSocket::bind("127.53.53.53:53") {
        Ok(socket) => socket,
        Err(fault) => {
            println!("skipped: port 53 cannot be bound here ({fault}); it takes root");
            return;
        }
    };
    let directory = Directory::new("dns");
    let file = directory.0.join("resolv.conf");
    std::fs::write(&file, "nameserver 127.53.53.53\n").expect("a file");
    let mount = format!("mount --bind {} /etc/resolv.conf", file.display());
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", &mount])
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespace can be made here; it takes CAP_SYS_ADMIN");
        return;
    }
    let fixture = Fixture::new(&json!({}));
    let options = fixture.options(&[TIMEOUT, ("portal", "http://portal.nowhere.test")]);
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "sh",
        "-c",
        &format!("{mount} && exec \"$0\" \"$@\""),
        WORKER,
    ]);
    let mut worker = Worker::start(&mut command, &["one", "1"], &options);
    worker.go();
    let report: Value = worker.report();
    println!("DNS that does not answer: {report}, deadline {TIMEOUT_MS} ms");
    assert_eq!(report["kind"], json!("TIMEOUT"));
    silent.set_nonblocking(true).expect("an option of ours");
    assert!(
        silent.recv(&mut [0; 512]).is_ok(),
        "nobody asked the silent server"
    );
}
