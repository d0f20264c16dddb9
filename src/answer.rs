//! Answers: what the portal or the authorization server wrote, read without trusting it.

use crate::batch::percent_encode;
use crate::fault::{Fault, Refusal, Repeat, unreadable};
use crate::transport::Answer;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest text of a portal's that is passed on.
const MAX_TEXT_CHARS: usize = 500;

/// Who answered, and what must not be passed on of what it said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) server: &'a str,
    pub(crate) secrets: [&'a str; 3],
}

/// The outermost object of every answer. Members are kept raw, so that one of an unexpected type
/// spoils nothing but itself.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Envelope<'a, T = Time> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    error_description: Option<&'a RawValue>,
    time: Option<T>,
}

impl<'a> Envelope<'a> {
    /// Reads it in one pass, and in another if the times are of an unexpected type.
    fn read(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text).or_else(|_| {
            let rest: Envelope<'a, IgnoredAny> = serde_json::from_str(text)?;
            Ok(Self {
                result: rest.result,
                error: rest.error,
                error_description: rest.error_description,
                time: None,
            })
        })
    }
}

/// What an answer tells about the method's time budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Operating {
    /// How long after the answer the budget's oldest part is given back.
    pub(crate) reset_in: Option<Duration>,
}

#[derive(Clone, Copy, Deserialize)]
struct Time {
    finish: Option<f64>,
    operating_reset_at: Option<f64>,
}

impl Operating {
    /// Both times are the portal's own, so that its clock may differ from ours.
    fn new(time: Option<Time>) -> Self {
        let reset_in = time.and_then(|time| {
            let seconds = time.operating_reset_at? - time.finish?;
            Duration::try_from_secs_f64(seconds.clamp(0.0, 3600.0)).ok()
        });
        Self { reset_in }
    }
}

/// The answer to a single update.
pub(crate) fn read_update(answer: &Answer, source: Source<'_>) -> Result<Operating, Fault> {
    read(answer, source, |envelope| {
        match envelope.result.map(RawValue::get) {
            Some("true") => Ok(Operating::new(envelope.time)),
            _ => Err("an answer that is neither true nor an error"),
        }
    })
}

/// The answers to the commands of a batch, in their order.
#[derive(Debug)]
pub(crate) struct BatchAnswer {
    pub(crate) commands: Vec<Result<(), Fault>>,
    pub(crate) operating: Operating,
}

#[derive(Deserialize)]
struct BatchResult {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    result_error: Value,
    #[serde(default)]
    result_time: Value,
}

/// The answer to a batch of commands with the given keys.
pub(crate) fn read_batch(
    answer: &Answer,
    source: Source<'_>,
    keys: &[String],
) -> Result<BatchAnswer, Fault> {
    read(answer, source, |envelope| {
        let result: BatchResult = envelope
            .result
            .and_then(|result| serde_json::from_str(result.get()).ok())
            .ok_or("an answer that is no batch's")?;
        let mut operating = Operating::default();
        let commands = keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                let time = member(&result.result_time, key, index);
                let told = Operating::new(time.and_then(|time| Time::deserialize(time).ok()));
                if told.reset_in.is_some() {
                    operating = told;
                }
                command_fate(&result, key, index, answer, source)
            })
            .collect();
        if operating.reset_in.is_none() {
            operating = Operating::new(envelope.time);
        }
        Ok(BatchAnswer {
            commands,
            operating,
        })
    })
}

fn command_fate(
    result: &BatchResult,
    key: &str,
    index: usize,
    answer: &Answer,
    source: Source<'_>,
) -> Result<(), Fault> {
    if let Some(error) = member(&result.result_error, key, index).filter(|e| !e.is_null()) {
        let (code, description) = match error {
            Value::Object(error) => (error.get("error"), error.get("error_description")),
            plain => (Some(plain), None),
        };
        let code = source.clean(&code.map(plain_text).unwrap_or_default());
        let description = source.clean(&description.map(plain_text).unwrap_or_default());
        return Err(Refusal {
            server: source.server,
            renewal: false,
            http_status: answer.status,
            code: if code.is_empty() {
                "an error without a code"
            } else {
                &code
            },
            description: &description,
            retry_after: answer.retry_after,
        }
        .fault());
    }
    match member(&result.result, key, index) {
        Some(Value::Bool(true)) => Ok(()),
        Some(_) => Err(unreadable(
            source.server,
            answer.status,
            "a batch in which this update's answer is neither true nor an error",
            None,
        )),
        None => {
            let mut fault = unreadable(
                source.server,
                answer.status,
                "a batch in which this update was not executed",
                None,
            );
            fault.repeat = Repeat::Later;
            Err(fault)
        }
    }
}

/// A member of what PHP writes for a map: an object, or an array where the keys were 0, 1, 2….
fn member<'a>(map: &'a Value, key: &str, index: usize) -> Option<&'a Value> {
    match map {
        Value::Object(map) => map.get(key),
        Value::Array(list) => list.get(index),
        _ => None,
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What a renewal brought.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) client_endpoint: String,
    pub(crate) member_id: String,
    pub(crate) expires: Option<i64>,
    pub(crate) expires_in: Option<i64>,
}

/// The members of what the authorization server wrote, each kept raw as those of an [`Envelope`].
/// A pair in them exists nowhere else: what PHP writes before or after them does not spoil it.
fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    let json = text.get(text.find('{')?..)?;
    serde_json::Deserializer::from_str(json)
        .into_iter()
        .next()?
        .ok()
}

/// Whether the pair is in so much of an answer of the authorization server's.
pub(crate) fn has_pair(body: &[u8]) -> bool {
    members(&body_text(body)).is_some_and(|told| told.contains_key("access_token"))
}

/// The answer of the authorization server.
pub(crate) fn read_renewal(answer: &Answer, source: Source<'_>) -> Result<Renewed, Fault> {
    let text = body_text(&answer.body);
    let page = |what| unreadable(source.server, answer.status, what, answer.retry_after);
    let told = members(&text).ok_or_else(|| page(describe(&text)))?;
    let member = |name: &str| {
        let text = told.get(name).map(|value| raw_text(value));
        text.filter(|text| text != "null").unwrap_or_default()
    };
    let number = |name: &str| member(name).parse().ok();
    let code = source.clean(&member("error"));
    if is_error(&code) {
        return Err(Refusal {
            server: source.server,
            renewal: true,
            http_status: answer.status,
            code: &code,
            description: &source.clean(&member("error_description")),
            retry_after: answer.retry_after,
        }
        .fault());
    }
    let access_token = member("access_token");
    if !(200..300).contains(&answer.status) || access_token.is_empty() {
        return Err(page("an answer without an access token"));
    }
    Ok(Renewed {
        access_token,
        refresh_token: member("refresh_token"),
        client_endpoint: member("client_endpoint"),
        member_id: member("member_id"),
        expires: number("expires"),
        expires_in: number("expires_in"),
    })
}

/// Reads the envelope. An `error` member decides, whatever the HTTP status.
fn read<T>(
    answer: &Answer,
    source: Source<'_>,
    success: impl FnOnce(&Envelope<'_>) -> Result<T, &'static str>,
) -> Result<T, Fault> {
    let text = body_text(&answer.body);
    let page = |what| unreadable(source.server, answer.status, what, answer.retry_after);
    let envelope = Envelope::read(&text).map_err(|_| page(describe(&text)))?;
    if let Some(code) = envelope.error.map(raw_text).filter(|code| is_error(code)) {
        let description = envelope.error_description.map(raw_text).unwrap_or_default();
        return Err(Refusal {
            server: source.server,
            renewal: false,
            http_status: answer.status,
            code: &source.clean(&code),
            description: &source.clean(&description),
            retry_after: answer.retry_after,
        }
        .fault());
    }
    if (200..300).contains(&answer.status) {
        success(&envelope).map_err(page)
    } else {
        Err(page("an answer that is no error of the protocol"))
    }
}

/// Some portals write an empty error beside a result.
fn is_error(code: &str) -> bool {
    !matches!(code, "" | "null" | "false" | "0" | "[]" | "{}")
}

/// A member's text: a string's own, anything else as it stands.
fn raw_text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

fn body_text(body: &[u8]) -> Cow<'_, str> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    // Nearly every body is UTF-8, which this finds out much faster than the lossy reading does.
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(body),
    }
}

/// What an unreadable body is, without quoting it: a login page may echo what was sent.
fn describe(text: &str) -> &'static str {
    match text.trim_start().chars().next() {
        None => "an empty body",
        Some('<') => "an HTML page",
        Some('{' | '[') => "JSON that is cut off or not of this protocol",
        Some(_) => "a body that is not JSON",
    }
}

impl Source<'_> {
    /// A portal's text fit for messages and logs: short, on one line, without what was sent to
    /// it in confidence.
    fn clean(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            let mut encoded = String::new();
            percent_encode(secret, &mut encoded);
            for form in [secret, encoded.as_str(), &encoded.to_ascii_lowercase()] {
                if text.contains(form) {
                    text = Cow::Owned(text.replace(form, "***"));
                }
            }
        }
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_TEXT_CHARS)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn source() -> Source<'static> {
        Source {
            server: "https://portal.bitrix24.com",
            secrets: ["token-1", "", "secret-1"],
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            location: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        }
    }

    fn update(status: u16, body: &str) -> Result<Operating, (ErrorKind, Repeat)> {
        read_update(&answer(status, body), source()).map_err(|f| (f.error.kind(), f.repeat))
    }

    #[test]
    fn success_is_true_and_nothing_else() {
        assert!(update(200, r#"{"result":true}"#).is_ok());
        assert!(update(200, "\u{feff}{\"result\":true,\"time\":[]}").is_ok());
        assert!(update(200, r#"{"result":true,"error":""}"#).is_ok());
        let unread = Err((ErrorKind::Protocol, Repeat::Later));
        for body in [
            "",
            "true",
            "[]",
            "{}",
            r#"{"result":1}"#,
            r#"{"result":"true"}"#,
            "<html>",
        ] {
            assert_eq!(update(200, body), unread, "{body}");
        }
        let deep = format!("{{\"result\":{}", "[".repeat(200_000));
        assert_eq!(update(200, &deep), unread);
    }

    #[test]
    fn an_error_member_decides() {
        let body = r#"{"result":true,"error":"ERROR_MESSAGE_NOT_FOUND"}"#;
        let expected = Err((ErrorKind::MessageNotFound, Repeat::Never));
        assert_eq!(update(200, body), expected);
        assert_eq!(update(400, body), expected);
        assert_eq!(
            update(502, "<html>Bad Gateway"),
            Err((ErrorKind::Portal, Repeat::Later))
        );
        assert_eq!(
            update(404, "<html>"),
            Err((ErrorKind::Protocol, Repeat::Never))
        );
    }

    #[test]
    fn what_a_portal_echoes_is_not_passed_on() {
        let body = r#"{"error":"X","error_description":"bad token-1\nand secret-1"}"#;
        let error = read_update(&answer(400, body), source()).unwrap_err().error;
        assert_eq!(error.description(), "bad *** and ***");
        assert!(!error.to_string().contains("token-1"));
    }

    #[test]
    fn times_are_relative_to_the_portals_clock() {
        let body = r#"{"result":true,"time":{"finish":1000.5,"operating_reset_at":1030}}"#;
        let reset_in = update(200, body).unwrap().reset_in;
        assert_eq!(reset_in, Some(Duration::from_millis(29_500)));
    }

    #[test]
    fn a_batch_is_read_in_each_shape_that_php_writes() {
        let keys = ["u0".to_owned(), "u1".to_owned()];
        let fates = |result: &str| {
            let body = format!(r#"{{"result":{result}}}"#);
            let read = read_batch(&answer(200, &body), source(), &keys).unwrap();
            let kind = |fate: &Result<(), Fault>| fate.as_ref().err().map(|f| f.error.kind());
            read.commands.iter().map(kind).collect::<Vec<_>>()
        };
        let not_found = Some(ErrorKind::MessageNotFound);
        let unread = Some(ErrorKind::Protocol);
        for (result, expected) in [
            (
                r#"{"result":{"u0":true,"u1":true},"result_error":[]}"#,
                [None, None],
            ),
            (r#"{"result":[true,true],"result_error":[]}"#, [None, None]),
            (
                r#"{"result":{"u0":true},"result_error":{"u1":{"error":"ERROR_MESSAGE_NOT_FOUND"}}}"#,
                [None, not_found],
            ),
            (
                r#"{"result":[],"result_error":{"u1":"ERROR_MESSAGE_NOT_FOUND"}}"#,
                [unread, not_found],
            ),
            (r#"{"result":{"u0":false,"u1":true}}"#, [unread, None]),
            (r"[]", [unread, unread]),
        ] {
            assert_eq!(fates(result), expected, "{result}");
        }
    }
}
