//! Several portals, their tokens, and what they tell of the application's installation.

use std::io;
use std::time::Duration;

use b24_portal::{Portal, Settings};
use serde_json::{Value, json};

use super::{Client, Outcome, Response, TOKEN, UPDATE, faults, start};

const OAUTH: &str = "oauth.bitrix24.test";

fn host(number: usize) -> String {
    format!("p{number}.bitrix24.test")
}

fn access(number: usize) -> String {
    format!("access-p{number}-0000000000000001")
}

impl Client {
    fn ask(&mut self, host: &str, path: &str, body: &Value) -> io::Result<Response> {
        self.send("POST", path, host, &body.to_string())?;
        self.receive()
    }

    /// The error of an update with this token, empty if there is none.
    fn report(&mut self, host: &str, token: &str, id: &str) -> io::Result<String> {
        let update = json!({"CODE": "c", "MESSAGE_ID": id, "STATUS": "sent", "auth": token});
        Ok(self.ask(host, UPDATE, &update)?.error())
    }

    fn renew(&mut self, token: &str) -> io::Result<Value> {
        let path = format!(
            "/oauth/token/?grant_type=refresh_token&client_id=app.1&client_secret=secret-0000000000000001&refresh_token={token}"
        );
        self.send("GET", &path, OAUTH, "")?;
        Ok(self.receive()?.json())
    }

    /// `app.info` of the authorization server: its result, or its error.
    fn info(&mut self, token: &str) -> io::Result<Value> {
        self.send("GET", &format!("/rest/app.info?auth={token}"), OAUTH, "")?;
        let answer = self.receive()?.json();
        let told = answer.get("error").or(answer.get("result"));
        Ok(told.cloned().unwrap_or_default())
    }
}

#[test]
fn each_portal_has_what_is_its_own() -> Outcome {
    let (portal, mut client) = start(&json!({"portals": 20_000, "senders": ["preset"]}))?;
    for number in [1, 2, 20_000] {
        assert_eq!(client.report(&host(number), &access(number), "m")?, "");
    }
    assert_eq!(client.report("P2.Bitrix24.test:443", &access(2), "m")?, "");
    for (named, token) in [
        (host(1), access(2)),
        (host(1), TOKEN.to_owned()),
        (host(20_001), access(20_000)),
        (host(0), access(1)),
        ("p01.bitrix24.test".to_owned(), access(1)),
        ("p1.bitrix24.test.evil.test".to_owned(), access(1)),
        ("portal.bitrix24.test".to_owned(), access(1)),
    ] {
        let error = client.report(&named, &token, "m")?;
        assert_eq!(error, "invalid_token", "{named} {token}");
    }
    assert_eq!(client.report(&host(20_001), TOKEN, "main")?, "");
    portal.set(&json!({"expired": true}))?;
    let own = client.report(&host(1), &access(1), "m")?;
    assert_eq!(own, "expired_token");
    let foreign = client.report(&host(1), &access(2), "m")?;
    assert_eq!(foreign, "invalid_token");
    portal.set(&json!({"expired": false}))?;
    let stored = |statuses: &[&str]| json!({"c|m": "sent", "history": {"c|m": statuses}});
    assert_eq!(portal.messages_of(&host(2)), stored(&["sent", "sent"]));
    assert_eq!(portal.messages_of(&host(3)), json!({"history": {}}));
    assert_eq!(portal.messages()["c|main"], "sent");
    let all = portal.all_messages();
    let hosts: Vec<_> = all.as_object().into_iter().flatten().collect();
    assert_eq!(hosts.len(), 4);
    assert_eq!(all[""]["c|main"], "sent");
    assert_eq!(all[host(20_000)], stored(&["sent"]));

    let delete = json!({"CODE": "preset", "auth": access(1)});
    client.ask(&host(1), "/rest/messageservice.sender.delete", &delete)?;
    assert!(portal.senders()["preset"].is_object());

    portal.set(&json!({"portals": 1}))?;
    assert_eq!(client.report(&host(1), &access(1), "m")?, "");
    assert_eq!(client.report(&host(2), &access(2), "m")?, "invalid_token");
    portal.set(&json!({"portals": 2}))?;
    assert_eq!(client.report(&host(2), &access(2), "m")?, "");
    assert_eq!(portal.messages_of(&host(2)), stored(&["sent"]));
    assert!(portal.set(&json!({"portals": 20_001})).is_err());
    Ok(())
}

#[test]
fn a_portal_is_down_and_another_throttled() -> Outcome {
    let settings = json!({"portals": 3, "down": [host(1)], "throttled": [host(2)]});
    let (portal, mut client) = start(&settings)?;
    let down = client.ask(&host(1), UPDATE, &json!({}))?;
    assert!(
        down.status == 502 && down.body.starts_with(b"<html>"),
        "{down:?}"
    );
    let throttled = client.report(&host(2), &access(2), "m")?;
    assert_eq!(throttled, "QUERY_LIMIT_EXCEEDED");
    assert_eq!(client.report(&host(3), &access(3), "m")?, "");
    portal.set(&json!({"down": [OAUTH], "throttled": []}))?;
    assert_eq!(client.report(&host(1), &access(1), "m")?, "");
    assert_eq!(client.report(&host(2), &access(2), "m")?, "");
    assert_eq!(client.renew("refresh-0000000000000001")?, Value::Null);
    let seen = portal.seen();
    assert_eq!((seen.requests, seen.query_limit, seen.renewals), (5, 1, 0));
    Ok(())
}

#[test]
fn the_rate_limit_and_the_budget_are_each_portals_own() -> Outcome {
    let rate = json!({"portals": 2, "rate": {"x": 1, "y": 0.000_001}});
    let (portal, mut client) = start(&rate)?;
    for expected in ["", "QUERY_LIMIT_EXCEEDED"] {
        assert_eq!(client.report(&host(1), &access(1), "m")?, expected);
        assert_eq!(client.report(&host(2), &access(2), "m")?, expected);
    }
    portal.set(&json!({"rate": null, "operating": {"limit": 0.1}}))?;
    for expected in ["", "OPERATION_TIME_LIMIT"] {
        assert_eq!(client.report(&host(1), &access(1), "m")?, expected);
        assert_eq!(client.report(&host(2), &access(2), "m")?, expected);
    }
    Ok(())
}

#[test]
fn a_renewal_finds_its_portal_and_its_pair() -> Outcome {
    let (portal, mut client) = start(&json!({"portals": 2}))?;
    let renewed = client.renew("refresh-p2-0000000000000001")?;
    assert_eq!(renewed["member_id"], format!("{:032x}", 2));
    let endpoint = format!("https://{}:{}/rest/", host(2), portal.https_port());
    assert_eq!(renewed["client_endpoint"], endpoint);
    assert_eq!(renewed["user_id"], 67);
    let token = renewed["access_token"].as_str().unwrap_or_default();
    assert_eq!(client.report(&host(2), token, "m")?, "");
    assert_eq!(client.report(&host(2), &access(2), "m")?, "", "it is valid");
    assert_eq!(client.report(&host(1), token, "m")?, "invalid_token");

    portal.install(json!({"host": host(2), "pair": "user"}))?;
    let tokens = portal.tokens_of(&host(2));
    assert_eq!(
        tokens["pairs"][0]["refresh_token"],
        renewed["refresh_token"]
    );
    let second = tokens["pairs"][1]["refresh_token"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(
        client.renew("refresh-p2-0000000000000001")?["error"],
        "invalid_grant"
    );
    assert_eq!(portal.tokens_of(&host(2))["lost"], true);
    assert_eq!(portal.tokens_of(&host(1))["lost"], false);
    let first = renewed["refresh_token"].as_str().unwrap_or_default();
    assert_eq!(client.renew(first)?["error"], "invalid_grant");
    let other = client.renew(second)?;
    assert_eq!(other["user_id"], 68);
    let token = other["access_token"].as_str().unwrap_or_default();
    assert_eq!(client.report(&host(2), token, "m")?, "");
    assert_eq!(client.report(&host(2), &access(2), "m")?, "", "it is valid");
    Ok(())
}

#[test]
fn one_pair_is_spent_by_order() -> Outcome {
    let (portal, mut client) = start(&json!({}))?;
    portal.install(json!({"pair": "new"}))?;
    let second = portal.tokens()["pairs"][1]["refresh_token"].clone();
    portal.spend(json!({}))?;
    assert_eq!(
        client.renew("refresh-0000000000000001")?["error"],
        "invalid_grant"
    );
    assert_eq!(client.report("x.test", TOKEN, "m")?, "", "it is valid");
    let renewed = client.renew(second.as_str().unwrap_or_default())?;
    assert!(renewed["access_token"].is_string(), "{renewed}");
    portal.spend(json!({"refresh_token": renewed["refresh_token"]}))?;
    assert_eq!(portal.tokens()["pairs"][1]["lost"], true);
    assert!(portal.spend(json!({"pair": 2})).is_err());
    assert!(portal.spend(json!({"refresh_token": "none"})).is_err());
    assert_eq!(portal.seen().spent_tokens, 0);
    Ok(())
}

#[test]
fn the_authorization_server_tells_whose_a_token_is() -> Outcome {
    let (portal, mut client) = start(&json!({"portals": 2, "client_id": "app.7"}))?;
    let told = client.info(&access(2))?;
    let endpoint = format!("https://{}:{}/rest/", host(2), portal.https_port());
    let expires = portal.tokens_of(&host(2))["expires"].clone();
    assert_eq!(
        told,
        json!({
            "client_id": "app.7", "scope": "messageservice", "expires": expires, "status": "F",
            "install": {
                "installed": true, "version": "1", "status": "F",
                "member_id": format!("{:032x}", 2), "domain": host(2), "client_endpoint": endpoint,
            },
        })
    );
    assert_eq!(client.info("nobody's")?, "invalid_token");
    assert_eq!(client.info("")?, "invalid_token");
    for body in [
        "auth=access-p1-0000000000000001",
        r#"{"auth": "access-p1-0000000000000001"}"#,
    ] {
        client.send("POST", "/rest/app.info.json", OAUTH, "")?;
        assert_eq!(client.receive()?.error(), "invalid_token");
        let json = body.starts_with('{');
        let kind = if json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let request = format!(
            "POST /rest/app.info HTTP/1.1\r\nHost: {OAUTH}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.0.get_mut().write_all(request.as_bytes())?;
        let told = client.receive()?.json();
        assert_eq!(told["result"]["install"]["domain"], host(1));
    }
    assert_eq!(portal.seen().bad, [""; 0]);

    portal.set(&json!({"app_info": "bare"}))?;
    let told = client.info(&access(2))?;
    assert_eq!(
        told["install"],
        json!({"installed": true, "version": "1", "status": "F"})
    );
    assert_eq!(told["client_id"], Value::Null);
    portal.set(&json!({"app_info": {"status": 500, "error": "X"}}))?;
    assert_eq!(client.info(&access(2))?, "X");
    portal.set(&json!({"app_info": {"status": 502, "html": true}}))?;
    assert_eq!(client.info(&access(2))?, Value::Null);
    portal.set(&json!({"app_info": "full", "expired": true}))?;
    assert_eq!(client.info(&access(2))?, "expired_token");
    assert!(portal.set(&json!({"app_info": "none"})).is_err());
    portal.set(&json!({"expired": false}))?;
    portal.uninstall(json!({"host": host(2)}))?;
    assert_eq!(client.info(&access(2))?, "invalid_token");
    let seen = portal.seen();
    assert_eq!((seen.app_info, seen.requests), (12, 0));
    Ok(())
}

#[test]
fn the_port_of_the_authorization_server_is_enough() -> Outcome {
    let portal = Portal::start(Settings::from_json(&json!({"portals": 1}))?)?;
    let config = super::trusting(portal.ca_file())?;
    let mut server = Client::tls(&config, portal.oauth_port(), "127.0.0.1")?;
    let info = json!({ "auth": access(1) });
    let told = server.ask("127.0.0.1", "/rest/app.info", &info)?.json();
    assert_eq!(told["result"]["install"]["domain"], host(1));
    let mut client = Client::tls(&config, portal.https_port(), "127.0.0.1")?;
    let told = client.ask("127.0.0.1", "/rest/app.info", &info)?;
    assert_eq!(told.error(), "invalid_token", "it is another portal's");
    Ok(())
}

#[test]
fn a_portal_tells_who_calls() -> Outcome {
    let (portal, mut client) = start(&json!({"portals": 1}))?;
    portal.install(json!({"host": host(1), "pair": "user"}))?;
    let user = portal.tokens_of(&host(1))["pairs"][1]["access_token"].clone();
    let mut admin = |token: &Value| -> io::Result<Value> {
        let answer = client.ask(&host(1), "/rest/user.admin", &json!({ "auth": token }))?;
        Ok(answer.json()["result"].clone())
    };
    assert_eq!(admin(&json!(access(1)))?, true);
    assert_eq!(admin(&user)?, false);
    portal.set(&json!({"admin": false}))?;
    assert_eq!(admin(&json!(access(1)))?, false);
    let info = json!({ "auth": user });
    let told = client.ask(&host(1), "/rest/app.info", &info)?.json();
    assert_eq!(
        told["result"]["install"]["member_id"],
        format!("{:032x}", 1)
    );
    let batch = json!({"auth": user, "cmd": {"a": "user.admin", "i": "app.info"}});
    let told = client.ask(&host(1), "/rest/batch", &batch)?.json();
    assert_eq!(told["result"]["result"]["a"], false);
    assert_eq!(told["result"]["result"]["i"]["client_id"], "app.1");
    let webhook = client.ask(&host(1), "/rest/1/secret/user.admin", &json!({}))?;
    assert_eq!(webhook.error(), "ACCESS_DENIED");
    let seen = portal.seen();
    assert_eq!((seen.user_admin, seen.app_info, seen.requests), (4, 1, 6));
    assert_eq!(seen.bad, [""; 0]);
    Ok(())
}

#[test]
fn an_answer_may_be_a_page() -> Outcome {
    let page = json!({"status": 502, "html": true});
    let (portal, mut client) = start(&json!({"answer": page, "app_info": page}))?;
    let update = super::update("m", "sent");
    for path in [UPDATE, "/rest/app.info", "/rest/batch"] {
        let answer = client.ask("x.test", path, &update)?;
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.body.starts_with(b"<html>"), "{path}: {answer:?}");
    }
    portal.set(&json!({"answer": {"status": 200, "body": "text"}}))?;
    assert_eq!(client.ask("x.test", UPDATE, &update)?.body, b"text");
    let admin = client.ask("x.test", "/rest/user.admin", &json!({ "auth": TOKEN }))?;
    assert_eq!(admin.json()["result"], true);
    Ok(())
}

#[test]
fn faults_find_the_new_methods_and_one_host() -> Outcome {
    let (portal, mut client) = start(&json!({"portals": 1}))?;
    portal.fault(faults(json!([
        {"kind": "error", "error": "SERVER", "at": "oauth.app.info"},
        {"kind": "error", "error": "INFO", "at": "app.info"},
        {"kind": "error", "error": "ADMIN", "at": "user.admin"},
        {"kind": "error", "error": "HERE", "host": "P1.bitrix24.test"},
    ]))?);
    let auth = json!({ "auth": access(1) });
    assert_eq!(client.report("x.test", TOKEN, "m")?, "");
    assert_eq!(
        client.ask("x.test", "/rest/user.admin", &auth)?.error(),
        "ADMIN"
    );
    assert_eq!(
        client.ask("x.test", "/rest/app.info", &auth)?.error(),
        "INFO"
    );
    assert_eq!(client.info(&access(1))?, "SERVER");
    assert_eq!(client.report(&host(1), &access(1), "m")?, "HERE");
    assert_eq!(client.report(&host(1), &access(1), "m")?, "");
    Ok(())
}

/// Waits until that many requests were executed late.
fn await_late(portal: &Portal, late: u64) -> Outcome {
    for _ in 0..1000 {
        if portal.seen().late == late {
            return Ok(());
        }
        // It may still be on the way to where it waits, so one release may be too early.
        portal.release();
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("the request is not executed".into())
}

#[test]
fn a_request_is_executed_after_its_answer() -> Outcome {
    let (portal, mut client) = start(&json!({"portals": 1}))?;
    let ordered = json!({"kind": "execute_late", "ms": 600_000});
    portal.fault(faults(json!([ordered, ordered]))?);
    let update = json!({"CODE": "c", "MESSAGE_ID": "m", "STATUS": "sent", "auth": access(1)});
    let answer = client.ask(&host(1), UPDATE, &update)?;
    assert!(
        answer.status == 504 && answer.body.starts_with(b"<html>"),
        "{answer:?}"
    );
    let command = "messageservice.message.status.update?CODE=c&MESSAGE_ID=b&STATUS=failed";
    let batch = json!({"auth": access(1), "cmd": [command]});
    assert_eq!(client.ask(&host(1), "/rest/batch", &batch)?.status, 504);
    let later = json!({"CODE": "c", "MESSAGE_ID": "m", "STATUS": "delivered", "auth": access(1)});
    assert_eq!(client.ask(&host(1), UPDATE, &later)?.status, 200);
    assert_eq!(
        portal.messages_of(&host(1))["history"],
        json!({"c|m": ["delivered"]})
    );
    await_late(&portal, 2)?;
    assert_eq!(
        portal.messages_of(&host(1))["history"],
        json!({"c|m": ["delivered", "sent"], "c|b": ["failed"]})
    );

    portal.fault(faults(
        json!([{"kind": "execute_late", "ms": 1, "at": "oauth"}]),
    )?);
    assert_eq!(client.renew("refresh-p1-0000000000000001")?, Value::Null);
    await_late(&portal, 3)?;
    assert_eq!(
        client.renew("refresh-p1-0000000000000001")?["error"],
        "invalid_grant"
    );

    portal.fault(faults(json!([ordered]))?);
    client.ask(&host(1), UPDATE, &update)?;
    portal.reset(Settings::from_json(&json!({"portals": 1}))?)?;
    portal.release();
    assert_eq!(portal.messages_of(&host(1)), json!({"history": {}}));
    assert_eq!(portal.seen().late, 0);
    Ok(())
}
