//! The fields of a request, and how they are written.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::php::{Array, Key, Value, parse_str, to_json};

/// As PHP's `urlencode` has it, but for the space.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// The fields that are numbers where the authorization server writes them as JSON.
const NUMBERS: [&str; 3] = ["expires", "expires_in", "user_id"];

/// Fields in their order, with PHP's brackets in their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Gives a field a value; one that is there keeps its place.
    pub(super) fn set(&mut self, name: &str, value: &(impl ToString + ?Sized)) {
        let value = value.to_string();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Adds a field, even if there is one of this name.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut String> {
        let found = self.0.iter_mut().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// As a form, or the query string of a URL.
    pub(super) fn encode(&self) -> String {
        let fields: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| pair(name, value))
            .collect();
        fields.join("&")
    }
}

/// A field of a form.
pub(super) fn pair(name: &str, value: &str) -> String {
    format!("{}={}", encode(name), encode(value))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED)
        .to_string()
        .replace("%20", "+")
}

/// The body of a request, in pieces that are joined at the end.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) json: bool,
    /// What the content type says, if it is wrong.
    pub(super) said_to_be_json: bool,
    before: Vec<String>,
    fields: String,
    after: Vec<String>,
}

impl Body {
    pub(super) fn new(fields: &Fields, json: bool) -> Result<Self, String> {
        let form = fields.encode();
        let fields = if json {
            let object = with_numbers(parse_str(&form));
            let text = to_json(&object).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&text);
            text.trim_start_matches('{')
                .strip_suffix('}')
                .unwrap_or_default()
                .to_owned()
        } else {
            form
        };
        Ok(Self {
            json,
            said_to_be_json: json,
            before: Vec::new(),
            fields,
            after: Vec::new(),
        })
    }

    /// Puts fields of a form, or members of a JSON object, before or after the others, unchanged.
    pub(super) fn surround(&mut self, before: Vec<String>, after: Vec<String>) {
        self.before = before;
        self.after = after;
    }

    /// Adds a field that makes the body this long.
    pub(super) fn pad(&mut self, length: usize) {
        let (start, end) = if self.json {
            ("\"padding\":\"", "\"")
        } else {
            ("padding=", "")
        };
        self.after.push(format!("{start}{end}"));
        let missing = length.saturating_sub(self.to_text().len());
        self.after.pop();
        self.after
            .push(format!("{start}{}{end}", "x".repeat(missing)));
    }

    pub(super) fn content_type(&self) -> &'static str {
        if self.said_to_be_json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        }
    }

    pub(super) fn to_text(&self) -> String {
        let pieces = self.before.iter().chain([&self.fields]).chain(&self.after);
        let pieces: Vec<_> = pieces
            .map(String::as_str)
            .filter(|piece| !piece.is_empty())
            .collect();
        if self.json {
            format!("{{{}}}", pieces.join(","))
        } else {
            pieces.join("&")
        }
    }
}

fn with_numbers(array: Array<Value>) -> Array<Value> {
    let mut changed = Array::default();
    changed.extend(array.into_iter().map(|(key, value)| {
        let number = matches!(&key, Key::Str(name) if NUMBERS.contains(&name.as_str()));
        let value = match value {
            Value::Array(inner) => Value::Array(with_numbers(inner)),
            Value::Str(text) if number => text.parse().map_or(Value::Str(text), Value::Int),
            other => other,
        };
        (key, value)
    }));
    changed
}
