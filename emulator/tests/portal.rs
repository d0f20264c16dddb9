//! Drives the portal from outside: over TCP and TLS as clients do, and as a program.

#[path = "portal/installations.rs"]
mod installations;
#[path = "portal/requests.rs"]
mod requests;

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use b24_portal::{Fault, Portal, Settings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

const UPDATE: &str = "/rest/messageservice.message.status.update";
const TOKEN: &str = "access-0000000000000001";
const HOST: &str = "portal.bitrix24.test";

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection to the portal.
struct Client(BufReader<Box<dyn Stream>>);

#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn error(&self) -> String {
        self.json()
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

impl Client {
    fn plain(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    fn tls(config: &Arc<ClientConfig>, port: u16, host: &str) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from(host.to_owned())?;
        let connection = ClientConnection::new(config.clone(), name)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    fn send(&mut self, method: &str, path: &str, host: &str, body: &str) -> io::Result<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: test/1\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())
    }

    fn receive(&mut self) -> io::Result<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(Response {
            status: status.unwrap_or(0),
            head,
            body,
        })
    }

    fn post(&mut self, path: &str, body: &Value) -> io::Result<Response> {
        self.send("POST", path, HOST, &body.to_string())?;
        self.receive()
    }

    fn update(&mut self, id: &str, status: &str) -> io::Result<Response> {
        self.post(UPDATE, &update(id, status))
    }
}

fn update(id: &str, status: &str) -> Value {
    json!({"CODE": "provider1", "MESSAGE_ID": id, "STATUS": status, "auth": TOKEN})
}

fn trusting(ca_file: &Path) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn start(settings: &Value) -> Result<(Portal, Client), Box<dyn Error>> {
    let portal = Portal::start(Settings::from_json(settings)?)?;
    let client = Client::plain(portal.http_port())?;
    Ok((portal, client))
}

fn faults(faults: Value) -> Result<Vec<Fault>, serde_json::Error> {
    serde_json::from_value(faults)
}

#[test]
fn an_update_over_tls_is_stored_and_the_session_resumed() -> Outcome {
    let portal = Portal::start(Settings::default())?;
    let config = trusting(portal.ca_file())?;
    let mut client = Client::tls(&config, portal.https_port(), HOST)?;
    for status in ["queued", "sent", "delivered"] {
        let response = client.update("65575980fa531ac284c2ee68f81ebebd", status)?;
        assert_eq!(
            (response.status, &response.json()["result"]),
            (200, &json!(true))
        );
    }
    Client::tls(&config, portal.https_port(), HOST)?.update("7", "failed")?;
    let seen = portal.seen();
    assert_eq!(
        (seen.connections, seen.tls_handshakes_full, seen.tls_resumed),
        (2, 1, 1)
    );
    assert_eq!(
        (seen.requests, seen.updates, seen.bad.as_slice()),
        (4, 4, [].as_slice())
    );
    assert_eq!(
        portal.messages(),
        json!({
            "provider1|65575980fa531ac284c2ee68f81ebebd": "delivered",
            "provider1|7": "failed",
            "history": {
                "provider1|65575980fa531ac284c2ee68f81ebebd": ["queued", "sent", "delivered"],
                "provider1|7": ["failed"],
            },
        })
    );
    Ok(())
}

#[test]
fn a_reset_ends_connections_and_sessions() -> Outcome {
    let portal = Portal::start(Settings::default())?;
    let config = trusting(portal.ca_file())?;
    let mut client = Client::tls(&config, portal.https_port(), HOST)?;
    client.update("7", "sent")?;
    portal.reset(Settings::default())?;
    let end = client.receive().map_err(|error| error.kind());
    assert!(matches!(end, Err(io::ErrorKind::UnexpectedEof)), "{end:?}");
    Client::tls(&config, portal.https_port(), HOST)?.update("8", "sent")?;
    let seen = portal.seen();
    assert_eq!(
        (seen.connections, seen.tls_handshakes_full, seen.requests),
        (1, 1, 1)
    );
    assert_eq!(portal.messages()["provider1|7"], Value::Null);
    Ok(())
}

#[test]
fn bad_certificates_are_bad() -> Outcome {
    let portal = Portal::start(Settings::default())?;
    let config = trusting(portal.ca_file())?;
    for (host, reason) in [
        ("untrusted.bitrix24.test", "UnknownIssuer"),
        ("expired.bitrix24.test", "expired"),
        ("wrongname.bitrix24.test", "not valid for name"),
    ] {
        let error = Client::tls(&config, portal.https_port(), host)
            .err()
            .map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(reason), "{host}: {error:?}");
    }
    Client::tls(&config, portal.https_port(), "any.bitrix24.test")?;
    Client::tls(&config, portal.https_port(), "127.0.0.1")?;
    Ok(())
}

#[test]
fn parameters_are_checked_as_the_portal_checks_them() -> Outcome {
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
    let known = ["known", &longest, &too_long].map(|id| format!("provider1|{id}"));
    let (_portal, mut client) = start(&json!({"messages": known, "providers": ["provider1"]}))?;
    for (params, status, error) in [
        (
            json!({"CODE": "provider1", "MESSAGE_ID": longest, "STATUS": "sent"}),
            200,
            "",
        ),
        (
            json!({"CODE": "provider1", "MESSAGE_ID": "known", "STATUS": "sent"}),
            200,
            "",
        ),
        (
            json!({"code": "provider1", "Message_Id": "known", "status": "sent"}),
            200,
            "",
        ),
        (
            json!({"MESSAGE_ID": "known", "STATUS": "sent"}),
            400,
            "ERROR_SENDER_VALIDATION_FAILURE",
        ),
        (
            json!({"CODE": "0", "MESSAGE_ID": "known", "STATUS": "sent"}),
            400,
            "ERROR_SENDER_VALIDATION_FAILURE",
        ),
        (
            json!({"CODE": "a b", "MESSAGE_ID": "known", "STATUS": "sent"}),
            400,
            "ERROR_SENDER_VALIDATION_FAILURE",
        ),
        (
            json!({"CODE": ["x"], "MESSAGE_ID": "known", "STATUS": "sent"}),
            400,
            "ERROR_SENDER_VALIDATION_FAILURE",
        ),
        (
            json!({"CODE": "provider1", "STATUS": "sent"}),
            400,
            "ERROR_MESSAGE_NOT_FOUND",
        ),
        (
            json!({"CODE": "provider1", "MESSAGE_ID": 0, "STATUS": "sent"}),
            400,
            "ERROR_MESSAGE_NOT_FOUND",
        ),
        (
            json!({"CODE": "provider1", "MESSAGE_ID": "unknown", "STATUS": "sent"}),
            400,
            "ERROR_MESSAGE_NOT_FOUND",
        ),
        (
            json!({"CODE": "provider2", "MESSAGE_ID": "known", "STATUS": "sent"}),
            400,
            "ERROR_MESSAGE_NOT_FOUND",
        ),
        (
            json!({"CODE": "provider1", "MESSAGE_ID": too_long, "STATUS": "sent"}),
            400,
            "ERROR_MESSAGE_NOT_FOUND",
        ),
        (
            json!({"CODE": "provider1", "MESSAGE_ID": "known", "STATUS": "Sent"}),
            400,
            "ERROR_MESSAGE_STATUS_INCORRECT",
        ),
        (
            json!({"CODE": "provider1", "MESSAGE_ID": "unknown"}),
            400,
            "ERROR_MESSAGE_STATUS_INCORRECT",
        ),
    ] {
        let mut body = params.clone();
        body["auth"] = TOKEN.into();
        let response = client.post(UPDATE, &body)?;
        assert_eq!(
            (response.status, response.error().as_str()),
            (status, error),
            "{params}"
        );
    }
    Ok(())
}

#[test]
fn callers_are_checked_as_the_portal_checks_them() -> Outcome {
    let (portal, mut client) = start(&json!({}))?;
    for (path, auth, status, error) in [
        (UPDATE, json!("nobody's"), 401, "invalid_token"),
        (UPDATE, json!(null), 401, "NO_AUTH_FOUND"),
        (
            "/rest/1/secret/messageservice.message.status.update.json",
            json!(null),
            403,
            "ACCESS_DENIED",
        ),
        (
            "/rest/no.such.method",
            json!(TOKEN),
            404,
            "ERROR_METHOD_NOT_FOUND",
        ),
    ] {
        let response = client.post(path, &json!({ "auth": auth }))?;
        assert_eq!(
            (response.status, response.error().as_str()),
            (status, error),
            "{path}"
        );
    }
    client.send(
        "POST",
        &format!("{UPDATE}?auth={TOKEN}"),
        HOST,
        r#"{"CODE":"provider1","MESSAGE_ID":"known","STATUS":"sent"}"#,
    )?;
    assert_eq!(client.receive()?.status, 200);
    assert!(portal.seen().bad.iter().any(|bad| bad.contains("URL")));
    Ok(())
}

#[test]
fn a_batch_has_the_quirks_of_php() -> Outcome {
    let (portal, mut client) = start(&json!({}))?;
    let command = |id: &str| {
        format!("messageservice.message.status.update?CODE=provider1&MESSAGE_ID={id}&STATUS=sent")
    };
    let batch = |commands: Value| json!({"halt": 0, "cmd": commands, "auth": TOKEN});

    let good = client
        .post(
            "/rest/batch",
            &batch(json!([command("a%2Bb"), command("c+d%26e")])),
        )?
        .json();
    assert_eq!(good["result"]["result"], json!([true, true]));
    assert_eq!(good["result"]["result_error"], json!([]));
    assert_eq!(
        good["result"]["result_time"].as_array().map(Vec::len),
        Some(2)
    );

    let mixed = client
        .post(
            "/rest/batch",
            &batch(json!({"x": command("$result[y]"), "y": command("%00")})),
        )?
        .json();
    assert_eq!(mixed["result"]["result"], json!({"y": true}));
    assert_eq!(
        mixed["result"]["result_error"]["x"]["error"],
        "ERROR_MESSAGE_NOT_FOUND"
    );

    client.post(
        "/rest/batch",
        &batch(json!({"0": command("first"), "1": command("no%24result%5B0%5D")})),
    )?;

    let many: Vec<_> = (0..52).map(|number| command(&number.to_string())).collect();
    let many = client.post("/rest/batch", &batch(json!(many)))?.json();
    assert_eq!(
        many["result"]["result_error"]["51"]["error"],
        "ERROR_BATCH_LENGTH_EXCEEDED"
    );
    assert_eq!(
        many["result"]["result_error"]["0"]["error"], "ERROR_MESSAGE_NOT_FOUND",
        "the id 0 is empty"
    );
    assert_eq!(
        many["result"]["result"]
            .as_object()
            .map(serde_json::Map::len),
        Some(49)
    );

    let stored = portal.messages();
    for id in ["a+b", "c d&e", "\0", "first", "no$result[0]", "49"] {
        assert_eq!(stored[format!("provider1|{id}")], "sent", "{id:?}");
    }
    assert_eq!(stored["provider1|50"], Value::Null);
    let seen = portal.seen();
    assert_eq!((seen.requests, seen.batches, seen.commands), (4, 4, 56));

    portal.set(&json!({"batch_result_shape": "object"}))?;
    let object = client
        .post("/rest/batch", &batch(json!([command("z")])))?
        .json();
    assert_eq!(object["result"]["result"], json!({"0": true}));
    assert_eq!(object["result"]["result_error"], json!({}));
    Ok(())
}

#[test]
fn a_refresh_token_works_once() -> Outcome {
    let portal = Portal::start(Settings::from_json(&json!({"expired": true}))?)?;
    let config = trusting(portal.ca_file())?;
    let mut client = Client::tls(&config, portal.https_port(), HOST)?;
    let refused = client.update("7", "sent")?;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (401, "expired_token")
    );

    let renew = |token: &str| -> Result<Response, Box<dyn Error>> {
        let mut server = Client::tls(&config, portal.oauth_port(), "oauth.bitrix24.test")?;
        let path = format!(
            "/oauth/token/?grant_type=refresh_token&client_id=app.1&client_secret=secret-0000000000000001&refresh_token={token}"
        );
        server.send("GET", &path, "oauth.bitrix24.test", "")?;
        Ok(server.receive()?)
    };
    assert_eq!(renew("another")?.error(), "invalid_grant");
    let renewed = renew("refresh-0000000000000001")?.json();
    assert_eq!(renewed["client_endpoint"], format!("https://{HOST}/rest/"));
    let mut body = update("7", "sent");
    body["auth"] = renewed["access_token"].clone();
    assert_eq!(client.post(UPDATE, &body)?.status, 200);

    assert_eq!(renew("refresh-0000000000000001")?.error(), "invalid_grant");
    assert_eq!(
        renew(renewed["refresh_token"].as_str().unwrap_or_default())?.error(),
        "invalid_grant"
    );
    let seen = portal.seen();
    assert_eq!(
        (seen.renewals, seen.renewal_requests, seen.spent_tokens),
        (1, 4, 1)
    );
    Ok(())
}

#[test]
fn two_renewals_at_once_are_noticed() -> Outcome {
    let portal = Portal::start(Settings::from_json(&json!({"oauth_latency_ms": 600_000}))?)?;
    let path = "/oauth/token/?grant_type=refresh_token&client_id=app.1&client_secret=secret-0000000000000001&refresh_token=refresh-0000000000000001";
    let mut clients = [
        Client::plain(portal.http_port())?,
        Client::plain(portal.http_port())?,
    ];
    for client in &mut clients {
        client.send("GET", path, HOST, "")?;
    }
    while portal.seen().renewal_requests < 2 {
        thread::yield_now();
    }
    portal.release();
    let mut statuses = [clients[0].receive()?.status, clients[1].receive()?.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(
        portal.seen().bad,
        ["two renewals at once with one refresh token"]
    );
    Ok(())
}

#[test]
fn faults_come_as_ordered() -> Outcome {
    let (portal, _) = start(&json!({}))?;
    for (number, (kind, answered, stored)) in [
        (json!({"kind": "ok"}), true, true),
        (json!({"kind": "drop_before"}), false, false),
        (json!({"kind": "drop_after"}), false, true),
        (json!({"kind": "reset_before"}), false, false),
        (json!({"kind": "reset_after"}), false, true),
        (json!({"kind": "truncated"}), false, true),
        (json!({"kind": "drip", "ms_per_byte": 0}), true, true),
        (json!({"kind": "slow_header", "ms_per_byte": 0}), true, true),
        (json!({"kind": "garbage"}), true, true),
        (json!({"kind": "wrong_json", "body": "{}"}), true, true),
        (json!({"kind": "big", "mib": 1}), true, true),
        (json!({"kind": "nested", "depth": 1000}), true, true),
        (json!({"kind": "status", "status": 502}), true, false),
        (
            json!({"kind": "error", "status": 503, "error": "X"}),
            true,
            false,
        ),
        (json!({"kind": "error_200", "error": "X"}), true, false),
        (
            json!({"kind": "redirect", "location": "https://x/"}),
            true,
            false,
        ),
        (json!({"kind": "close_idle"}), true, true),
        (json!({"kind": "expire"}), true, false),
    ]
    .into_iter()
    .enumerate()
    {
        portal.fault(faults(json!([kind]))?);
        let id = format!("m{number}");
        let outcome = Client::plain(portal.http_port())?.update(&id, "sent");
        assert_eq!(outcome.is_ok(), answered, "{kind}: {outcome:?}");
        assert_eq!(
            portal.messages()[format!("provider1|{id}")] == "sent",
            stored,
            "{kind}"
        );
    }
    Ok(())
}

#[test]
fn faults_show_what_they_promise() -> Outcome {
    let (portal, mut client) = start(&json!({}))?;
    portal.fault(faults(json!([
        {"at": "oauth", "kind": "hang"},
        {"kind": "error", "status": 503, "error": "X", "description": "Y", "headers": {"Retry-After": "1"}},
        {"kind": "status", "status": 502},
        {"kind": "big", "mib": 2},
        {"at": "update", "kind": "close_idle"},
    ]))?);
    let error = client.update("1", "sent")?;
    assert!(
        error.status == 503 && error.head.contains("Retry-After: 1\r\n"),
        "{error:?}"
    );
    assert_eq!(
        error.json(),
        json!({"error": "X", "error_description": "Y"})
    );
    let html = client.update("1", "sent")?;
    assert!(
        html.status == 502 && html.body.starts_with(b"<html>"),
        "{html:?}"
    );
    let big = client.update("1", "sent")?;
    assert!(big.body.len() > 2 * 1024 * 1024 && big.json()["result"] == true);
    let last = client.update("1", "sent")?;
    assert!(
        last.status == 200 && !last.head.contains("Connection"),
        "{last:?}"
    );
    assert!(
        client.update("1", "sent").is_err(),
        "the connection was closed"
    );
    Ok(())
}

#[test]
fn what_hangs_is_released() -> Outcome {
    let (portal, mut client) = start(&json!({}))?;
    portal.fault(faults(json!([{"kind": "hang"}, {"kind": "hang_after"}]))?);
    for requests in 1..=2 {
        client.send("POST", UPDATE, HOST, &update("7", "sent").to_string())?;
        assert_eq!(portal.wait(requests, Duration::from_secs(10)), requests);
        portal.release();
        assert!(client.receive().is_err());
        assert_eq!(portal.messages()["provider1|7"] == "sent", requests == 2);
        client = Client::plain(portal.http_port())?;
    }
    Ok(())
}

#[test]
fn the_bucket_and_the_budget_run_on_their_own_clock() -> Outcome {
    let (portal, mut client) = start(&json!({"rate": {"x": 3, "y": 0.000_001}, "speed": 1.0}))?;
    let mut errors = || -> io::Result<Vec<String>> {
        (0..4)
            .map(|_| Ok(client.update("7", "sent")?.error()))
            .collect()
    };
    assert_eq!(errors()?, ["", "", "", "QUERY_LIMIT_EXCEEDED"]);
    assert_eq!(portal.seen().query_limit, 1);

    portal.set(
        &json!({"rate": null, "operating": {"limit": 0.2, "cost": 0.1, "window": 1_000_000}}),
    )?;
    assert_eq!(
        errors()?,
        ["", "", "OPERATION_TIME_LIMIT", "OPERATION_TIME_LIMIT"]
    );
    portal.set(&json!({"speed": 1_000_000_000.0}))?;
    // The window passes in a millisecond; how many calls that takes is up to the machine.
    for _ in 0..100_000 {
        let answer = client.update("7", "sent")?.json();
        if answer["result"] == true {
            assert_eq!(answer["time"]["operating"], json!(0.1), "{answer}");
            return Ok(());
        }
    }
    Err("the window never passes".into())
}

#[test]
fn a_moved_portal_says_where() -> Outcome {
    let (portal, mut client) =
        start(&json!({"moved": {"from": HOST, "location": "https://new.bitrix24.test"}}))?;
    let moved = client.update("7", "sent")?;
    assert_eq!(moved.status, 302);
    assert!(
        moved
            .head
            .contains(&format!("Location: https://new.bitrix24.test{UPDATE}\r\n")),
        "{moved:?}"
    );
    client.send(
        "POST",
        UPDATE,
        "new.bitrix24.test",
        &update("7", "sent").to_string(),
    )?;
    assert_eq!(client.receive()?.status, 200);
    portal.set(
        &json!({"moved": [{"from": HOST, "status": 308, "location": "x", "raw_location": true}]}),
    )?;
    let moved = client.update("7", "sent")?;
    assert!(
        moved.status == 308 && moved.head.contains("Location: x\r\n"),
        "{moved:?}"
    );
    Ok(())
}

#[test]
fn connections_end_as_the_settings_say() -> Outcome {
    let (portal, mut client) = start(&json!({"keep_alive_requests": 2}))?;
    assert!(
        !client
            .update("7", "sent")?
            .head
            .contains("Connection: close")
    );
    assert!(
        client
            .update("7", "sent")?
            .head
            .contains("Connection: close")
    );
    assert!(client.update("7", "sent").is_err());
    portal.set(&json!({"close_silently": true, "keep_alive_requests": 1}))?;
    let mut client = Client::plain(portal.http_port())?;
    assert!(
        !client
            .update("7", "sent")?
            .head
            .contains("Connection: close")
    );
    assert!(client.update("7", "sent").is_err());
    portal.set(&json!({"keep_alive": false, "keep_alive_requests": null}))?;
    let mut client = Client::plain(portal.http_port())?;
    assert!(
        client
            .update("7", "sent")?
            .head
            .contains("Connection: close")
    );
    Ok(())
}

#[test]
fn what_was_seen_is_bounded_and_what_ended_forgotten() -> Outcome {
    let (portal, mut client) = start(&json!({"log": 2}))?;
    for id in ["1", "0", "3"] {
        client.update(id, "sent")?;
    }
    let seen = portal.seen();
    let log: Vec<_> = seen
        .log
        .iter()
        .map(|entry| (entry.n, entry.answer.status))
        .collect();
    assert_eq!(
        (log.as_slice(), seen.open_connections),
        ([(2, 400), (3, 200)].as_slice(), 1)
    );
    drop(client);
    for _ in 0..1_000_000 {
        if portal.seen().open_connections == 0 {
            return Ok(());
        }
        thread::yield_now();
    }
    Err("the connection stays in the list of those that are open".into())
}

/// Calls a method of the scope: its result, or its error.
fn method(client: &mut Client, name: &str, mut params: Value) -> io::Result<Value> {
    if let Some(params) = params.as_object_mut() {
        params.insert("auth".into(), TOKEN.into());
    }
    let path = format!("/rest/messageservice.{name}");
    let answer = client.post(&path, &params)?.json();
    let told = answer.get("error").or(answer.get("result"));
    Ok(told.cloned().unwrap_or_default())
}

#[test]
fn senders_are_kept_as_they_were_given() -> Outcome {
    let (portal, mut client) = start(&json!({"senders": ["preset"]}))?;
    let name = json!({"en": "P", "ru": "П"});
    let first = json!({"CODE": "p1", "TYPE": "SMS", "HANDLER": "https://h.test/", "NAME": name});
    let second = json!({"CODE": "p.2", "type": "SMS", "handler": "http://h.test/?a=b", "name": "P", "description": "D"});
    for (called, params, expected) in [
        ("sender.add", first.clone(), json!(true)),
        ("sender.add", first, json!("ERROR_SENDER_ALREADY_INSTALLED")),
        ("sender.add", second, json!(true)),
        ("sender.list", json!({}), json!(["preset", "p1", "p.2"])),
        (
            "sender.update",
            json!({"CODE": "p1", "HANDLER": "https://new.test/", "DESCRIPTION": {"en": "D"}}),
            json!(true),
        ),
        (
            "sender.update",
            json!({"CODE": "p.2", "NAME": "Q"}),
            json!(true),
        ),
        ("sender.delete", json!({"CODE": "preset"}), json!(true)),
        (
            "sender.delete",
            json!({"CODE": "preset"}),
            json!("ERROR_SENDER_NOT_FOUND"),
        ),
        ("sender.list", json!({}), json!(["p1", "p.2"])),
    ] {
        let shown = format!("{called} {params}");
        assert_eq!(method(&mut client, called, params)?, expected, "{shown}");
    }
    assert_eq!(
        portal.senders(),
        json!({
            "p1": {"type": "SMS", "handler": "https://new.test/", "name": {"en": "P", "ru": "П"}, "description": {"en": "D"}},
            "p.2": {"type": "SMS", "handler": "http://h.test/?a=b", "name": "Q", "description": "D"},
        })
    );
    let seen = portal.seen();
    assert_eq!((seen.requests, seen.updates), (9, 0));
    let lower = ["description", "handler", "name", "type"];
    assert_eq!(
        seen.bad,
        lower.map(|name| format!("parameter {name:?} of messageservice.sender.add"))
    );
    portal.set(&json!({"senders": []}))?;
    assert_eq!(portal.senders(), json!({}));
    Ok(())
}

#[test]
fn senders_are_checked_as_the_portal_checks_them() -> Outcome {
    let (portal, mut client) =
        start(&json!({"senders": ["p1"], "application_url": "https://app.test/"}))?;
    let invalid = "ERROR_SENDER_VALIDATION_FAILURE";
    let sender = |changes: Value| {
        let mut sender =
            json!({"CODE": "p2", "TYPE": "SMS", "HANDLER": "https://app.test/h", "NAME": "P"});
        for (name, value) in changes.as_object().into_iter().flatten() {
            sender[name] = value.clone();
        }
        sender
    };
    let long_handler = format!("https://app.test/{}", "h".repeat(1000));
    for (called, params, expected) in [
        ("sender.add", json!({}), invalid),
        ("sender.add", sender(json!({"CODE": ""})), invalid),
        ("sender.add", sender(json!({"CODE": "p 2"})), invalid),
        ("sender.add", sender(json!({"NAME": ""})), invalid),
        ("sender.add", sender(json!({"NAME": {}})), invalid),
        ("sender.add", sender(json!({"NAME": null})), invalid),
        ("sender.add", sender(json!({"TYPE": ""})), invalid),
        ("sender.add", sender(json!({"TYPE": "sms"})), invalid),
        (
            "sender.add",
            sender(json!({"HANDLER": ""})),
            "ERROR_WRONG_HANDLER_URL",
        ),
        (
            "sender.add",
            sender(json!({"HANDLER": "ftp://app.test/"})),
            "ERROR_UNSUPPORTED_PROTOCOL",
        ),
        (
            "sender.add",
            sender(json!({"HANDLER": "https://other.test/"})),
            "ERROR_HANDLER_URL_MATCH",
        ),
        (
            "sender.add",
            sender(json!({"CODE": "p1"})),
            "ERROR_SENDER_ALREADY_INSTALLED",
        ),
        (
            "sender.add",
            sender(json!({"CODE": "p".repeat(129)})),
            "ERROR_SENDER_ADD_FAILURE",
        ),
        (
            "sender.add",
            sender(json!({"HANDLER": long_handler})),
            "ERROR_SENDER_ADD_FAILURE",
        ),
        (
            "sender.update",
            json!({"NAME": "Q"}),
            "ERROR_SENDER_CODE_REQUIRED",
        ),
        (
            "sender.update",
            json!({"CODE": "p1"}),
            "ERROR_SENDER_OTHER_PARAMS_REQUIRED",
        ),
        (
            "sender.update",
            json!({"CODE": "p1", "NAME": ""}),
            "ERROR_SENDER_OTHER_PARAMS_REQUIRED",
        ),
        (
            "sender.update",
            json!({"CODE": "p2", "NAME": "Q"}),
            "ERROR_SENDER_NOT_FOUND",
        ),
        (
            "sender.update",
            json!({"CODE": "p1", "HANDLER": "https://other.test/"}),
            "ERROR_HANDLER_URL_MATCH",
        ),
        (
            "sender.update",
            json!({"CODE": "p1", "HANDLER": long_handler}),
            "ERROR_SENDER_UPDATE_FAILURE",
        ),
        ("sender.delete", json!({}), invalid),
    ] {
        let shown = format!("{called} {params}");
        assert_eq!(method(&mut client, called, params)?, expected, "{shown}");
    }
    assert_eq!(
        method(&mut client, "sender.list", json!({}))?,
        json!(["p1"])
    );
    assert_eq!(portal.seen().bad, [""; 0]);
    let odd = sender(json!({"NAME": ["P"], "DESCRIPTION": {"en": 7}}));
    assert_eq!(method(&mut client, "sender.add", odd)?, true);
    let text = "of a sender is neither a text nor a map of language to text";
    assert_eq!(
        portal.seen().bad,
        [format!("NAME {text}"), format!("DESCRIPTION {text}")]
    );
    Ok(())
}

#[test]
fn each_application_has_its_own_senders() -> Outcome {
    let (portal, mut client) = start(&json!({"access_token": "*"}))?;
    let mut call = |token: &str, name: &str| -> io::Result<Value> {
        let sender = json!({"CODE": "p1", "TYPE": "SMS", "HANDLER": "https://h.test/", "NAME": "P", "auth": token});
        let path = format!("/rest/messageservice.sender.{name}");
        Ok(client.post(&path, &sender)?.json()["result"].clone())
    };
    assert_eq!(call("first", "add")?, true);
    assert_eq!(call("second", "list")?, json!([]));
    assert_eq!(call("second", "add")?, true);
    assert_eq!(call("first", "delete")?, true);
    assert_eq!(call("second", "list")?, json!(["p1"]));
    assert!(portal.senders()["second|p1"].is_object());
    Ok(())
}

#[test]
fn a_message_has_a_number_and_a_status_with_a_name() -> Outcome {
    let settings = json!({"message_statuses": {"1": "Read", "7": ""}});
    let (_portal, mut client) = start(&settings)?;
    for id in ["a", "b"] {
        client.post(UPDATE, &update(id, "undelivered"))?;
    }
    for (number, expected) in [
        (json!(1), "Read"),
        (json!("7"), ""),
        (json!(2), "Undelivered"),
        (json!(3), "ERROR_MESSAGE_NOT_FOUND"),
        (json!("b"), "ERROR_MESSAGE_NOT_FOUND"),
        (json!(""), "ERROR_MESSAGE_NOT_FOUND"),
    ] {
        let told = method(
            &mut client,
            "message.status.get",
            json!({"MESSAGE_ID": number}),
        )?;
        assert_eq!(told, expected, "{number}");
    }
    let webhook = client.post(
        "/rest/1/secret/messageservice.message.status.get",
        &json!({"MESSAGE_ID": 2}),
    )?;
    assert_eq!(webhook.json()["result"], "Undelivered");
    Ok(())
}

#[test]
fn the_other_methods_go_into_a_batch_and_meet_faults() -> Outcome {
    let (portal, mut client) = start(&json!({"operating": {"limit": 0.1, "cost": 0.1}}))?;
    let add =
        "messageservice.sender.add?CODE=p1&TYPE=SMS&HANDLER=https%3A%2F%2Fh.test%2F&NAME[en]=P";
    let batch = json!({"auth": TOKEN, "cmd": {
        "add": add, "again": add, "list": "MessageService.Sender.List", "update": "messageservice.sender.update?code=p1&NAME=Q",
    }});
    let results = client.post("/rest/batch", &batch)?.json()["result"].clone();
    assert_eq!(
        results["result"],
        json!({"add": true, "list": ["p1"], "update": true})
    );
    assert_eq!(results["result_time"]["list"]["operating"], 0.1);
    assert_eq!(
        results["result_error"]["again"]["error"],
        "OPERATION_TIME_LIMIT"
    );
    assert_eq!(
        portal.seen().bad,
        ["batch: parameter \"code\" of messageservice.sender.update"]
    );

    portal.reset(Settings::from_json(&json!({"senders": ["p1"]}))?)?;
    let mut client = Client::plain(portal.http_port())?;
    portal.fault(faults(json!([
        {"kind": "error", "error": "GET", "at": "status.get"},
        {"kind": "error", "error": "ADD", "at": "sender.add"},
        {"kind": "error", "error": "UPDATE", "at": "sender.update"},
        {"kind": "error", "error": "LIST", "at": "sender.list"},
        {"kind": "drop_after", "at": "sender.delete"},
    ]))?);
    for (called, expected) in [
        ("sender.add", "ADD"),
        ("sender.update", "UPDATE"),
        ("sender.list", "LIST"),
        ("message.status.get", "GET"),
    ] {
        assert_eq!(method(&mut client, called, json!({}))?, expected);
    }
    let dropped = method(&mut client, "sender.delete", json!({"CODE": "p1"}));
    assert!(dropped.is_err(), "{dropped:?}");
    assert_eq!(portal.senders(), json!({}), "it was executed before");
    Ok(())
}

/// The program, killed if a test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already if the test passed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> Result<(Program, Value), Box<dyn Error>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_b24-portal"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take();
    let program = Program(child);
    let mut line = String::new();
    BufReader::new(out.ok_or("no output")?).read_line(&mut line)?;
    Ok((program, serde_json::from_str(&line)?))
}

#[test]
fn the_program_is_controlled_over_http_and_ends_with_its_input() -> Outcome {
    let (mut program, addresses) = program(&["--settings", r#"{"expired": true}"#])?;
    let port = |name: &str| {
        addresses[name]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0)
    };
    let control = addresses["control"].as_str().unwrap_or_default();
    let control = control.rsplit(':').next().unwrap_or_default().parse()?;
    let mut control = Client::plain(control)?;
    let mut client = Client::plain(port("http_port"))?;
    assert_eq!(client.update("7", "sent")?.error(), "expired_token");
    let mut tell = |path: &str, body: Value| -> io::Result<Response> { control.post(path, &body) };
    assert_eq!(tell("/set", json!({"expired": false}))?.status, 200);
    assert_eq!(tell("/set", json!({"bogus": 1}))?.status, 400);
    assert_eq!(tell("/fault", json!([{"kind": "bogus"}]))?.status, 400);
    assert_eq!(
        tell("/fault", json!([{"kind": "error", "error": "X"}]))?.status,
        200
    );
    assert_eq!(client.update("7", "sent")?.error(), "X");
    assert_eq!(client.update("7", "sent")?.status, 200);
    assert_eq!(
        tell("/wait", json!({"requests": 3}))?.json(),
        json!({"requests": 3, "renewal_requests": 0, "reached": true})
    );
    assert_eq!(
        tell("/wait", json!({"requests": 4, "timeout_ms": 1}))?.json()["reached"],
        false
    );
    control.send("GET", "/seen?log=1", "x", "")?;
    let seen = control.receive()?.json();
    assert_eq!(seen["requests"], 3);
    assert_eq!(seen["log"][0]["n"], 3);
    assert_eq!(
        seen["log"][0]["answer"],
        json!({"status": 200, "error": ""})
    );
    assert_eq!(seen["log"][0]["params"]["MESSAGE_ID"], "7");
    control.send("GET", "/tokens", "x", "")?;
    assert_eq!(control.receive()?.json()["access_token"], TOKEN);
    control.send("GET", "/messages", "x", "")?;
    assert_eq!(control.receive()?.json()["provider1|7"], "sent");
    assert_eq!(control.post("/reset", &json!({}))?.status, 200);
    control.send("GET", "/messages", "x", "")?;
    assert_eq!(control.receive()?.json(), json!({"history": {}}));

    let ca_file = addresses["ca_file"].as_str().unwrap_or_default();
    assert!(Path::new(ca_file).exists());
    drop(program.0.stdin.take());
    assert!(program.0.wait()?.success());
    assert!(
        !Path::new(ca_file).exists(),
        "the temporary directory is left behind"
    );
    Ok(())
}

#[test]
fn the_program_refuses_what_it_does_not_know() -> Outcome {
    for arguments in [
        &["--bogus"][..],
        &["--dir"],
        &["--settings", "{"],
        &["--settings", r#"{"x":1}"#],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_b24-portal"))
            .args(arguments)
            .output()?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let help = Command::new(env!("CARGO_BIN_EXE_b24-portal"))
        .arg("--help")
        .output()?;
    assert!(help.status.success() && help.stdout.starts_with(b"A Bitrix24 portal"));
    Ok(())
}
