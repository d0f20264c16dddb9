//! What the portal sends to a provider.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use b24_portal::php::{self, parse_str};
use b24_portal::{Portal, Settings};
use serde_json::{Value, json};

use super::{Client, Outcome, TOKEN, UPDATE, start, update};

const REFRESH: &str = "refresh-0000000000000001";
const MIB: usize = 1024 * 1024;

fn text<'a>(told: &'a Value, name: &str) -> &'a str {
    told[name].as_str().unwrap_or_default()
}

/// The fields of a form, as PHP reads them, or the members of JSON.
fn fields(request: &Value) -> Value {
    let body = text(request, "body");
    match text(request, "content_type") {
        "application/json" => serde_json::from_str(body).unwrap_or_default(),
        _ => json!(parse_str(body)),
    }
}

/// The names of the fields of a form, in their order.
fn names(request: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for pair in text(request, "body").split('&') {
        let parsed = parse_str(&format!(
            "name={}",
            pair.split('=').next().unwrap_or_default()
        ));
        if let Some(php::Value::Str(name)) = parsed.get_any_case("name") {
            all.push(name.clone());
        }
    }
    all
}

fn portals() -> Result<Portal, Box<dyn std::error::Error>> {
    Ok(Portal::start(Settings::from_json(&json!({"portals": 2}))?)?)
}

#[test]
fn an_installation_comes_as_an_event() -> Outcome {
    let portal = portals()?;
    let request = portal.install(json!({"ts": 7}))?;
    assert_eq!(
        (text(&request, "content_type"), &request["pair"]),
        ("application/x-www-form-urlencoded", &json!(0))
    );
    let endpoint = format!("https://portal.bitrix24.test:{}/rest/", portal.https_port());
    let server = format!("https://oauth.bitrix24.test:{}/rest/", portal.oauth_port());
    let auth = json!({
        "access_token": TOKEN, "refresh_token": REFRESH, "expires_in": "3600",
        "scope": "messageservice", "domain": "portal.bitrix24.test", "status": "F",
        "server_endpoint": server, "client_endpoint": endpoint,
        "member_id": "a223c6b3710f85df22e9377d6c4f7553",
        "application_token": "application-0000000000000001",
    });
    let data = json!({"VERSION": "1", "ACTIVE": "Y", "INSTALLED": "Y", "LANGUAGE_ID": "en"});
    assert_eq!(
        fields(&request),
        json!({"event": "ONAPPINSTALL", "data": data, "ts": "7", "auth": auth})
    );
    let mut as_json = fields(&portal.install(json!({"ts": 7, "json": true}))?);
    assert_eq!(as_json["auth"]["expires_in"], 3600);
    as_json["auth"]["expires_in"] = "3600".into();
    assert_eq!(as_json, fields(&request));

    let other = fields(&portal.install(json!({"host": "P2.bitrix24.test"}))?);
    let endpoint = format!("https://p2.bitrix24.test:{}/rest/", portal.https_port());
    assert_eq!(other["auth"]["client_endpoint"], endpoint);
    assert_eq!(other["auth"]["access_token"], "access-p2-0000000000000001");
    assert_eq!(
        other["auth"]["application_token"],
        "application-p2-0000000000000001"
    );
    Ok(())
}

#[test]
fn an_installation_comes_in_a_frame_and_from_the_authorization_server() -> Outcome {
    let portal = portals()?;
    let order = json!({"as": "frame", "host": "my.bitrix24.test"});
    let frame = portal.install(order)?;
    let query = json!(parse_str(text(&frame, "query")));
    assert_eq!(
        (&query["DOMAIN"], &query["PROTOCOL"], &query["LANG"]),
        (&json!("my.bitrix24.test"), &json!("1"), &json!("en"))
    );
    assert_eq!(text(&query, "APP_SID").len(), 32);
    let server = format!("https://oauth.bitrix24.test:{}/rest/", portal.oauth_port());
    let mut expected = json!({
        "AUTH_ID": TOKEN, "AUTH_EXPIRES": "3600", "REFRESH_ID": REFRESH, "status": "F",
        "member_id": "a223c6b3710f85df22e9377d6c4f7553", "PLACEMENT": "DEFAULT",
        "SERVER_ENDPOINT": server, "APPLICATION_TOKEN": "application-0000000000000001",
        "APPLICATION_SCOPE": "messageservice",
    });
    assert_eq!(fields(&frame), expected);
    for name in ["SERVER_ENDPOINT", "APPLICATION_TOKEN", "APPLICATION_SCOPE"] {
        expected.as_object_mut().map(|all| all.remove(name));
    }
    let of_an_older_portal = portal.install(json!({"as": "frame", "newer": false}))?;
    assert_eq!(fields(&of_an_older_portal), expected);

    let told = portal.install(json!({"as": "oauth", "pair": "user"}))?;
    assert_eq!(text(&told, "content_type"), "application/json");
    let told = fields(&told);
    let pair = &portal.tokens()["pairs"][1];
    let endpoint = format!("https://my.bitrix24.test:{}/rest/", portal.https_port());
    assert_eq!(
        told,
        json!({
            "access_token": pair["access_token"], "refresh_token": pair["refresh_token"],
            "expires": pair["expires"], "expires_in": 3600, "client_endpoint": endpoint,
            "server_endpoint": "https://oauth.bitrix24.test/rest/", "domain": "oauth.bitrix24.test",
            "member_id": "a223c6b3710f85df22e9377d6c4f7553", "scope": "messageservice",
            "status": "F", "user_id": 68,
        })
    );
    Ok(())
}

#[test]
fn an_application_is_uninstalled_and_installed_again() -> Outcome {
    let (portal, mut client) = start(&json!({}))?;
    let mut renew = |token: &str| -> Result<String, Box<dyn std::error::Error>> {
        let path = format!(
            "/oauth/token/?grant_type=refresh_token&client_id=app.1&client_secret=secret-0000000000000001&refresh_token={token}"
        );
        client.send("GET", &path, "oauth.bitrix24.test", "")?;
        Ok(client.receive()?.error())
    };
    let kept = portal.uninstall(json!({"keep": true, "ts": 7}))?;
    let told = fields(&kept);
    assert_eq!(told["event"], "ONAPPUNINSTALL");
    assert_eq!(told["data"], json!({"CLEAN": "0", "LANGUAGE_ID": "en"}));
    assert_eq!(told["ts"], "7");
    let auth: BTreeMap<_, _> = told["auth"].as_object().into_iter().flatten().collect();
    let expected = [
        "application_token",
        "client_endpoint",
        "domain",
        "member_id",
        "server_endpoint",
    ];
    assert!(auth.keys().eq(expected.iter()), "{auth:?}");
    let mut other = Client::plain(portal.http_port())?;
    assert_eq!(other.update("7", "sent")?.status, 200);
    let clean = fields(&portal.uninstall(json!({"clean": true}))?);
    assert_eq!(clean["data"]["CLEAN"], "1");
    assert_eq!(other.update("7", "sent")?.error(), "APPLICATION_NOT_FOUND");
    assert_eq!(renew(REFRESH)?, "NOT_INSTALLED");
    assert_eq!(portal.tokens()["installed"], false);

    let first = fields(&portal.install(json!({}))?)["auth"].clone();
    assert_eq!(other.update("7", "sent")?.error(), "invalid_token");
    assert_eq!(renew(REFRESH)?, "invalid_grant");
    assert!(!portal.lost(), "that was an earlier installation's");
    assert_eq!(first["application_token"], "application-0000000000000001");
    let mut body = update("7", "sent");
    body["auth"] = first["access_token"].clone();
    assert_eq!(other.post(UPDATE, &body)?.status, 200);

    let again = json!({"again": true, "application_token": "another"});
    let second = fields(&portal.install(again)?)["auth"].clone();
    assert_eq!(second["application_token"], "another");
    assert_eq!(portal.tokens()["application_token"], "another");
    assert_eq!(other.post(UPDATE, &body)?.error(), "invalid_token");
    assert_eq!(renew(text(&second, "refresh_token"))?, "");
    Ok(())
}

#[test]
fn a_message_comes_with_its_authors_token() -> Outcome {
    let (portal, mut client) = start(&json!({"messages": [], "portals": 1}))?;
    let order = json!({
        "code": "p1", "phone": "+7 (1)", "text": "A & B=C\nД", "ts": 7,
        "bindings": [{"OWNER_TYPE_ID": 3, "OWNER_ID": 7}, {"OWNER_TYPE_ID": "4", "OWNER_ID": "8"}],
    });
    let request = portal.message(order)?;
    let told = fields(&request);
    let id = text(&request, "message_id");
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(told["message_id"], id);
    assert_eq!(
        (
            &told["module_id"],
            &told["type"],
            &told["code"],
            &told["ts"]
        ),
        (&json!("crm"), &json!("SMS"), &json!("p1"), &json!("7"))
    );
    assert_eq!(
        told["bindings"],
        json!([{"OWNER_TYPE_ID": "3", "OWNER_ID": "7"}, {"OWNER_TYPE_ID": "4", "OWNER_ID": "8"}])
    );
    let properties = json!({"phone_number": "+7 (1)", "message_text": "A & B=C\nД"});
    assert_eq!(told["properties"], properties);
    assert_eq!(
        (&told["message_to"], &told["message_body"]),
        (&json!("+7 (1)"), &json!("A & B=C\nД"))
    );
    assert_eq!(told["auth"]["user_id"], "67");
    assert_eq!(told["auth"]["refresh_token"], Value::Null);
    let of_user = fields(&portal.message(json!({"user": true}))?);
    assert_eq!(of_user["auth"]["user_id"], "68");
    let token = &told["auth"]["access_token"];
    assert_ne!(*token, TOKEN);
    assert_ne!(*token, of_user["auth"]["access_token"]);
    assert_eq!(
        *token,
        fields(&portal.message(json!({}))?)["auth"]["access_token"]
    );

    let mut report = |id: &str, token: &Value| -> Result<String, Box<dyn std::error::Error>> {
        let body = json!({"CODE": "p1", "MESSAGE_ID": id, "STATUS": "sent", "auth": token});
        Ok(client.post(UPDATE, &body)?.error())
    };
    assert_eq!(report(id, token)?, "");
    assert_eq!(report("unknown", &json!(TOKEN))?, "ERROR_MESSAGE_NOT_FOUND");
    portal.message(json!({"code": "p1", "message_id": "mine", "host": "p1.bitrix24.test"}))?;
    assert_eq!(
        report("mine", &json!(TOKEN))?,
        "ERROR_MESSAGE_NOT_FOUND",
        "it is another portal's"
    );

    let bizproc = portal.message(json!({"module": "bizproc"}))?;
    let told = fields(&bizproc);
    assert_eq!(told["bindings"], Value::Null);
    assert!(told["workflow_id"].is_string());
    assert_eq!(
        told["document_id"],
        json!(["crm", "CCrmDocumentLead", "LEAD_7"])
    );
    assert_eq!(
        names(&bizproc)
            .iter()
            .filter(|name| *name == "document_type[]")
            .count(),
        3
    );
    let bizproc = fields(&portal.message(json!({"module": "bizproc", "json": true}))?);
    assert_eq!(
        bizproc["document_type"],
        json!(["crm", "CCrmDocumentLead", "LEAD"])
    );
    assert!(bizproc["auth"]["expires"].is_i64());
    Ok(())
}

#[test]
fn single_fields_are_changed() -> Outcome {
    let portal = portals()?;
    let changes = json!({"code": null, "ts": 5, "more[a]": "b c", "auth[user_id]": true});
    for json in [false, true] {
        let told = fields(&portal.message(json!({"fields": changes, "json": json}))?);
        assert_eq!(told["code"], Value::Null);
        assert_eq!(
            (&told["ts"], &told["more"]),
            (&json!("5"), &json!({"a": "b c"}))
        );
        let user = &told["auth"]["user_id"];
        assert!(user == "1" || user == 1, "{user}");
    }
    let token = json!({"auth[application_token]": "mine"});
    let both = portal.message(json!({"fields": token, "forge": "token"}))?;
    assert_eq!(fields(&both)["auth"]["application_token"], "mine");
    Ok(())
}

#[test]
fn values_are_forged() -> Outcome {
    let portal = portals()?;
    let real = portal.tokens();
    let token = text(&real, "application_token");
    for json in [false, true] {
        for path in ["install", "message", "uninstall"] {
            let forged = |forge: &str| {
                let mut order = json!({ "forge": forge, "json": json });
                if path == "uninstall" {
                    order["keep"] = true.into();
                }
                let request = match path {
                    "install" => portal.install(order),
                    "message" => portal.message(order),
                    _ => portal.uninstall(order),
                };
                request.map(|request| fields(&request)["auth"].clone())
            };
            let auth = forged("token")?;
            assert_ne!(auth["application_token"], token, "{path}");
            assert_eq!(
                text(&auth, "application_token").len(),
                token.len(),
                "{path}"
            );
            assert_eq!(auth["member_id"], real["member_id"], "{path}");
            assert_eq!(forged("token_empty")?["application_token"], "", "{path}");
            let auth = forged("member")?;
            assert_eq!(auth["member_id"], format!("{:032x}", 1), "{path}");
            assert_eq!(auth["application_token"], token, "{path}");
            let auth = forged("address")?;
            assert_eq!(
                auth["client_endpoint"], "https://attacker.test/rest/",
                "{path}"
            );
            assert_eq!(
                auth["server_endpoint"], "https://attacker.test/rest/",
                "{path}"
            );
            assert_eq!(auth["domain"], "attacker.test", "{path}");
        }
    }
    let other = portal.message(json!({"host": "p1.bitrix24.test", "forge": "member"}))?;
    assert_eq!(fields(&other)["auth"]["member_id"], real["member_id"]);

    let frame = portal.install(json!({"as": "frame", "forge": "address"}))?;
    assert!(
        text(&frame, "query").starts_with("DOMAIN=attacker.test&"),
        "{frame}"
    );
    assert_eq!(
        fields(&frame)["SERVER_ENDPOINT"],
        "https://attacker.test/rest/"
    );
    let frame = portal.install(json!({"as": "frame", "forge": "token"}))?;
    assert_ne!(fields(&frame)["APPLICATION_TOKEN"], token);
    let older = json!({"as": "frame", "newer": false, "forge": "token"});
    assert!(portal.install(older).is_err());

    let stolen = portal.install(json!({"forge": "frame_as_event"}))?;
    let auth = fields(&stolen)["auth"].clone();
    assert_eq!(fields(&stolen)["event"], "ONAPPINSTALL");
    let tokens = portal.tokens();
    let pair = tokens["pairs"].as_array().and_then(|pairs| pairs.last());
    let pair = pair.cloned().unwrap_or_default();
    assert_eq!(
        (&pair["admin"], &pair["access_token"]),
        (&json!(false), &auth["access_token"])
    );
    assert_ne!(auth["application_token"], token);
    assert!(portal.message(json!({"forge": "frame_as_event"})).is_err());
    Ok(())
}

#[test]
fn requests_are_hard_to_read() -> Outcome {
    let portal = portals()?;
    let token = text(&portal.tokens(), "application_token").to_owned();
    let message = |forge: &str, json: bool| portal.message(json!({"forge": forge, "json": json}));
    for json in [false, true] {
        let size = |forge: &str| message(forge, json).map(|told| text(&told, "body").len());
        assert_eq!((size("limit")?, size("huge")?), (MIB, MIB + 1));
        assert!(size("wide")? < MIB && size("nested")? < MIB);
        let limit = fields(&message("limit", json)?);
        assert_eq!(limit["auth"]["application_token"], token);
        let brackets = fields(&message("brackets", json)?);
        assert_eq!(brackets["auth"]["application_token"], token);
        assert_eq!(fields(&message("brackets_text", json)?)["auth"], "forged");
    }
    let nested = text(&message("nested", false)?, "body").to_owned();
    assert_eq!(nested.matches("%5Bauth%5D").count(), 10_000);
    let nested = text(&message("nested", true)?, "body").to_owned();
    assert_eq!(nested.matches("{\"auth\":").count(), 10_000);
    let wide = message("wide", false)?;
    assert!(names(&wide).len() > 100_000);
    let wide = fields(&message("wide", true)?);
    assert!(wide.as_object().is_some_and(|all| all.len() > 100_000));

    let brackets = message("brackets", false)?;
    let names = names(&brackets);
    let often = |name: &str| names.iter().filter(|known| *known == name).count();
    assert_eq!(often("auth[application_token]"), 1);
    for name in ["auth[application_token", "auth]", "auth[]"] {
        assert_eq!(often(name), 2, "{name}");
    }

    let wrong = message("json_text", false)?;
    assert_eq!(text(&wrong, "content_type"), "application/json");
    assert!(text(&wrong, "body").starts_with("module_id=crm&"));
    let encoding = message("encoding", false)?;
    assert!(text(&encoding, "body").contains("%zz%4&%=%&utf=%C3%28%FF%FE"));
    assert_eq!(fields(&encoding)["auth"]["application_token"], token);
    assert_eq!(
        fields(&message("encoding", true)?),
        Value::Null,
        "half a pair"
    );
    Ok(())
}

#[test]
fn a_wrong_order_is_refused() -> Outcome {
    let portal = portals()?;
    for order in [
        json!({"as": "letter"}),
        json!({"pair": "third"}),
        json!({"forge": "everything"}),
        json!({"code": "p1"}),
        json!([]),
        json!({"to": "ftp://127.0.0.1/"}),
        json!({"to": "https://127.0.0.1/"}),
        json!({"to": "http://192.0.2.1/"}),
        json!({"fields": {"ts": []}}),
    ] {
        assert!(portal.install(order.clone()).is_err(), "{order}");
    }
    assert!(
        portal
            .message(json!({"bindings": [{"OWNER_ID": []}]}))
            .is_err()
    );
    assert!(portal.uninstall(json!({"again": true})).is_err());
    Ok(())
}

#[test]
fn a_request_is_sent_to_a_handler() -> Outcome {
    let portal = portals()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let handler = thread::spawn(move || -> std::io::Result<Vec<(String, String)>> {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, but this is too much",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n",
            "",
        ];
        let mut got = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept()?;
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head)?;
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
            stream.read_exact(&mut body)?;
            got.push((head, String::from_utf8_lossy(&body).into_owned()));
            stream.get_mut().write_all(answer.as_bytes())?;
        }
        Ok(got)
    });
    let to = format!("http://127.0.0.1:{port}/handler?a=b");
    let request = portal.install(json!({"as": "frame", "to": to, "times": 3}))?;
    assert_eq!(request["replies"][0], json!({"status": 200, "body": "ok"}));
    assert_eq!(request["replies"][1], json!({"status": 403, "body": "no!"}));
    assert_eq!(request["reply"], request["replies"][2]);
    assert_eq!(request["reply"]["status"], 0);
    assert!(request["reply"]["error"].is_string());
    let got = handler.join().map_err(|_| "the handler failed")??;
    assert_eq!(got.len(), 3);
    for (head, body) in got {
        let line = format!("POST /handler?a=b&{} HTTP/1.1\r\n", text(&request, "query"));
        assert!(head.starts_with(&line), "{head}");
        assert!(
            head.contains("\r\nContent-Type: application/x-www-form-urlencoded\r\n"),
            "{head}"
        );
        assert_eq!(body, text(&request, "body"));
    }
    Ok(())
}
