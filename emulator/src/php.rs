//! What the portal inherits from PHP: ordered arrays with integer and string keys, query
//! strings with brackets, and JSON in which an empty array and an empty map look the same.

use std::borrow::Cow;
use std::fmt;
use std::io;

use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// PHP ignores the variables of a query string past this many (`max_input_vars`).
const MAX_VARIABLES: usize = 1000;
/// PHP drops a variable with more brackets than this (`max_input_nesting_level`).
const MAX_NESTING: usize = 64;

/// A key of a PHP array. Text that is a decimal integer is that integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `0`, `-7`, or text that spells such a number the way PHP would write it.
    Int(i64),
    /// Any other text.
    Str(String),
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Self::Int(number),
            _ => Self::Str(text.to_owned()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(formatter),
            Self::Str(text) => formatter.write_str(text),
        }
    }
}

/// A PHP array: a map that keeps the order in which its keys came. Written as JSON it is a list if
/// its keys are 0, 1, 2… in this order, hence `[]` when it is empty, and a map otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<V> {
    entries: Vec<(Key, V)>,
    always_map: bool,
}

impl<V> Default for Array<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            always_map: false,
        }
    }
}

impl<V> Array<V> {
    /// An array that is written as a JSON map whatever its keys, as no PHP program would.
    pub fn always_map() -> Self {
        Self {
            entries: Vec::new(),
            always_map: true,
        }
    }

    /// Sets `key`; a key that is there already keeps its place and gets the new value.
    pub fn insert(&mut self, key: Key, value: V) {
        match self.entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Appends under the next free integer, as `$array[] = $value` does.
    pub fn push(&mut self, value: V) {
        let next = self
            .entries
            .iter()
            .filter_map(|(key, _)| match key {
                Key::Int(number) => Some(number.saturating_add(1)),
                Key::Str(_) => None,
            })
            .max()
            .unwrap_or(0);
        self.entries.push((Key::Int(next), value));
    }

    /// The value under exactly this key.
    pub fn get(&self, key: &Key) -> Option<&V> {
        self.entries
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// The value under this name in any case; of several the last, as `array_change_key_case` leaves it.
    pub fn get_any_case(&self, name: &str) -> Option<&V> {
        self.entries
            .iter()
            .rev()
            .find(|(key, _)| matches!(key, Key::Str(text) if text.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    }

    /// The entries in the order in which their keys came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn is_list(&self) -> bool {
        (0..)
            .zip(&self.entries)
            .all(|(index, (key, _))| *key == Key::Int(index))
    }

    fn entry(&mut self, key: Key, default: impl FnOnce() -> V) -> Option<&mut V> {
        let position = self.entries.iter().position(|(known, _)| *known == key);
        let position = position.unwrap_or_else(|| {
            self.entries.push((key, default()));
            self.entries.len() - 1
        });
        self.entries.get_mut(position).map(|(_, value)| value)
    }
}

impl<V> Extend<(Key, V)> for Array<V> {
    fn extend<I: IntoIterator<Item = (Key, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<V> IntoIterator for Array<V> {
    type Item = (Key, V);
    type IntoIter = std::vec::IntoIter<(Key, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<V: Serialize> Serialize for Array<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_list() && !self.always_map {
            return serializer.collect_seq(self.entries.iter().map(|(_, value)| value));
        }
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            match key {
                Key::Int(number) => map.serialize_entry(number, value)?,
                Key::Str(text) => map.serialize_entry(text, value)?,
            }
        }
        map.end()
    }
}

/// A PHP value, as `json_decode` or `parse_str` makes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction, or one too large for [`Value::Int`].
    Float(f64),
    /// Text. Bytes that are not UTF-8 have become U+FFFD.
    Str(String),
    /// A list or a map.
    Array(Array<Value>),
}

impl Value {
    /// The value as text, as PHP converts it. None for an array.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Null | Self::Bool(false) => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("1"),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number.to_string()),
            Self::Str(text) => Cow::Borrowed(text),
            Self::Array(_) => return None,
        })
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Str(text) => serializer.serialize_str(text),
            Self::Array(array) => array.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "json_decode does the same")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut array = Array::default();
        let mut index = 0;
        while let Some(value) = sequence.next_element()? {
            array.entries.push((Key::Int(index), value));
            index += 1;
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut array = Array::default();
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, Value>()? {
            array.insert(Key::from(key.as_ref()), value);
        }
        Ok(Value::Array(array))
    }
}

/// Parses a query string as PHP's `parse_str` does: brackets nest, `.`, space and an unclosed `[`
/// in a name become `_`, `+` is a space, the last of several equal names wins.
pub fn parse_str(query: &str) -> Array<Value> {
    let mut variables = Array::default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for pair in pairs.take(MAX_VARIABLES) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        register(&mut variables, &url_decode(name), url_decode(value));
    }
    variables
}

fn url_decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes())
        .decode_utf8_lossy()
        .into_owned()
}

/// A step into a nested variable: `[key]`, or `[]` for the next free index.
type Step = Option<Key>;

fn register(variables: &mut Array<Value>, name: &str, value: String) {
    let name = name.trim_start_matches(' ');
    let name = name.split('\0').next().unwrap_or_default();
    if let Some((first, rest)) = path(name) {
        store(variables, Some(first), &rest, value);
    }
}

/// Takes a variable's name apart. None if PHP would drop the variable.
fn path(name: &str) -> Option<(Key, Vec<Step>)> {
    let plain = |text: &str| text.replace([' ', '.', '['], "_");
    let (base, mut rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    if base.is_empty() {
        return None;
    }
    let mut steps = Vec::new();
    while let Some(inner) = rest.strip_prefix('[') {
        if steps.len() >= MAX_NESTING {
            return None;
        }
        let Some((key, after)) = inner.split_once(']') else {
            if steps.is_empty() {
                return Some((Key::from(plain(name).as_str()), steps));
            }
            break;
        };
        let is_next = key.is_empty() || (key.len() == 1 && key.trim().is_empty());
        steps.push((!is_next).then(|| Key::from(key)));
        rest = after;
    }
    Some((Key::from(plain(base).as_str()), steps))
}

fn store(array: &mut Array<Value>, step: Step, rest: &[Step], value: String) {
    let Some((next, rest)) = rest.split_first() else {
        return match step {
            Some(key) => array.insert(key, Value::Str(value)),
            None => array.push(Value::Str(value)),
        };
    };
    let Some(key) = step else {
        let mut inner = Array::default();
        store(&mut inner, next.clone(), rest, value);
        return array.push(Value::Array(inner));
    };
    if let Some(slot) = array.entry(key, || Value::Null) {
        if !matches!(slot, Value::Array(_)) {
            *slot = Value::Array(Array::default());
        }
        if let Value::Array(inner) = slot {
            store(inner, next.clone(), rest, value);
        }
    }
}

/// Writes JSON as PHP's `json_encode` does by default: `/` and everything beyond ASCII escaped.
///
/// # Errors
/// Those of serde, which the types of this crate do not have.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(512);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut json,
        PhpFormatter,
    ))?;
    Ok(json)
}

struct PhpFormatter;

impl serde_json::ser::Formatter for PhpFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('/') {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for character in fragment.chars() {
            match character {
                '/' => writer.write_all(b"\\/")?,
                _ if character.is_ascii() => write!(writer, "{character}")?,
                _ => {
                    for unit in character.encode_utf16(&mut units) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse_str, to_json};

    fn json(value: &impl serde::Serialize) -> String {
        String::from_utf8(to_json(value).unwrap_or_default()).unwrap_or_default()
    }

    /// What PHP 8.2 prints for `parse_str` followed by `json_encode`.
    const PARSED: &[(&str, &str)] = &[
        ("", "[]"),
        ("[a]=1", "[]"),
        ("[=1", "[]"),
        ("[]=1", "[]"),
        (" [a]=1", "[]"),
        ("=1", "[]"),
        (" =1", "[]"),
        ("&&a", r#"{"a":""}"#),
        ("a=b=c", r#"{"a":"b=c"}"#),
        ("a=%zz%4", r#"{"a":"%zz%4"}"#),
        ("a=1+2%2B3", r#"{"a":"1 2+3"}"#),
        (" a=1", r#"{"a":"1"}"#),
        ("a b=1&a_b=2", r#"{"a_b":"2"}"#),
        ("a%00b=1", r#"{"a":"1"}"#),
        ("a]=1", r#"{"a]":"1"}"#),
        ("a[b=1", r#"{"a_b":"1"}"#),
        ("a[b.c[d=1", r#"{"a_b_c_d":"1"}"#),
        ("a[b%00c]=1", r#"{"a_b":"1"}"#),
        ("a%5B", r#"{"a_":""}"#),
        ("a%5Bb%5D=1", r#"{"a":{"b":"1"}}"#),
        ("a[b][c=1", r#"{"a":{"b":"1"}}"#),
        ("a[b]x[c]=2", r#"{"a":{"b":"2"}}"#),
        ("a[b[c]=1", r#"{"a":{"b[c":"1"}}"#),
        ("a[b]]=1", r#"{"a":{"b":"1"}}"#),
        ("a[ ]=1", r#"{"a":["1"]}"#),
        ("a[ b]=1", r#"{"a":{" b":"1"}}"#),
        ("a. b[c.d e]=1", r#"{"a__b":{"c.d e":"1"}}"#),
        (".[a]=1", r#"{"_":{"a":"1"}}"#),
        ("a[][b]=1&a[][b]=2", r#"{"a":[{"b":"1"},{"b":"2"}]}"#),
        ("a[1]=x&a[]=y", r#"{"a":{"1":"x","2":"y"}}"#),
        ("a=1&a[b]=2", r#"{"a":{"b":"2"}}"#),
        (
            "0=1&01=2&-1=3&-0=4",
            r#"{"0":"1","01":"2","-1":"3","-0":"4"}"#,
        ),
        ("0=a&1=b", r#"["a","b"]"#),
        ("a=/%D1%8F%F0%9F%98%80", r#"{"a":"\/\u044f\ud83d\ude00"}"#),
    ];

    #[test]
    fn parses_query_strings_as_php_does() {
        for (query, expected) in PARSED {
            assert_eq!(json(&parse_str(query)), *expected, "parse_str of {query:?}");
        }
    }

    #[test]
    fn drops_what_is_nested_too_deep() {
        assert!(parse_str(&format!("a{}=1", "[b]".repeat(65))).is_empty());
        assert_eq!(parse_str(&format!("a{}=1", "[b]".repeat(64))).len(), 1);
    }

    #[test]
    fn ignores_variables_past_the_limit() {
        let query: Vec<_> = (0..1100).map(|index| format!("v{index}=1")).collect();
        assert_eq!(parse_str(&query.join("&")).len(), 1000);
    }

    #[test]
    fn keeps_the_order_and_the_kind_of_json() {
        for text in [
            r#"{"b":1,"a":{"z":null,"c":[true,1.5]},"10":"x"}"#,
            "[]",
            r#"[[],{"a":[]}]"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
            assert_eq!(json(&value), text);
        }
        let repeated: Value = serde_json::from_str(r#"{"a":1,"b":2,"a":3}"#).unwrap_or(Value::Null);
        assert_eq!(json(&repeated), r#"{"a":3,"b":2}"#);
    }
}
