//! A batch: many commands in one request, whose query strings are parsed as PHP does.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;

use crate::answer::{Problem, ProblemBody, Time};
use crate::fault::At;
use crate::methods::{self, Caller, Method};
use crate::php::{Array, Key, Value, parse_str};
use crate::settings::Shape;
use crate::state::State;

/// Commands of one batch that are executed.
const MAX_COMMANDS: usize = 50;
/// What a reference may begin with, after its `$`, in any case.
const NAMES: [&str; 5] = ["result", "next", "total", "time", "error"];

/// The results of the commands.
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
        let command = command.to_text().unwrap_or(Cow::Borrowed(""));
        let command = command.split('#').next().unwrap_or_default();
        let (method, query) = command.split_once('?').unwrap_or((command, ""));
        let method = methods::find(&method.to_ascii_lowercase());
        let outcome = if index < MAX_COMMANDS {
            state.seen.commands += 1;
            execute(state, caller, method, query, &results)
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
                let at = method.map_or(At::Any, |method| method.at);
                if let Some(time) = Time::since(start, state, at) {
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
    method: Option<&Method>,
    query: &str,
    earlier: &Results,
) -> Result<Value, Problem> {
    let params = parse_str(query);
    for text in method.map_or(Vec::new(), |method| method.misspelt(&params)) {
        state.note_bad(format!("batch: {text}"));
    }
    let params = resolve_all(params, earlier);
    methods::call(state, caller, method, &params)
}

fn resolve_all(params: Array<Value>, earlier: &Results) -> Array<Value> {
    let mut resolved = Array::default();
    resolved.extend(params.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Str(text) => resolve(&text, earlier),
            Value::Array(inner) => Value::Array(resolve_all(inner, earlier)),
            other => other,
        };
        (key, value)
    }));
    resolved
}

/// Replaces references to the results of earlier commands. A value that is only a reference becomes
/// what it refers to, whatever that is. Within other text only a string or a number is inserted;
/// otherwise the text stays unchanged.
fn resolve(text: &str, earlier: &Results) -> Value {
    let mut resolved = String::new();
    let mut rest = text;
    while let Some(found) = find_reference(rest) {
        let value = earlier.look_up(&found);
        if found.reference == text {
            return value;
        }
        resolved.push_str(found.before);
        match &value {
            Value::Str(_) | Value::Int(_) | Value::Float(_) => {
                resolved.push_str(&value.to_text().unwrap_or_default());
            }
            _ => resolved.push_str(found.reference),
        }
        rest = found.after;
    }
    resolved.push_str(rest);
    Value::Str(resolved)
}

/// A reference within a text.
struct Found<'a> {
    before: &'a str,
    /// All of it: the name and what follows up to white space.
    reference: &'a str,
    after: &'a str,
    /// `result`, `next`, `total`, `time` or `error`, as it is written there.
    name: &'a str,
    keys: Vec<&'a str>,
}

/// The first `$NAME` of a text that is followed, before any white space, by a `[key]`.
fn find_reference(text: &str) -> Option<Found<'_>> {
    text.match_indices('$').find_map(|(at, _)| {
        let (before, from) = text.split_at_checked(at)?;
        let end = from.find(is_white_space).unwrap_or(from.len());
        let (reference, after) = from.split_at_checked(end)?;
        let name = NAMES.iter().find_map(|name| {
            let written = reference.get(1..=name.len())?;
            written.eq_ignore_ascii_case(name).then_some(written)
        })?;
        let keys = keys(reference.get(1 + name.len()..)?);
        (!keys.is_empty()).then_some(Found {
            before,
            reference,
            after,
            name,
            keys,
        })
    })
}

/// As PCRE's `\s` has it.
fn is_white_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// Everything in brackets that is not empty.
fn keys(mut text: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    while let Some((_, inner)) = text.split_once('[') {
        match inner.split_once(']') {
            Some(("", after)) => text = after,
            Some((key, after)) => {
                keys.push(key);
                text = after;
            }
            None => break,
        }
    }
    keys
}

impl Results {
    /// Follows the keys from the member as far as they lead. A name in another case is not a
    /// member.
    fn look_up(&self, found: &Found<'_>) -> Value {
        let member = match found.name {
            "result" => Value::Array(self.result.clone()),
            "next" => Value::Array(self.result_next.clone()),
            "total" => Value::Array(self.result_total.clone()),
            "time" => as_value(&self.result_time),
            "error" => as_value(&self.result_error),
            _ => return Value::Null,
        };
        let mut value = &member;
        for key in &found.keys {
            let Value::Array(array) = value else { break };
            let Some(inner) = array.get(&Key::from(*key)) else {
                break;
            };
            value = inner;
        }
        value.clone()
    }
}

fn as_value(member: &impl Serialize) -> Value {
    serde_json::to_value(member)
        .and_then(serde_json::from_value)
        .unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::{Results, resolve};
    use crate::answer::Problem;
    use crate::php::{Array, Key, Value};

    #[test]
    fn references_become_what_they_lead_to() {
        let mut inner = Array::default();
        inner.insert(Key::from("ID"), Value::Int(7));
        let mut earlier = Results::with(Array::default, Array::default, Array::default);
        let result = &mut earlier.result;
        result.insert(Key::from("u0"), Value::Bool(true));
        result.insert(Key::from("user"), Value::Array(inner.clone()));
        let refused = Problem::new(400, "WRONG", "what is wrong").into_body();
        earlier.result_error.insert(Key::from("u1"), refused);
        let all = Value::Array(earlier.result.clone());
        let user = Value::Array(inner);
        let text = |text: &str| Value::Str(text.to_owned());
        for (given, expected) in [
            ("plain", text("plain")),
            ("$result", text("$result")),
            ("$result[]", text("$result[]")),
            ("$result[u0", text("$result[u0")),
            ("$result [u0]", text("$result [u0]")),
            ("$result[u0]", Value::Bool(true)),
            ("$result.of[u0].them", Value::Bool(true)),
            ("$result[u0][deeper]", Value::Bool(true)),
            ("$result[user]", user),
            ("$result[user][ID]", Value::Int(7)),
            ("$result[nobody]", all),
            ("$RESULT[u0]", Value::Null),
            ("$Error[u1]", Value::Null),
            ("$error[u1][error]", text("WRONG")),
            ("$next[u0]", Value::Array(Array::default())),
            ("$total[u0]", Value::Array(Array::default())),
            ("$time[u0]", Value::Array(Array::default())),
            ("$other[u0]", text("$other[u0]")),
            ("a$result[user][ID]b $error[u1][error]", text("a7 WRONG")),
            ("no $result[u0]", text("no $result[u0]")),
            ("x$result[user]", text("x$result[user]")),
            ("x$RESULT[u0]", text("x$RESULT[u0]")),
            ("$$result[user][ID]", text("$7")),
            ("$result $error[u1][error]", text("$result WRONG")),
        ] {
            assert_eq!(resolve(given, &earlier), expected, "{given}");
        }
    }
}
