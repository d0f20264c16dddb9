//! The response of the authorization server.

use super::error_table::AttemptError;
use super::response::{Response, Source, body_text, describe, is_error, raw_text};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The result of a renewal.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) client_endpoint: String,
    pub(crate) member_id: String,
    pub(crate) expires: Option<i64>,
    pub(crate) expires_in: Option<i64>,
}

/// The members of the authorization server's answer, each kept raw as in an [`Envelope`]. A pair in
/// them exists nowhere else, so text that PHP writes before or after them is skipped, even if it
/// contains braces, as a trace of calls does (`{main}`).
fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    /// More than such a text has, and few enough to look at each.
    const MAX_BRACES: usize = 64;
    let mut braces = text.match_indices('{').take(MAX_BRACES);
    braces.find_map(|(at, _)| {
        let json = serde_json::Deserializer::from_str(text.get(at..)?);
        json.into_iter().next()?.ok()
    })
}

/// Whether this part of the authorization server's answer already contains the pair.
pub(crate) fn has_pair(body: &[u8]) -> bool {
    members(&body_text(body)).is_some_and(|told| told.contains_key("access_token"))
}

/// The answer of the authorization server.
pub(crate) fn read_renewal(
    response: &Response,
    source: Source<'_>,
) -> Result<Renewed, AttemptError> {
    let text = body_text(&response.body);
    let told = members(&text).ok_or_else(|| source.unreadable(response, describe(&text)))?;
    let member = |name: &str| {
        let text = told.get(name).map(|value| raw_text(value));
        text.filter(|text| text != "null").unwrap_or_default()
    };
    // A token that is none would replace one that works.
    let token = |name: &str| {
        let text = told
            .get(name)
            .and_then(|value| serde_json::from_str::<String>(value.get()).ok());
        let is_token =
            |text: &String| !text.contains(|c: char| c.is_control() || c.is_whitespace());
        text.filter(is_token).unwrap_or_default()
    };
    let number = |name: &str| member(name).parse().ok();
    let code = member("error");
    if is_error(&code) {
        return Err(source.refusal(response, &code, &member("error_description")));
    }
    let access_token = token("access_token");
    if !(200..300).contains(&response.status) || access_token.is_empty() {
        return Err(source.unreadable(response, "an answer without an access token"));
    }
    Ok(Renewed {
        access_token,
        refresh_token: token("refresh_token"),
        client_endpoint: member("client_endpoint"),
        member_id: member("member_id"),
        expires: number("expires"),
        expires_in: number("expires_in"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_does_not_replace_one() {
        let read = |body: &str| {
            let response = Response {
                status: 200,
                location: None,
                retry_after: None,
                body: body.as_bytes().to_vec(),
                sent_before: false,
            };
            let source = Source {
                server: "s",
                secrets: ["", "", ""],
                codes: crate::protocol::error_table::RENEWAL,
            };
            read_renewal(&response, source).ok()
        };
        for none in [
            "true",
            "5",
            "[1]",
            "{\"a\":1}",
            "\"a b\"",
            "\"a\\u0000\"",
            "null",
            "\"\"",
        ] {
            let body = format!("{{\"access_token\":{none},\"refresh_token\":\"r\"}}");
            assert!(read(&body).is_none(), "{body}");
            let body = format!("{{\"access_token\":\"a\",\"refresh_token\":{none}}}");
            // The former one stays.
            let token = read(&body).map(|renewed| renewed.refresh_token);
            assert_eq!(token.as_deref(), Some(""), "{body}");
        }
    }

    #[test]
    fn a_pair_is_found_in_what_php_writes_around_it() {
        let pair = r#"{"access_token":"a","user":{"id":1}}"#;
        for (before, after) in [
            ("", ""),
            ("Warning: x in y.php on line 1\n", "\n<br>"),
            (
                "Call Stack: 0.1 1. {main}() y.php:0, {closure}() ",
                " {main}",
            ),
            ("{\"a\":", ""),
        ] {
            let text = format!("{before}{pair}{after}");
            assert!(has_pair(text.as_bytes()), "{text}");
        }
        let whole = pair.len();
        for end in 0..whole {
            assert!(!has_pair(&pair.as_bytes()[..end]), "{end}");
        }
        assert!(!has_pair("{\"a\":".repeat(100_000).as_bytes()));
    }
}
