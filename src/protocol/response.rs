//! Responses of the portal and of the authorization server, read without trusting them.

use super::error_table::{AttemptError, CodeRow, ErrorResponse, unreadable};
use super::form::percent_encode;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;

/// The longest text of a portal that is passed on.
const MAX_TEXT_CHARS: usize = 500;

/// A response, whatever its status.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
    /// Whether the request was sent before as well, on a connection that broke then.
    pub(crate) sent_before: bool,
}

/// Who answered, and the secrets that must not be passed on from the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) server: &'a str,
    pub(crate) secrets: [&'a str; 3],
    /// The codes that have another meaning here than elsewhere, or occur only here.
    pub(crate) codes: &'static [CodeRow],
}

/// The outermost object of every answer. Members are kept raw, so that one of an unexpected type
/// does not affect the others.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct Envelope<'a, T = Time> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    error_description: Option<&'a RawValue>,
    time: Option<T>,
}

impl Envelope<'_> {
    /// The result, if it is of this type.
    pub(crate) fn result_as<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.result?.get()).ok()
    }

    /// What it says about the method's time budget.
    pub(crate) fn operating(&self) -> Operating {
        Operating::new(self.time)
    }
}

impl<'a> Envelope<'a> {
    /// Reads it in one pass, and once more without the times if these are of an unexpected type.
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

/// What an answer says about the method's time budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Operating {
    /// How long after the answer the oldest part of the budget can be used again.
    pub(crate) reset_in: Option<Duration>,
}

#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Time {
    finish: Option<f64>,
    operating_reset_at: Option<f64>,
}

impl Operating {
    /// Both times are from the portal's clock, so it may differ from this machine's.
    pub(crate) fn new(time: Option<Time>) -> Self {
        let reset_in = time.and_then(|time| {
            let seconds = time.operating_reset_at? - time.finish?;
            Duration::try_from_secs_f64(seconds.clamp(0.0, 3600.0)).ok()
        });
        Self { reset_in }
    }
}

/// Reads the envelope. If there is an `error`, the call failed, whatever the HTTP status.
pub(crate) fn read<T>(
    response: &Response,
    source: Source<'_>,
    success: impl FnOnce(&Envelope<'_>) -> Result<T, &'static str>,
) -> Result<T, AttemptError> {
    let text = body_text(&response.body);
    let page = |what| source.unreadable(response, what);
    let envelope = Envelope::read(&text).map_err(|_| page(describe(&text)))?;
    if let Some(code) = envelope.error.map(raw_text).filter(|code| is_error(code)) {
        let description = envelope.error_description.map(raw_text).unwrap_or_default();
        return Err(source.refusal(response, &code, &description));
    }
    if (200..300).contains(&response.status) {
        success(&envelope).map_err(page)
    } else {
        Err(page("an answer that is not an error of the protocol"))
    }
}

/// Reads the response of a method that returns only `true`.
pub(crate) fn read_true(
    response: &Response,
    source: Source<'_>,
) -> Result<((), Operating), AttemptError> {
    read(response, source, |envelope| {
        match envelope.result.map(RawValue::get) {
            Some("true") => Ok(((), envelope.operating())),
            _ => Err("an answer that is neither true nor an error"),
        }
    })
}

/// Some portals write an empty error beside a result.
pub(super) fn is_error(code: &str) -> bool {
    !matches!(code, "" | "null" | "false" | "0" | "[]" | "{}")
}

/// The text of a member: of a string its content, of anything else its JSON.
pub(super) fn raw_text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

pub(super) fn body_text(body: &[u8]) -> Cow<'_, str> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    // Nearly every body is UTF-8, and this check is much faster than the lossy conversion.
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(body),
    }
}

/// Describes an unreadable body without quoting it, because a login page may repeat what was sent.
pub(super) fn describe(text: &str) -> &'static str {
    match text.trim_start().chars().next() {
        None => "an empty body",
        Some('<') => "an HTML page",
        Some('{' | '[') => "JSON that is cut off or not of this protocol",
        Some(_) => "a body that is not JSON",
    }
}

impl Source<'_> {
    /// The error that the server answered with.
    pub(crate) fn refusal(
        &self,
        response: &Response,
        code: &str,
        description: &str,
    ) -> AttemptError {
        ErrorResponse {
            server: self.server,
            codes: self.codes,
            http_status: response.status,
            code: &self.clean(code),
            description: &self.clean(description),
            retry_after: response.retry_after,
        }
        .attempt_error()
    }

    /// A response that contains no error of the protocol and cannot be read.
    pub(crate) fn unreadable(&self, response: &Response, what: &str) -> AttemptError {
        unreadable(self.server, response.status, what, response.retry_after)
    }

    /// A portal's text for messages and logs: short, on one line, and without the secrets that were
    /// sent to it.
    fn clean(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            let encoded = percent_encode(secret).to_string();
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
    use crate::protocol::error_table::{RetryAction, row};
    use crate::values::error::ErrorKind;

    const CODES: &[CodeRow] = &[row(
        "ERROR_MESSAGE_NOT_FOUND",
        ErrorKind::MessageNotFound,
        RetryAction::Never,
        "",
    )];

    fn source() -> Source<'static> {
        Source {
            server: "https://portal.bitrix24.com",
            secrets: ["token-1", "", "secret-1"],
            codes: CODES,
        }
    }

    fn answer(status: u16, body: &str) -> Response {
        Response {
            status,
            location: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
            sent_before: false,
        }
    }

    fn update(status: u16, body: &str) -> Result<Operating, (ErrorKind, RetryAction)> {
        read_true(&answer(status, body), source())
            .map(|((), operating)| operating)
            .map_err(|refused| (refused.error.kind(), refused.action))
    }

    #[test]
    fn success_is_true_and_nothing_else() {
        assert!(update(200, r#"{"result":true}"#).is_ok());
        assert!(update(200, "\u{feff}{\"result\":true,\"time\":[]}").is_ok());
        assert!(update(200, r#"{"result":true,"error":""}"#).is_ok());
        let unread = Err((ErrorKind::Protocol, RetryAction::AfterBackoff));
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
        let expected = Err((ErrorKind::MessageNotFound, RetryAction::Never));
        assert_eq!(update(200, body), expected);
        assert_eq!(update(400, body), expected);
        assert_eq!(
            update(502, "<html>Bad Gateway"),
            Err((ErrorKind::Portal, RetryAction::AfterBackoff))
        );
        assert_eq!(
            update(404, "<html>"),
            Err((ErrorKind::Protocol, RetryAction::Never))
        );
    }

    #[test]
    fn what_a_portal_echoes_is_not_passed_on() {
        let body = r#"{"error":"X","error_description":"bad token-1\nand secret-1"}"#;
        let error = read_true(&answer(400, body), source()).unwrap_err().error;
        assert_eq!(error.description(), "bad *** and ***");
        assert!(!error.to_string().contains("token-1"));
    }

    #[test]
    fn times_are_relative_to_the_portals_clock() {
        let body = r#"{"result":true,"time":{"finish":1000.5,"operating_reset_at":1030}}"#;
        let reset_in = update(200, body).unwrap().reset_in;
        assert_eq!(reset_in, Some(Duration::from_millis(29_500)));
    }
}
