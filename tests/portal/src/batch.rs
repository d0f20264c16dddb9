//! A batch: many commands in one request, with what PHP makes of their query strings.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;

use crate::answer::{Problem, ProblemBody, Time};
use crate::methods::{self, Caller};
use crate::php::{Array, Key, Value, parse_str};
use crate::settings::Shape;
use crate::state::State;

/// Commands of one batch that are executed.
const MAX_COMMANDS: usize = 50;
const REFERENCE: &str = "$result[";

/// What became of the commands.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    result: Array<Value>,
    result_error: Array<ProblemBody>,
    result_total: Array<Value>,
    result_next: Array<Value>,
    result_time: Array<Time>,
}

/// Executes the commands of a batch, one after another.
pub(crate) fn run(state: &mut State, caller: Caller, params: &Array<Value>) -> Results {
    let mut results = match state.settings.batch_result_shape {
        Shape::Php => Results::with(Array::default, Array::default, Array::default),
        Shape::Object => Results::with(Array::always_map, Array::always_map, Array::always_map),
    };
    let halt = params
        .get_any_case("halt")
        .and_then(Value::to_text)
        .is_some_and(|halt| !matches!(halt.as_ref(), "" | "0"));
    let Some(Value::Array(commands)) = params.get_any_case("cmd") else {
        return results;
    };
    for (index, (key, command)) in commands.iter().enumerate() {
        let start = SystemTime::now();
        let outcome = if index < MAX_COMMANDS {
            state.seen.commands += 1;
            execute(state, caller, command, &results.result)
        } else {
            Err(Problem::new(
                400,
                "ERROR_BATCH_LENGTH_EXCEEDED",
                "Max batch length exceeded",
            ))
        };
        match outcome {
            Ok(value) => {
                results.result.insert(key.clone(), value);
                if let Some(time) = Time::since(start, state) {
                    results.result_time.insert(key.clone(), time);
                }
            }
            Err(problem) => {
                results
                    .result_error
                    .insert(key.clone(), problem.into_body());
                if halt {
                    break;
                }
            }
        }
    }
    results
}

impl Results {
    fn with(
        values: fn() -> Array<Value>,
        errors: fn() -> Array<ProblemBody>,
        times: fn() -> Array<Time>,
    ) -> Self {
        Self {
            result: values(),
            result_error: errors(),
            result_total: values(),
            result_next: values(),
            result_time: times(),
        }
    }
}

fn execute(
    state: &mut State,
    caller: Caller,
    command: &Value,
    earlier: &Array<Value>,
) -> Result<Value, Problem> {
    let command = command.to_text().unwrap_or(Cow::Borrowed(""));
    let command = command.split('#').next().unwrap_or_default();
    let (method, query) = command.split_once('?').unwrap_or((command, ""));
    let params = parse_str(query);
    if method == methods::STATUS_UPDATE {
        let bad: Vec<_> = methods::misspelt_names(&params)
            .map(|name| format!("batch: parameter {name:?} of an update"))
            .collect();
        for text in bad {
            state.note_bad(text);
        }
    }
    let params = resolve_all(params, earlier);
    methods::call(state, caller, &method.to_ascii_lowercase(), &params)
}

fn resolve_all(params: Array<Value>, earlier: &Array<Value>) -> Array<Value> {
    let mut resolved = Array::default();
    resolved.extend(params.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Str(text) => resolve(text, earlier),
            Value::Array(inner) => Value::Array(resolve_all(inner, earlier)),
            other => other,
        };
        (key, value)
    }));
    resolved
}

/// Puts earlier results in the place of their references. A reference alone becomes the result
/// as it is; within other text it becomes text. One that leads nowhere becomes nothing.
fn resolve(text: String, earlier: &Array<Value>) -> Value {
    let mut resolved = String::new();
    let mut rest = text.as_str();
    while let Some((before, reference, after)) = find_reference(rest) {
        let value = look_up(reference, earlier);
        if before.is_empty() && after.is_empty() && resolved.is_empty() {
            return value.cloned().unwrap_or(Value::Str(String::new()));
        }
        resolved.push_str(before);
        resolved.push_str(&value.and_then(Value::to_text).unwrap_or_default());
        rest = after;
    }
    if rest.len() == text.len() {
        return Value::Str(text);
    }
    resolved.push_str(rest);
    Value::Str(resolved)
}

/// The text before the first reference, its brackets, and the text after it.
fn find_reference(text: &str) -> Option<(&str, &str, &str)> {
    let (before, from) = text.split_once(REFERENCE)?;
    let brackets_at = text.len() - from.len() - 1;
    let brackets = text.get(brackets_at..)?;
    let mut length = 0;
    while let Some(step) = brackets.get(length..).filter(|rest| rest.starts_with('[')) {
        match step.find(']') {
            Some(end) => length += end + 1,
            None => break,
        }
    }
    if length == 0 {
        return None;
    }
    let (reference, after) = brackets.split_at(length);
    Some((before, reference, after))
}

fn look_up<'a>(reference: &str, earlier: &'a Array<Value>) -> Option<&'a Value> {
    let mut steps = reference.split_inclusive(']').map(|step| {
        let step = step.strip_prefix('[').unwrap_or(step);
        Key::from(step.strip_suffix(']').unwrap_or(step))
    });
    let first = earlier.get(&steps.next()?)?;
    steps.try_fold(first, |value, key| match value {
        Value::Array(array) => array.get(&key),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use crate::php::{Array, Key, Value};

    #[test]
    fn references_become_earlier_results() {
        let mut inner = Array::default();
        inner.insert(Key::from("ID"), Value::Int(7));
        let mut earlier = Array::default();
        earlier.insert(Key::from("u0"), Value::Bool(true));
        earlier.insert(Key::from("user"), Value::Array(inner));
        let text = |text: &str| Value::Str(text.to_owned());
        for (given, expected) in [
            ("plain", text("plain")),
            ("$result[u0]", Value::Bool(true)),
            ("$result[user][ID]", Value::Int(7)),
            ("a$result[user][ID]b$result[u0]", text("a7b1")),
            ("$result[nobody]", text("")),
            ("x$result[user]", text("x")),
            ("$result[u0", text("$result[u0")),
            ("$result", text("$result")),
            ("$$result[u0]", text("$1")),
            ("$result[u0][deeper]", text("")),
        ] {
            assert_eq!(resolve(given.to_owned(), &earlier), expected, "{given}");
        }
    }
}
