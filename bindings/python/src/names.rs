//! The names of options as Python has them: keywords, of which times are in seconds.

use b24_messageservice::tables::{CALLBACKS, OPTIONS, OptionKind, OptionRow, UsedBy, nearest};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::borrow::Cow;

/// Refuses a keyword that no option has, as Python does, and names the nearest.
pub(crate) fn refuse_unknown(
    owner: &str,
    takes: UsedBy,
    options: &Bound<'_, PyDict>,
    further: &[&'static str],
) -> PyResult<()> {
    let callbacks = CALLBACKS
        .iter()
        .filter(|row| row.bindings.contains(&"Python"))
        .map(|row| row.name);
    let known: Vec<&str> = OPTIONS
        .iter()
        .map(OptionRow::keyword)
        .chain(callbacks)
        .chain(further.iter().copied())
        .collect();
    for name in options.keys() {
        let name = name.cast::<PyString>()?.to_string_lossy();
        // An option of the other class is refused by the core, which says more about it.
        if known.contains(&&*name) {
            continue;
        }
        let advice = advice(
            &name,
            |keyword| {
                let row = OPTIONS.iter().find(|row| row.keyword() == keyword);
                match row {
                    Some(row) => row.used_by == takes || row.used_by == UsedBy::Both,
                    None => takes == UsedBy::Client || further.contains(&keyword),
                }
            },
            &known,
        );
        return Err(PyTypeError::new_err(format!(
            "{owner}() got an unexpected keyword argument '{name}'. {advice}"
        )));
    }
    Ok(())
}

/// What to give instead of a keyword that nothing takes.
fn advice(name: &str, is_taken: impl Fn(&str) -> bool, known: &[&str]) -> String {
    let in_seconds = OPTIONS
        .iter()
        .find(|row| row.name.eq_ignore_ascii_case(name) && row.kind == OptionKind::Milliseconds);
    if let Some(row) = in_seconds {
        return format!("Did you mean '{}', which takes seconds?", row.keyword());
    }
    let candidates: Vec<&str> = known
        .iter()
        .copied()
        .filter(|name| is_taken(name))
        .collect();
    match nearest(name, &candidates) {
        Some(nearest) => format!("Did you mean '{nearest}'?"),
        None => format!("The options are {}", candidates.join(", ")),
    }
}

/// A text of the core with the names that options have in Python, where times are seconds.
pub(crate) fn spelled(text: &str) -> Cow<'_, str> {
    let mut spelled = Cow::Borrowed(text);
    // The longer ones first, which contain the others.
    let mut rows: Vec<_> = OPTIONS
        .iter()
        .filter(|row| row.keyword() != row.name)
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.name.len()));
    for row in rows {
        if let Some(replaced) = replaced(&spelled, row.name, row.keyword()) {
            spelled = Cow::Owned(replaced);
        }
    }
    spelled
}

/// The text with a word replaced; `None` if it is not in it. A part of a longer name, of a path or of
/// what somebody quotes is no such word.
fn replaced(text: &str, word: &str, by: &str) -> Option<String> {
    let joins = |c: char| c.is_alphanumeric() || "_-/".contains(c);
    let is_quoted = |before: &str, after: &str| before.ends_with('"') && after.starts_with('"');
    let mut made = None;
    let mut done = 0;
    for (start, _) in text.match_indices(word) {
        let (before, rest) = text.split_at_checked(start)?;
        let after = rest.get(word.len()..)?;
        if before.ends_with(joins) || after.starts_with(joins) || is_quoted(before, after) {
            continue;
        }
        let made = made.get_or_insert_with(String::new);
        made.push_str(text.get(done..start)?);
        made.push_str(by);
        done = start + word.len();
    }
    let mut made: String = made?;
    made.push_str(text.get(done..)?);
    Some(made)
}
