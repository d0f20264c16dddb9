//! Requests that are not the portal's change nothing, and secrets appear nowhere; a second copy of the
//! library on the same store is refused.

use super::{Directory, HAND};
use b24_stress::provider::{Hand, Stage, host, member};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

const FORGERIES: [&str; 13] = [
    "token",
    "token_empty",
    "member",
    "address",
    "frame_as_event",
    "nested",
    "wide",
    "limit",
    "huge",
    "brackets",
    "brackets_text",
    "json_text",
    "encoding",
];

/// These are the portal's own, only unusual.
const GENUINE: [&str; 4] = ["limit", "brackets", "encoding", "address"];

/// Whatever looks like one of the emulator's tokens.
fn tokens_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in ["access-", "refresh-", "application-", "secret-"] {
        for (at, _) in text.match_indices(kind) {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let token = &rest[..end.unwrap_or(rest.len())];
            if token.len() >= kind.len() + 12 {
                found.insert(token.to_owned());
            }
        }
    }
    found
}

/// The bytes of the hexadecimal dumps in a log: eight groups of four digits in a row.
fn dumped(log: &str) -> String {
    let mut bytes = Vec::new();
    for line in log.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_group = |word: &&str| {
            word.len() == 4
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        };
        for row in words.windows(8) {
            if row.iter().all(is_group) {
                let digits: String = row.concat().replace('-', "");
                for at in (0..digits.len().saturating_sub(1)).step_by(2) {
                    bytes.extend(u8::from_str_radix(&digits[at..at + 2], 16));
                }
                break;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks that a text has no secret, neither as it is nor as hexadecimal digits or in a dump.
#[track_caller]
fn check_no_secret(what: &str, text: &str, secrets: &BTreeSet<String>) {
    let dumped = dumped(text);
    for secret in secrets {
        let digits = format!("{:02x?}", secret.as_bytes()).replace([',', ' ', '[', ']'], "");
        for (how, found) in [
            ("as it is", text.find(secret.as_str())),
            ("in hexadecimal", text.find(&digits)),
            ("in a dump", dumped.find(secret.as_str())),
        ] {
            assert!(
                found.is_none(),
                "{what} has the secret {secret} {how}: {:?}",
                found.and_then(|at| text.get(at.saturating_sub(200)..at + 100))
            );
        }
    }
}

#[test]
fn forged_requests_change_nothing_and_leak_nothing() {
    forge_all("full");
}

/// An authorization server that does not say whose tokens they are, so that they are renewed.
#[test]
fn forged_requests_change_nothing_where_tokens_are_confirmed_by_a_renewal() {
    forge_all("bare");
}

#[allow(
    clippy::too_many_lines,
    reason = "one story from its beginning to its end"
)]
fn forge_all(app_info: &str) {
    let stage = Stage::new(HAND, &json!({"portals": 3, "app_info": app_info}));
    let logs = Directory::new(&format!("forged-{app_info}"));
    let log = logs.0.join("log");
    let keys = logs.0.join("keys");
    let key = "000102030405060708090a0b0c0d0e0ff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
    std::fs::write(&keys, format!("k1 {key}\n")).expect("a file");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let key_file = keys.display().to_string();
    let options = [("store_key_file", key_file.as_str())];
    let mut hand = Hand::start(
        stage
            .command(&["hand"], &options)
            .env("B24_STRESS_LOG", &log),
    );
    let mut secrets: BTreeSet<String> =
        [key.to_owned(), "secret-0000000000000001".to_owned()].into();
    let mut shown = String::new();
    stage.install(&mut hand, 0..1);
    hand.done(&json!(["report", member(0), "m", "delivered", 0]));
    hand.done(&json!(["track", "r", member(0), "m2"]));
    hand.done(&json!(["drain", 300]));
    let before = stage.dump();
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    let mut count = 0;
    for forgery in FORGERIES {
        for (kind, order) in [
            ("event", json!({"as": "event"})),
            ("frame", json!({"as": "frame"})),
            ("frame's install", json!({"as": "frame"})),
            ("message", json!({})),
            ("uninstall", json!({"keep": true})),
        ] {
            for (as_json, portal) in [(false, 0), (true, 0), (false, 1)] {
                // Whoever is installed for the first time cannot be told from the portal.
                if portal == 1 && kind != "message" && kind != "uninstall" {
                    continue;
                }
                // It is the portal's own, and would do what it says.
                if kind == "uninstall" && portal == 0 && GENUINE.contains(&forgery) {
                    continue;
                }
                let mut order = order.clone();
                order["forge"] = json!(forgery);
                order["json"] = json!(as_json);
                order["host"] = json!(host(portal));
                let request = match kind {
                    "message" => stage.portal.message(order),
                    "uninstall" => stage.portal.uninstall(order),
                    _ => stage.portal.install(order),
                };
                // Not all can be forged in every way.
                let Ok(request) = request else {
                    continue;
                };
                let body = request["body"].as_str().unwrap_or_default();
                if body.len() < 100_000 {
                    secrets.extend(tokens_in(body));
                }
                let what = if kind == "frame's install" {
                    "frame"
                } else {
                    "receive"
                };
                let answer = hand.ask(&json!([what, request["content_type"], body]));
                count += 1;
                shown.push_str(&answer.to_string());
                let outcome = answer["error"]["kind"].as_str().unwrap_or("OK").to_owned();
                if outcome == "OK" {
                    // A known refresh token succeeds without effect.
                    let installs = kind != "message" && kind != "uninstall";
                    assert!(
                        GENUINE.contains(&forgery) || installs,
                        "{forgery} {kind} json={as_json} portal {portal} is believed: {answer}"
                    );
                } else {
                    assert!(
                        outcome == "ACCESS_DENIED" || outcome == "INVALID_ARGUMENT",
                        "{forgery} {kind} json={as_json}: {answer}"
                    );
                }
                *outcomes.entry(format!("{kind}: {outcome}")).or_default() += 1;
                // The uninstallation was made in the emulator, with the tokens kept.
                if kind == "uninstall" && portal == 0 {
                    stage
                        .portal
                        .install(json!({"host": host(0)}))
                        .expect("an order");
                }
                let after = stage.dump();
                let differences: Vec<_> =
                    after.iter().filter(|row| !before.contains(row)).collect();
                let gone: Vec<_> = before.iter().filter(|row| !after.contains(row)).collect();
                assert!(
                    differences.is_empty() && gone.is_empty(),
                    "{forgery} {kind} json={as_json} portal {portal} ({outcome}) changed {gone:#?} to {differences:#?}"
                );
            }
        }
    }
    // The installation still works, and so does what shows the content of the store.
    hand.done(&json!(["report", member(0), "m3", "delivered", 0]));
    assert_eq!(hand.done(&json!(["drain", 1000]))["waiting"], 0);
    shown.push_str(&hand.done(&json!(["inspect"])).to_string());
    shown.push_str(&hand.done(&json!(["refused"])).to_string());
    stage.fault(
        &json!([{"kind": "expire"}, {"kind": "error", "status": 403, "error": "ACCESS_DENIED"}]),
    );
    hand.done(&json!(["report", member(0), "m4", "delivered", 0]));
    shown.push_str(&hand.done(&json!(["drain", 500])).to_string());
    shown.push_str(&hand.ask(&json!(["install", "{\"access_token\":\"access-aaaaaaaaaaaaaaaaaaaa\",\"refresh_token\":\"refresh-aaaaaaaaaaaaaaaaaaaa\"}", "application-aaaaaaaaaaaaaaaaaaa"])).to_string());
    secrets.extend(
        [
            "access-aaaaaaaaaaaaaaaaaaaa",
            "refresh-aaaaaaaaaaaaaaaaaaaa",
            "application-aaaaaaaaaaaaaaaaaaa",
        ]
        .map(str::to_owned),
    );
    for portal in 0..3 {
        secrets.extend(tokens_in(
            &stage.portal.tokens_of(&host(portal)).to_string(),
        ));
    }
    hand.end();
    let log = std::fs::read(&log).expect("the log");
    let log = String::from_utf8_lossy(&log);
    check_no_secret("an answer", &shown, &secrets);
    check_no_secret("the log", &log, &secrets);
    let levels: BTreeMap<&str, usize> = log.lines().fold(BTreeMap::new(), |mut levels, line| {
        *levels
            .entry(line.split(' ').next().unwrap_or_default())
            .or_default() += 1;
        levels
    });
    assert!(
        levels.contains_key("TRACE") && levels.contains_key("INFO"),
        "{levels:?}"
    );
    for suffix in ["", "-wal"] {
        let file = format!("{}{suffix}", stage.store().display());
        let bytes = std::fs::read(&file).unwrap_or_default();
        check_no_secret(&file, &String::from_utf8_lossy(&bytes), &secrets);
    }
    println!(
        "{count} forged requests, row for row nothing has changed; {outcomes:?}; {} secrets searched for in {} KiB of log \
         ({levels:?}), {} KiB of answers, and the files of the store",
        secrets.len(),
        log.len() / 1024,
        shown.len() / 1024
    );
    assert!(count > 100, "few requests could be forged");
}

/// The tokens of the installation under another portal's name, where they are confirmed by a renewal:
/// the pair in the store still works afterwards.
#[test]
fn a_request_in_anothers_name_does_not_use_up_the_tokens() {
    for app_info in ["full", "bare"] {
        let stage = Stage::new(HAND, &json!({"portals": 3, "app_info": app_info}));
        let mut hand = stage.hand(&[]);
        stage.install(&mut hand, 0..1);
        for kind in ["event", "frame"] {
            let order = json!({"host": host(0), "as": kind, "forge": "member"});
            let request = stage.portal.install(order).expect("a request");
            let what = if kind == "frame" { "frame" } else { "receive" };
            let answer = hand.ask(&json!([what, request["content_type"], request["body"]]));
            println!("{app_info} {kind}: {answer}");
        }
        stage.fault(&json!([{"kind": "expire", "at": "batch"}]));
        // What another process may know does not help.
        hand.end();
        hand = stage.hand(&[]);
        hand.done(&json!(["report", member(0), "m", "delivered", 0]));
        let drained = hand.done(&json!(["drain", 1500]));
        let inspected = hand.done(&json!(["inspect"]));
        assert_eq!(
            stage.status(0, "m"),
            "delivered",
            "{app_info}: {drained} {inspected}"
        );
    }
}

/// The C library, if it was built.
fn c_library() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("B24_MESSAGESERVICE_LIB") {
        return Some(named.into());
    }
    let program = std::env::current_exe().expect("a program");
    // As `make build` leaves it.
    let target = program.parent()?.parent()?.parent()?;
    let library = target.join("c/lib/libb24_messageservice.so");
    library.exists().then_some(library)
}

/// A host that has the library twice, as one with the C library and a Python module has.
const TWICE: &str = r#"
import ctypes, sys

def load(path):
    lib = ctypes.CDLL(path, mode=0)
    lib.b24_config_new.restype = ctypes.c_void_p
    lib.b24_error_message.restype = ctypes.c_char_p
    lib.b24_error_message.argtypes = [ctypes.c_void_p]
    lib.b24_config_set.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    lib.b24_provider_open.argtypes = [ctypes.c_void_p] * 3
    lib.b24_provider_report.argtypes = [ctypes.c_void_p] + [ctypes.c_char_p] * 4 + [ctypes.c_int64, ctypes.c_void_p]
    return lib

def open_provider(lib, options):
    config = lib.b24_config_new()
    for option in options:
        name, value = option.split("=", 1)
        assert lib.b24_config_set(config, name.encode(), value.encode(), None) == 0, option
    provider, error = ctypes.c_void_p(), ctypes.c_void_p()
    code = lib.b24_provider_open(config, ctypes.byref(provider), ctypes.byref(error))
    return provider, code, lib.b24_error_message(error).decode() if code else ""

def report(lib, provider, message):
    error = ctypes.c_void_p()
    code = lib.b24_provider_report(provider, b"0" * 31 + b"1", b"provider1", message.encode(), b"sent", 0, ctypes.byref(error))
    return code, lib.b24_error_message(error).decode() if code else ""

first, second = load(sys.argv[1]), load(sys.argv[2])
assert first._handle != second._handle
provider, code, message = open_provider(first, sys.argv[3:])
assert code == 0, message
assert report(first, provider, "a") == (0, "")
other, code, message = open_provider(second, sys.argv[3:])
print("open:", code, message)
assert code != 0 and "another copy" in message, (code, message)
assert report(first, provider, "b") == (0, "")
print("the first goes on")
"#;

#[test]
fn a_second_copy_of_the_library_is_refused() {
    let Some(library) = c_library() else {
        println!("skipped: build the C library, or name it in B24_MESSAGESERVICE_LIB");
        return;
    };
    let stage = Stage::new(HAND, &json!({"portals": 1}));
    let copies = Directory::new("copies");
    let names = ["liba.so", "libb.so"].map(|name| copies.0.join(name));
    for name in &names {
        std::fs::copy(&library, name).expect("a copy");
    }
    let options = stage.options(&[]);
    let mut python = Command::new("python3");
    python.arg("-c").arg(TWICE).args(&names);
    python.args(
        options
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    let output = python.output().expect("python3");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: Value = stage.number("SELECT count(*) FROM b24_receipt").into();
    assert_eq!(rows, 2);
}
