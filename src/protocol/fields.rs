//! What a portal posts, as flat fields.
//!
//! A portal is written in PHP: it posts forms whose names have brackets, or JSON of the same shape.
//! Both become fields under the names that a form has: `auth[access_token]`,
//! `bindings[0][OWNER_ID]`. No two different places have the same name: in a form PHP's own rules
//! see to that, and JSON in which it could happen is refused.

use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// What a portal posts is a few kilobytes: a message, and who sent it.
const MAX_BYTES: usize = 1 << 20;
/// As many as PHP itself takes (`max_input_vars`).
const MAX_FIELDS: usize = 1000;
/// How many brackets a name may have.
const MAX_BRACKETS: usize = 16;
/// What all names together may take. In JSON the name of an object is in the names of all that it
/// contains, so that they could be much longer than the request.
const MAX_NAME_BYTES: usize = 2 * MAX_BYTES;

/// The fields of a request, in the order in which PHP would have them. Each name is there once.
#[derive(Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the body of a request. The text of an error completes "the request cannot be read: …"
    /// and contains no value.
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Self, String> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        let is_json = media_type == "application/json" || media_type.ends_with("+json");
        if !is_json && !["", "application/x-www-form-urlencoded"].contains(&media_type.as_str()) {
            let shown: String = media_type.chars().take(40).collect();
            return Err(format!(
                "its content type is {shown:?}; application/x-www-form-urlencoded and \
                 application/json are taken"
            ));
        }
        if body.len() > MAX_BYTES {
            return Err(format!(
                "it has {} bytes; at most {MAX_BYTES} are taken",
                body.len()
            ));
        }
        let array = if is_json {
            read_json(body)?
        } else {
            read_form(body)?
        };
        let mut fields = Flattened::default();
        fields.add(array, 0)?;
        Ok(Self(fields.fields))
    }

    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The names and values.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Shows no values: there are tokens among them.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields")?;
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

fn too_many() -> String {
    format!("it has more than {MAX_FIELDS} fields")
}

fn too_deep() -> String {
    format!("a name in it has more than {MAX_BRACKETS} brackets")
}

fn without_nul(text: String) -> Result<String, String> {
    if text.contains('\0') {
        return Err("a name or value in it contains a NUL character".to_owned());
    }
    Ok(text)
}

/// A value of PHP, as far as a request can contain one.
enum Node {
    Text(String),
    Array(Array),
}

impl Node {
    /// The array here. Text that was here before is replaced by an empty one.
    fn as_array(&mut self) -> &mut Array {
        loop {
            match self {
                Self::Array(array) => return array,
                Self::Text(_) => *self = Self::Array(Array::default()),
            }
        }
    }
}

/// An array of PHP: a map that keeps the order in which its keys came.
///
/// Keys are kept as text. An integer key and its text are the same key in PHP.
#[derive(Default)]
struct Array {
    entries: Vec<(String, Node)>,
    places: HashMap<String, usize>,
    highest: Option<i64>,
}

impl Array {
    /// The place of a key, or without one that of the next number. If nothing is there yet, it is an
    /// empty text. There is no next number after the highest one; PHP drops such a field.
    fn place(&mut self, key: Option<&str>) -> Option<&mut Node> {
        let key = match (key, self.highest) {
            (Some(key), _) => Cow::Borrowed(key),
            (None, None) => Cow::Borrowed("0"),
            (None, Some(highest)) => Cow::Owned(highest.checked_add(1)?.to_string()),
        };
        let place = if let Some(place) = self.places.get(&*key) {
            *place
        } else {
            self.highest = self.highest.max(integer(&key));
            self.places.insert(key.to_string(), self.entries.len());
            let empty = Node::Text(String::new());
            self.entries.push((key.into_owned(), empty));
            self.entries.len() - 1
        };
        self.entries.get_mut(place).map(|(_, node)| node)
    }
}

/// The integer that PHP makes of a key: only of text that PHP would write for that integer.
fn integer(key: &str) -> Option<i64> {
    key.parse::<i64>()
        .ok()
        .filter(|number| number.to_string() == key)
}

/// Fields that are being taken out of arrays.
#[derive(Default)]
struct Flattened {
    fields: Vec<(String, String)>,
    /// The name of the place where this is now. It is one buffer, because the names of all arrays
    /// together can be much longer than those of the fields.
    name: String,
    name_bytes: usize,
}

impl Flattened {
    /// Adds what is in an array. It calls itself once for each level of arrays; how many there can be
    /// was limited when they were made.
    fn add(&mut self, array: Array, brackets: usize) -> Result<(), String> {
        for (key, node) in array.entries {
            let outer = self.name.len();
            if brackets == 0 {
                self.name.push_str(&key);
            } else {
                self.name.push('[');
                self.name.push_str(&key);
                self.name.push(']');
            }
            match node {
                Node::Array(inner) => self.add(inner, brackets + 1)?,
                Node::Text(value) => {
                    self.name_bytes += self.name.len();
                    if self.name_bytes > MAX_NAME_BYTES {
                        return Err(format!(
                            "its names have more than {MAX_NAME_BYTES} bytes together"
                        ));
                    }
                    self.fields.push((self.name.clone(), value));
                }
            }
            self.name.truncate(outer);
        }
        Ok(())
    }
}

/// Reads a form as PHP does (`parse_str`).
fn read_form(body: &[u8]) -> Result<Array, String> {
    let mut array = Array::default();
    let fields = body.split(|byte| *byte == b'&');
    let fields = fields.filter(|field| !field.is_empty());
    for (count, field) in fields.enumerate() {
        if count >= MAX_FIELDS {
            return Err(too_many());
        }
        let equals = memchr::memchr(b'=', field).unwrap_or(field.len());
        let (name, value) = field.split_at_checked(equals).unwrap_or_default();
        let name = decode(name)?;
        let value = decode(value.strip_prefix(b"=").unwrap_or_default())?;
        if let Some((first, steps)) = path(name.trim_start_matches(' '))? {
            store(&mut array, &first, &steps, value);
        }
    }
    Ok(array)
}

/// Decodes a name or value of a form. A percent sign that begins no sequence stands for itself.
fn decode(text: &[u8]) -> Result<String, String> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    String::from_utf8(percent_decode(&spaced).collect())
        .map_err(|_| "a name or value in it is not UTF-8".to_owned())
        .and_then(without_nul)
}

/// A step from an array into one of its places: a key, or none for the next number.
type Step<'a> = Option<&'a str>;

/// Takes a name apart: the name before the brackets, and what is in them. None if PHP drops such a
/// field.
fn path(name: &str) -> Result<Option<(String, Vec<Step<'_>>)>, String> {
    let plain = |text: &str| text.replace([' ', '.', '['], "_");
    let (first, mut rest) = name
        .split_at_checked(name.find('[').unwrap_or(name.len()))
        .unwrap_or_default();
    if first.is_empty() {
        return Ok(None);
    }
    let mut steps = Vec::new();
    // What follows a closing bracket and is no opening one is ignored.
    while let Some(inner) = rest.strip_prefix('[') {
        let Some((key, after)) = inner.split_once(']') else {
            if steps.is_empty() {
                return Ok(Some((plain(name), steps)));
            }
            break;
        };
        if steps.len() >= MAX_BRACKETS {
            return Err(too_deep());
        }
        // C's isspace, of which PHP skips one.
        let is_next = matches!(key.as_bytes(), [] | [b' ' | b'\t'..=b'\r']);
        steps.push((!is_next).then_some(key));
        rest = after;
    }
    Ok(Some((plain(first), steps)))
}

fn store(array: &mut Array, first: &str, steps: &[Step<'_>], value: String) {
    let mut place = array.place(Some(first));
    for step in steps {
        place = place.and_then(|node| node.as_array().place(*step));
    }
    if let Some(node) = place {
        *node = Node::Text(value);
    }
}

/// Reads JSON, one level of it at a time: what is further in is kept as text until its turn comes.
/// So each byte is looked at once for each level, of which there are few, and numbers stay as they
/// are written.
fn read_json(body: &[u8]) -> Result<Array, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        // The error's own text could contain a value.
        let (line, column) = (error.line(), error.column());
        format!("it is not JSON, at line {line} column {column}")
    })?;
    let mut json = Json { leaves: 0 };
    match json.node(raw, 0)? {
        Node::Array(array) if raw.get().starts_with('{') => Ok(array),
        _ => Err("its JSON is not an object".to_owned()),
    }
}

/// JSON that is being read.
struct Json {
    /// How many values there were so far that contain no others. An empty object counts, because
    /// it takes memory too, although it gives no field.
    leaves: usize,
}

impl Json {
    /// A value as PHP's `json_decode` makes it, with scalars as the texts that PHP makes of them. It
    /// calls itself once for each level.
    fn node(&mut self, raw: &RawValue, level: usize) -> Result<Node, String> {
        let text = raw.get();
        if text.starts_with(['{', '[']) {
            return self.array(raw, level).map(Node::Array);
        }
        self.count_leaf()?;
        Ok(Node::Text(match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text)
                .map_err(|_| broken_text())
                .and_then(without_nul)?,
            Some(b't') => "1".to_owned(),
            Some(b'f' | b'n') => String::new(),
            _ => text.to_owned(),
        }))
    }

    fn array(&mut self, raw: &RawValue, level: usize) -> Result<Array, String> {
        if level > MAX_BRACKETS {
            return Err(too_deep());
        }
        let members: Members<'_> = serde_json::from_str(raw.get()).map_err(|_| broken_text())?;
        if members.0.is_empty() {
            self.count_leaf()?;
        }
        if members.0.len() > MAX_FIELDS {
            return Err(too_many());
        }
        let mut array = Array::default();
        for (key, value) in members.0 {
            let key = key.map(without_nul).transpose()?;
            // With such a bracket it could be taken for a member of an object.
            let ambiguous = if level == 0 { '[' } else { ']' };
            if key.as_ref().is_some_and(|key| key.contains(ambiguous)) {
                return Err("a name in its JSON contains a bracket".to_owned());
            }
            let node = self.node(value, level + 1)?;
            if let Some(place) = array.place(key.as_deref()) {
                *place = node;
            }
        }
        Ok(array)
    }

    fn count_leaf(&mut self) -> Result<(), String> {
        self.leaves += 1;
        if self.leaves > MAX_FIELDS {
            return Err(too_many());
        }
        Ok(())
    }
}

/// What JSON's grammar allows and a text cannot be: half of a surrogate pair.
fn broken_text() -> String {
    "a name or value in its JSON is not valid text".to_owned()
}

/// The members of a JSON object, or of an array, where they have no names. At most one more than there
/// may be.
struct Members<'a>(Vec<(Option<String>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while members.len() <= MAX_FIELDS {
            let Some((key, value)) = map.next_entry()? else {
                return Ok(Members(members));
            };
            members.push((Some(key), value));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Members(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while members.len() <= MAX_FIELDS {
            let Some(value) = seq.next_element()? else {
                return Ok(Members(members));
            };
            members.push((None, value));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, MAX_BYTES, MAX_FIELDS};
    use crate::protocol::form::percent_encode;
    use b24_portal::php;
    use percent_encoding::percent_decode;
    use proptest::prelude::*;
    use std::fmt::Write;
    use std::time::{Duration, Instant};

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";

    type Pairs = Vec<(String, String)>;

    fn owned(pairs: &[(&str, &str)]) -> Pairs {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn form(body: impl AsRef<[u8]>) -> Result<Pairs, String> {
        Fields::read(FORM, body.as_ref()).map(|fields| fields.0)
    }

    fn json(body: impl AsRef<[u8]>) -> Result<Pairs, String> {
        Fields::read(JSON, body.as_ref()).map(|fields| fields.0)
    }

    /// The fields of the emulator's parser, which is checked against PHP.
    fn flat(array: &php::Array<php::Value>, outer: Option<&str>, pairs: &mut Pairs) {
        for (key, value) in array.iter() {
            let name = match outer {
                None => key.to_string(),
                Some(outer) => format!("{outer}[{key}]"),
            };
            match value {
                php::Value::Array(inner) => flat(inner, Some(&name), pairs),
                value => pairs.push((name, value.to_text().unwrap_or_default().into_owned())),
            }
        }
    }

    fn as_php(query: &str) -> Pairs {
        let mut pairs = Vec::new();
        flat(&php::parse_str(query), None, &mut pairs);
        pairs
    }

    /// The fields posted again, under the flat names that they got.
    fn encoded(pairs: &Pairs) -> String {
        let field = |(name, value): &(String, String)| {
            format!("{}={}", percent_encode(name), percent_encode(value))
        };
        pairs.iter().map(field).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn reads_forms_as_php_does() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("&&a", &[("a", "")]),
            ("=1& =1&[a]=1&[=1", &[]),
            ("a=b=c", &[("a", "b=c")]),
            ("a=%zz%4&b=%", &[("a", "%zz%4"), ("b", "%")]),
            ("a=1+2%2B3", &[("a", "1 2+3")]),
            ("  a. b=1&a__b=2", &[("a__b", "2")]),
            ("a[b]=1&a[c][d]=2", &[("a[b]", "1"), ("a[c][d]", "2")]),
            ("a%5Bb%5D=1", &[("a[b]", "1")]),
            ("a[]=x&a[]=y", &[("a[0]", "x"), ("a[1]", "y")]),
            (
                "a[7]=x&a[]=y&a[ ]=z",
                &[("a[7]", "x"), ("a[8]", "y"), ("a[9]", "z")],
            ),
            ("a[-5]=x&a[]=y", &[("a[-5]", "x"), ("a[-4]", "y")]),
            ("a[07]=x&a[]=y", &[("a[07]", "x"), ("a[0]", "y")]),
            ("a[][b]=1&a[][b]=2", &[("a[0][b]", "1"), ("a[1][b]", "2")]),
            ("a=1&b=2&a=3", &[("a", "3"), ("b", "2")]),
            ("a[b]=1&c=2&a=3", &[("a", "3"), ("c", "2")]),
            ("a=1&c=2&a[b]=3", &[("a[b]", "3"), ("c", "2")]),
            ("a[b]=1&a[b][c]=2", &[("a[b][c]", "2")]),
            (
                "a[b]=1&c=2&a[d]=3",
                &[("a[b]", "1"), ("a[d]", "3"), ("c", "2")],
            ),
            ("a[b=1", &[("a_b", "1")]),
            ("a]=1", &[("a]", "1")]),
            ("a[b][c=1", &[("a[b]", "1")]),
            ("a[b]x[c]=2", &[("a[b]", "2")]),
            ("a[b[c]=1", &[("a[b[c]", "1")]),
            ("a[c.d e]=1", &[("a[c.d e]", "1")]),
            ("a=%D1%8F", &[("a", "я")]),
        ];
        for (query, expected) in table {
            assert_eq!(form(query), Ok(owned(expected)), "{query}");
            assert_eq!(as_php(query), owned(expected), "{query}");
        }
    }

    #[test]
    fn drops_what_has_no_next_number() {
        let query = "a[9223372036854775807]=1&a[]=2&a[][b]=3&c=4";
        let expected = owned(&[("a[9223372036854775807]", "1"), ("c", "4")]);
        assert_eq!(form(query), Ok(expected));
    }

    #[test]
    fn reads_json() {
        let body = r#" {"event":"ONAPPINSTALL","auth":{"user_id":1,"expires":1.50e3,"big":12345678901234567890,
            "a.b c":"\u044f/","none":null,"yes":true,"no":false},"bindings":[{"OWNER_ID":"5"},7,[]],"x":{},
            "7":"seven"} "#;
        let expected = [
            ("event", "ONAPPINSTALL"),
            ("auth[user_id]", "1"),
            ("auth[expires]", "1.50e3"),
            ("auth[big]", "12345678901234567890"),
            ("auth[a.b c]", "я/"),
            ("auth[none]", ""),
            ("auth[yes]", "1"),
            ("auth[no]", ""),
            ("bindings[0][OWNER_ID]", "5"),
            ("bindings[1]", "7"),
            ("7", "seven"),
        ];
        assert_eq!(json(body), Ok(owned(&expected)));
        assert_eq!(json("{}"), Ok(Vec::new()));
        let repeated = r#"{"a":{"b":1},"c":2,"a":{"d":3}}"#;
        assert_eq!(json(repeated), Ok(owned(&[("a[d]", "3"), ("c", "2")])));
        let emptied = r#"{"a":{"b":1},"a":{}}"#;
        assert_eq!(json(emptied), Ok(Vec::new()));
    }

    #[test]
    fn refuses_json_that_is_none_or_ambiguous() {
        let table = [
            ("", "is not JSON, at line 1 column 0"),
            ("{\n\"a\":secret}", "is not JSON, at line 2 column 5"),
            ("{} {}", "is not JSON"),
            ("[1]", "not an object"),
            ("\"secret\"", "not an object"),
            ("7", "not an object"),
            (r#"{"a":"\ud800"}"#, "not valid text"),
            (r#"{"\ud800":1}"#, "not valid text"),
            (r#"{"auth[access_token]":"secret"}"#, "contains a bracket"),
            (r#"{"a":{"b][c":"secret"}}"#, "contains a bracket"),
            (r#"{"a":"\u0000"}"#, "NUL"),
            (r#"{"a\u0000":1}"#, "NUL"),
        ];
        for (body, fault) in table {
            let error = json(body).expect_err(body);
            assert!(error.contains(fault), "{body}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(json(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn takes_forms_and_json_only() {
        let is_form = |content_type: &str| Fields::read(content_type, b"a=1").is_ok();
        let is_json = |content_type: &str| Fields::read(content_type, b"{\"a\":1}").is_ok();
        for content_type in [
            "",
            " ",
            "; charset=utf-8",
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-URLEncoded ; charset=UTF-8",
        ] {
            assert!(is_form(content_type), "{content_type}");
        }
        for content_type in [
            "application/json",
            "APPLICATION/JSON;charset=utf-8",
            "application/vnd.api+json",
        ] {
            assert!(is_json(content_type), "{content_type}");
            assert!(!is_form(content_type), "{content_type}");
        }
        for content_type in ["multipart/form-data; boundary=x", "text/plain", "json"] {
            let error = Fields::read(content_type, b"a=1").unwrap_err();
            assert!(error.contains("application/json are taken"), "{error}");
        }
        let error = Fields::read(&"x\n".repeat(1000), b"").unwrap_err();
        assert!(error.len() < 250 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn takes_no_more_than_a_mebibyte() {
        let body = format!("a={}", "x".repeat(MAX_BYTES - 2));
        assert_eq!(body.len(), 1_048_576);
        assert_eq!(form(&body).unwrap()[0].1.len(), MAX_BYTES - 2);
        assert!(form(body + "x").unwrap_err().contains("1048577"));
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES - 8));
        assert_eq!(body.len(), 1_048_576);
        assert_eq!(json(&body).unwrap()[0].1.len(), MAX_BYTES - 8);
        assert!(json(body + " ").is_err());
    }

    #[test]
    fn takes_no_more_than_a_thousand_fields() {
        let fields = |count: usize| {
            let names: Vec<_> = (0..count).map(|n| format!("v{n}=1")).collect();
            names.join("&") + "&&"
        };
        assert_eq!(form(fields(MAX_FIELDS)).unwrap().len(), MAX_FIELDS);
        assert_eq!(form(fields(MAX_FIELDS + 1)), Err(super::too_many()));
        let list = |count: usize| format!("{{\"a\":[{}]}}", vec!["1"; count].join(","));
        assert_eq!(json(list(MAX_FIELDS)).unwrap().len(), MAX_FIELDS);
        assert_eq!(json(list(MAX_FIELDS + 1)), Err(super::too_many()));
        assert_eq!(json(list(MAX_FIELDS + 99)), Err(super::too_many()));
        let lists = format!("{{\"a\":[{}]}}", vec!["[1,[]]"; 501].join(","));
        assert_eq!(json(lists), Err(super::too_many()));
    }

    #[test]
    fn takes_no_more_than_sixteen_brackets() {
        let nested = |depth: usize| format!("a{}=1", "[b]".repeat(depth));
        assert!(form(nested(16)).is_ok());
        assert_eq!(form(nested(17)), Err(super::too_deep()));
        assert_eq!(form(nested(100_000)), Err(super::too_deep()));
        let nested = |depth: usize| {
            let (open, close) = ("{\"b\":".repeat(depth), "}".repeat(depth));
            format!("{{\"a\":{open}1{close}}}")
        };
        assert!(json(nested(16)).is_ok());
        assert_eq!(json(nested(17)), Err(super::too_deep()));
        assert_eq!(json(nested(100_000)), Err(super::too_deep()));
        let unclosed = "{\"a\":".to_owned() + &"[".repeat(1_000_000);
        assert!(json(unclosed).is_err());
    }

    #[test]
    fn refuses_nul_and_what_is_not_utf8() {
        for body in ["a=%00", "a%00=1", "a=\0", "a[%00]=1", "[a]=%00"] {
            assert!(form(body).unwrap_err().contains("NUL"), "{body}");
        }
        for body in ["a=%ff", "%ff=1", "a=%ed%a0%80", "a=%d1"] {
            assert!(form(body).unwrap_err().contains("UTF-8"), "{body}");
        }
        assert!(form(b"a=\xff").is_err());
    }

    #[test]
    fn shows_names_and_no_values() {
        let fields = Fields::read(FORM, b"auth[access_token]=secret&b=secret").unwrap();
        let shown = format!("{fields:?}");
        assert_eq!(shown, r#"Fields["auth[access_token]", "b"]"#);
        assert_eq!(fields.get("auth[access_token]"), Some("secret"));
        assert_eq!(fields.get("auth"), None);
        assert_eq!(fields.iter().len(), 2);
    }

    /// Requests of a mebibyte with as many names as there may be, which are as like each other as
    /// they can be.
    #[test]
    fn needs_time_in_proportion_to_the_request() {
        let prefix = "a".repeat(1000);
        let mut flat = String::new();
        let mut nested = String::new();
        let mut appended = String::new();
        for number in 0..MAX_FIELDS {
            write!(flat, "{prefix}{number}&").unwrap();
            write!(nested, "a[{prefix}][{number}]&").unwrap();
            write!(appended, "a[][{prefix}]&").unwrap();
        }
        let members: Vec<_> = (0..MAX_FIELDS).map(|n| format!("\"{n}\":{{}}")).collect();
        let long = "b".repeat(1_000_000);
        let bodies = [
            (FORM, flat),
            (FORM, nested),
            (FORM, appended),
            (FORM, format!("a{}", "[".repeat(MAX_BYTES - 1))),
            (FORM, format!("a[{}", "]".repeat(MAX_BYTES - 2))),
            (JSON, format!("{{\"{long}\":{{{}}}}}", members.join(","))),
        ];
        let started = Instant::now();
        for (content_type, body) in bodies {
            assert!(body.len() <= MAX_BYTES);
            assert!(Fields::read(content_type, body.as_bytes()).is_ok());
        }
        let members: Vec<_> = (0..MAX_FIELDS).map(|n| format!("\"{n}\":1")).collect();
        let body = format!("{{\"{long}\":{{{}}}}}", members.join(","));
        assert!(json(body).unwrap_err().contains("names"));
        // It takes milliseconds; one that compares all names with all takes minutes.
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    /// Queries of what is special in them.
    fn query() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "a", "b", "a", "[", "]", "[]", "[a]", "[b]", "[0]", "[1]", "[-3]", "[01]", "=", "=",
            "&", "&", "%5B", "%5d", "+", " ", ".", "%", "%2", "%41", "0", "1", "-", "я", "%D1%8F",
            "%09", "\u{b}",
        ];
        prop::collection::vec(prop::sample::select(PIECES), 0..40)
            .prop_map(|pieces| pieces.concat())
    }

    /// The members of a JSON object: also several of one name.
    fn members() -> impl Strategy<Value = String> {
        const SCALARS: &[&str] = &["1", "-20", "true", "false", "null", "\"x\"", "\"\\u044f\""];
        const KEYS: &[&str] = &["", "a", "b", "0", "1", "01", "a.b c"];
        let scalar = prop::sample::select(SCALARS).prop_map(str::to_owned);
        let named = |value: BoxedStrategy<String>| {
            let member = (prop::sample::select(KEYS), value);
            let member = member.prop_map(|(key, value)| format!("\"{key}\":{value}"));
            prop::collection::vec(member, 0..5).prop_map(|members| members.join(","))
        };
        let value = scalar.prop_recursive(6, 60, 5, move |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5);
            prop_oneof![
                list.prop_map(|values| format!("[ {}]", values.join(" , "))),
                named(inner.boxed()).prop_map(|members| format!("{{{members} }}")),
            ]
        });
        named(value.boxed())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn reads_any_form_as_php_does(query in query()) {
            match form(&query) {
                Ok(pairs) => {
                    prop_assert_eq!(&pairs, &as_php(&query));
                    prop_assert_eq!(form(encoded(&pairs)), Ok(pairs));
                }
                Err(error) if error == super::too_deep() => prop_assert!(query.len() > 32),
                Err(error) => {
                    let decoded = percent_decode(query.as_bytes()).decode_utf8();
                    let is_text = decoded.is_ok_and(|text| !text.contains('\0'));
                    prop_assert!(!is_text, "{}", error);
                }
            }
        }

        #[test]
        fn reads_any_json_as_php_does(members in members()) {
            let body = format!("{{{members}}}");
            let mut expected = Vec::new();
            if let php::Value::Array(array) = serde_json::from_str(&body).unwrap() {
                flat(&array, None, &mut expected);
            }
            prop_assert_eq!(json(&body), Ok(expected));
        }

        #[test]
        fn takes_any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = form(&body);
            let _ = json(&body);
        }
    }
}
