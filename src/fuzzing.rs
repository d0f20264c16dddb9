//! Entry points for the fuzz targets of `fuzz/` only: nothing here is stable.
//!
//! Each function takes input as a hostile or broken peer, file or caller could give it, and must
//! neither panic nor hang. Other properties are asserted.

use crate::engine::method::Request;
use crate::http::hidden::hide_in_pieces;
use crate::methods::batch::Batch;
use crate::methods::sender::ListRequest;
use crate::methods::status_update::{self, METHOD};
use crate::protocol::fields::Fields;
use crate::protocol::form::percent_encode;
use crate::protocol::renewal_response::read_renewal;
use crate::protocol::response::{Response, Source, read_true};
use crate::values::address::Origin;
use crate::{Client, Config, Update};

const SECRET: &str = "a-token-that-was-sent";

fn answer(status: u16, body: &[u8]) -> (Response, Source<'static>) {
    let answer = Response {
        status,
        location: None,
        retry_after: None,
        body: body.to_vec(),
        sent_before: false,
    };
    let source = Source {
        server: "https://portal.bitrix24.com",
        secrets: [SECRET, "", ""],
        codes: METHOD.codes,
    };
    (answer, source)
}

/// The answer to an update: whatever it is, no secret is passed on.
pub fn update_answer(status: u16, body: &[u8]) {
    let (answer, source) = answer(status, body);
    if let Err(failed) = read_true(&answer, source) {
        assert!(!failed.error.to_string().contains(SECRET));
        assert!(!failed.error.description().contains(SECRET));
    }
}

/// The answer to a batch of three: each command gets an outcome.
pub fn batch_answer(status: u16, body: &[u8]) {
    let keys = ["u00", "u01", "u02"];
    let batch = Batch {
        commands: keys.map(|key| (key.to_owned(), String::new())).into(),
    };
    let (answer, source) = answer(status, body);
    if let Ok((outcomes, _)) = batch.read(&answer, source) {
        assert_eq!(outcomes.len(), keys.len());
    }
}

/// The answer of the authorization server: accepted only with a token in it.
pub fn renewal_answer(status: u16, body: &[u8]) {
    let (answer, source) = answer(status, body);
    if let Ok(renewed) = read_renewal(&answer, source) {
        assert!(!renewed.access_token.is_empty());
    }
}

/// The bytes of an answer, of which ureq gets to see a part: the same part in whatever pieces they
/// come, as long as they are, and nothing of the body.
pub fn answer_bytes(size: u8, bytes: &[u8]) {
    let whole = hide_in_pieces(bytes, usize::MAX);
    assert_eq!(hide_in_pieces(bytes, size.into()), whole);
    let [seen, body, rest] = whole;
    assert_eq!(seen.len() + rest.len(), bytes.len());
    assert!(memchr::memchr_iter(b'*', &seen).count() >= body.len());
}

/// The answer to a request for the list of senders: a list, or an error without a secret in it.
pub fn list_answer(status: u16, body: &[u8]) {
    let (answer, source) = answer(status, body);
    if let Err(failed) = ListRequest.read(&answer, source) {
        assert!(!failed.error.to_string().contains(SECRET));
    }
}

/// Where a portal says it has moved: the token follows to its own domain only, and over https.
pub fn location(location: &str) {
    let Ok(from) = Origin::parse("https://portal.bitrix24.de") else {
        return;
    };
    if let Ok(to) = from.follow(location, status_update::NAME, &[]) {
        assert!(to.is_https());
        assert!(to.host().ends_with(".bitrix24.de"), "{to}");
        assert!(to.method_uri(status_update::NAME).is_ok());
    }
}

/// An option: accepted or refused by name, and then a client is made or refused.
pub fn option(name: &str, value: &str) {
    let mut config = Config::new();
    config
        .portal("portal.bitrix24.com")
        .access_token(SECRET)
        .proxy("none");
    let takes_files = ["state_dir", "ca_file"].contains(&name);
    match config.set(name, value) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(_) if takes_files => {}
        Ok(config) => drop(Client::new(config)),
    }
}

/// The content of a file in the state directory.
pub fn state_file(content: &[u8]) {
    crate::store::directory::fuzz(content);
}

/// An update: refused, or turned into a command that contains only unreserved characters.
pub fn update(code: &str, message_id: &str, status: &str) {
    if let Ok(checked) = Update::new(code, message_id, status).check() {
        let command = crate::methods::batch::command(&checked);
        assert!(command.bytes().all(|b| b.is_ascii_graphic()));
    }
}

/// What a portal posts: fields with different names, or an error. A form of these fields is read as the
/// same fields.
pub fn fields(content_type: &str, body: &[u8]) {
    let Ok(fields) = Fields::read(content_type, body) else {
        return;
    };
    assert!(fields.iter().len() <= 1000);
    for (name, value) in fields.iter() {
        assert_eq!(fields.get(name), Some(value));
        assert!(!name.contains('\0') && !value.contains('\0'));
    }
    if content_type.is_empty() {
        let again: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        if let Ok(again) = Fields::read(content_type, again.join("&").as_bytes()) {
            assert!(again.iter().eq(fields.iter()));
        }
    }
}
