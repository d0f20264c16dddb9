use super::{Directory, thread_id, until_it_polls, worker};
use b24_messageservice::{Client, ErrorKind, Status};
use b24_stress::{CODE, Fixture, RENEWAL};
use serde_json::json;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn call(client: &Client, message_id: &str) -> Option<ErrorKind> {
    let outcome = client.message_status_update(CODE, message_id, Status::Sent);
    outcome.err().map(|fault| fault.kind())
}

/// Cancels a call, and asserts that it ended in this way. `waits` returns when the call's thread,
/// whose number it gets, is in the wait that is tested.
fn cancel_when(client: &Client, waits: impl FnOnce(i32)) {
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let waiting = scope.spawn(move || {
            tell.send(thread_id()).expect("the test waits for it");
            call(client, "m1")
        });
        waits(told.recv().expect("the thread's number"));
        client.cancel();
        let outcome = waiting.join().expect("no panic");
        assert_eq!(outcome, Some(ErrorKind::Cancelled));
    });
}

/// A server that neither accepts nor refuses: its backlog is full.
pub(super) struct Stalled {
    listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl Stalled {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        rustix::net::listen(&listener, 0).expect("a backlog of none");
        let address = listener.local_addr().expect("its address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let backlog = std::iter::from_fn(connect).collect();
        Self {
            listener,
            _backlog: backlog,
        }
    }

    pub(super) fn url(&self) -> String {
        format!(
            "http://{}",
            self.listener.local_addr().expect("its address")
        )
    }
}

#[test]
fn in_connect() {
    let stalled = Stalled::new();
    let fixture = Fixture::new(&json!({}));
    let client = fixture.client(&[("portal", &stalled.url())]);
    cancel_when(&client, until_it_polls);
    cancel_when(&client, until_it_polls);
}

#[test]
fn in_a_read() {
    let fixture = Fixture::new(&json!({}));
    fixture.fault(&json!([{"kind": "hang"}]));
    let client = fixture.client(&[]);
    cancel_when(&client, |_| {
        fixture.portal.wait(1, LONG);
    });
    assert_eq!(call(&client, "m1"), None);
    assert_eq!(fixture.history("m1"), ["sent"]);
}

#[test]
fn in_the_tls_handshake() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let fixture = Fixture::new(&json!({}));
    let portal = format!("https://{}", silent.local_addr().expect("its address"));
    let client = fixture.client(&[("portal", &portal)]);
    cancel_when(&client, |_| {
        use std::io::Read;
        let (mut accepted, _) = silent.accept().expect("the client connects");
        accepted.read_exact(&mut [0; 5]).expect("its greeting");
        std::mem::forget(accepted);
    });
}

#[test]
fn in_the_back_off() {
    let fixture = Fixture::new(&json!({}));
    let fault = json!([{"kind": "status", "status": 503, "headers": {"Retry-After": "20"}}]);
    fixture.fault(&fault);
    let client = fixture.client(&[]);
    cancel_when(&client, |thread| {
        fixture.portal.wait(1, LONG);
        until_it_polls(thread);
    });
    assert_eq!(call(&client, "m1"), None);
}

#[test]
fn in_the_bucket() {
    for shared in [false, true] {
        let directory = Directory::new(&format!("cancel-bucket-{shared}"));
        let fixture = Fixture::new(&json!({}));
        let mut options = vec![("rate_limit", "1/0.5")];
        if shared {
            options.push(("state_dir", directory.path()));
        }
        let client = fixture.client(&options);
        assert_eq!(call(&client, "first"), None);
        cancel_when(&client, until_it_polls);
        assert_eq!(call(&client, "m1"), None);
        assert_eq!(fixture.portal.seen().requests, 2);
    }
}

#[test]
fn in_the_queue_of_a_message() {
    let fixture = Fixture::new(&json!({}));
    fixture.fault(&json!([{"kind": "hang", "count": 2}]));
    let client = fixture.client(&[]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| call(&client, "m1"));
        fixture.portal.wait(1, LONG);
        // It ends both: the one that waits for its turn, and the one whose turn it is.
        cancel_when(&client, until_it_polls);
        assert_eq!(first.join().expect("no panic"), Some(ErrorKind::Cancelled));
    });
    assert_eq!(fixture.portal.seen().requests, 1);
    fixture.portal.set(&json!({})).expect("no change");
    std::thread::scope(|scope| {
        let again = scope.spawn(|| call(&client, "m1"));
        fixture.portal.wait(2, LONG);
        fixture.portal.release();
        assert_eq!(again.join().expect("no panic"), None);
    });
}

#[test]
fn in_the_queue_of_renewals() {
    let fixture = Fixture::new(&json!({"expired": true}));
    fixture.fault(&json!([{"at": "oauth", "kind": "hang"}]));
    let first = fixture.client(&RENEWAL);
    let second = fixture.client(&RENEWAL);
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| call(&first, "first"));
        while fixture.portal.seen().renewal_requests == 0 {
            std::thread::yield_now();
        }
        cancel_when(&second, |thread| {
            fixture.portal.wait(2, LONG);
            until_it_polls(thread);
        });
        // It must not end the other client's renewal.
        fixture.portal.release();
        assert_eq!(renewing.join().expect("no panic"), None);
    });
    assert_eq!(call(&second, "m1"), None);
    assert_eq!(fixture.portal.seen().renewals, 1);
}

#[test]
fn in_the_lock_of_the_state_directory() {
    let directory = Directory::new("cancel-lock");
    let fixture = Fixture::new(&json!({"expired": true}));
    fixture.fault(&json!([{"at": "oauth", "kind": "hang"}]));
    let mut options = RENEWAL.to_vec();
    options.push(("state_dir", directory.path()));
    let mut other = worker(&["threads", "1"], &fixture.options(&options));
    other.go();
    while fixture.portal.seen().renewal_requests == 0 {
        std::thread::yield_now();
    }
    let client = fixture.client(&options);
    cancel_when(&client, |thread| {
        fixture.portal.wait(2, LONG);
        until_it_polls(thread);
    });
    fixture.portal.release();
    assert_eq!(other.report()["faults"], json!([]));
    assert_eq!(call(&client, "m1"), None);
    assert_eq!(fixture.portal.seen().renewals, 1);
}

#[test]
fn of_another_client_does_nothing() {
    let fixture = Fixture::new(&json!({}));
    fixture.fault(&json!([{"kind": "hang"}]));
    let (client, other) = (fixture.client(&[]), fixture.client(&[]));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| call(&client, "m1"));
        fixture.portal.wait(1, LONG);
        other.cancel();
        assert_eq!(call(&other, "m2"), None);
        fixture.portal.release();
        assert_eq!(waiting.join().expect("no panic"), None);
    });
}
