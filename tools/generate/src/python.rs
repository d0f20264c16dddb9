//! For Python: the exceptions, and the keyword arguments of a client.

use crate::Files;
use crate::markdown::{joined, restructured, sentence, wrap};
use b24_messageservice::tables::{CALLBACKS, KINDS, OPTIONS, OptionKind, OptionRow};
use std::error::Error;

const PACKAGE: &str = "bindings/python/b24_messageservice/__init__.py";

pub(crate) fn write(files: &mut Files) -> Result<(), Box<dyn Error>> {
    files.whole("bindings/python/b24_messageservice/_options.py", options())?;
    files.section(
        "bindings/python/b24_messageservice/_errors.py",
        "exceptions",
        &exceptions(),
    )?;
    let mut classes: Vec<_> = KINDS.iter().map(|row| row.class).collect();
    classes.sort_unstable();
    let names: Vec<_> = classes
        .iter()
        .map(|name| format!("    \"{name}\","))
        .collect();
    files.section(PACKAGE, "names", &names)?;
    // The list of imports is in order with the class that is written by hand.
    classes.push("B24Error");
    classes.sort_unstable();
    let imports: Vec<_> = classes.iter().map(|name| format!("    {name},")).collect();
    files.section(PACKAGE, "imports", &imports)
}

/// The option's keyword: times are seconds, which a float holds.
pub(crate) fn keyword(row: &OptionRow) -> &'static str {
    match row.kind {
        OptionKind::Milliseconds => row.name.strip_suffix("_ms").unwrap_or(row.name),
        _ => row.name,
    }
}

/// Its default, as Python writes it.
pub(crate) fn default(row: &OptionRow) -> String {
    let Some(value) = row.default_value() else {
        return row.default.to_owned();
    };
    match (row.kind, value.parse::<f64>()) {
        (OptionKind::Milliseconds, Ok(milliseconds)) => format!("`{:?}`", milliseconds / 1000.0),
        (OptionKind::Flag, _) => format!("`{}`", if value == "true" { "True" } else { "False" }),
        (OptionKind::Number, _) => row.default.to_owned(),
        _ => format!("`\"{value}\"`"),
    }
}

fn type_of(kind: OptionKind) -> &'static str {
    match kind {
        OptionKind::Text => "str | None",
        OptionKind::Number => "int | str | None",
        OptionKind::Milliseconds => "float | str | None",
        OptionKind::Path => "str | PathLike[str] | None",
        OptionKind::List => "str | Sequence[str] | None",
        OptionKind::Flag => "bool | str | None",
    }
}

fn options() -> String {
    let mut listed = String::new();
    let mut keys = Vec::new();
    let mut entry = |name: &str, type_of: &str, documentation: &str| {
        let documentation = format!("{name}: {}", restructured(documentation));
        let indented = wrap(&documentation, "        ", 100);
        listed.push_str(joined(&indented).strip_prefix("    ").unwrap_or_default());
        keys.push(format!("    {name}: {type_of}"));
    };
    for row in OPTIONS.iter().filter(|row| row.name != "portal") {
        let unit = match row.kind {
            OptionKind::Milliseconds => " In seconds.",
            _ => "",
        };
        let default = match default(row).as_str() {
            "none" => String::new(),
            words if words.starts_with("required") => format!(" {}", sentence(words)),
            value => format!(" The default is {value}."),
        };
        let documentation = format!("{}{unit}{default}", row.documentation);
        entry(keyword(row), type_of(row.kind), &documentation);
    }
    for row in CALLBACKS
        .iter()
        .filter(|row| row.bindings.contains(&"Python"))
    {
        entry(
            row.name,
            "Callable[[Tokens], Any] | None",
            row.documentation,
        );
    }
    format!(
        r#""""The options of a client. Written by ``make generate`` from the table in ``src/options.rs``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, TypedDict

from b24_messageservice._tokens import Tokens


class Options(TypedDict, total=False):
    """The keyword arguments of ``Client`` and ``Client.shared``.

    An option that is None is not set. A function that passes options on can declare them as
    ``**options: Unpack[Options]``.

{listed}    """

{}"#,
        joined(&keys)
    )
}

fn exceptions() -> Vec<String> {
    let mut lines = Vec::new();
    for row in KINDS {
        let bases = match row.python_base {
            "" => "B24Error".to_owned(),
            base => format!("B24Error, {base}"),
        };
        lines.extend([
            String::new(),
            String::new(),
            format!("class {}({bases}):", row.class),
        ]);
        let documentation = restructured(&format!("{} {}", row.documentation, row.advice));
        lines.extend(wrap(&format!("\"\"\"{documentation}\"\"\""), "    ", 100));
        lines.extend([String::new(), format!("    code = \"{}\"", row.name)]);
    }
    lines.extend([String::new(), String::new()]);
    lines
}
