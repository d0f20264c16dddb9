//! For Python: the exceptions, and the keyword arguments of clients and providers.

use crate::Files;
use crate::markdown::{joined, restructured, sentence, wrap};
use b24_messageservice::tables::{CALLBACKS, KINDS, OPTIONS, OptionKind, OptionRow, UsedBy};
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

/// The keys of a `TypedDict`: what its docstring tells of them, and their types.
#[derive(Default)]
struct Keys {
    documentation: String,
    types: Vec<String>,
}

impl Keys {
    fn add(&mut self, name: &str, type_of: &str, documentation: &str) {
        let documentation = format!("{name}: {}", restructured(documentation));
        let indented = wrap(&documentation, "        ", 100);
        let indented = joined(&indented);
        self.documentation
            .push_str(indented.strip_prefix("    ").unwrap_or_default());
        self.types.push(format!("    {name}: {type_of}"));
    }

    /// The options that one of the two takes. A portal is an argument of its own.
    fn of(user: UsedBy) -> Self {
        let mut keys = Self::default();
        let rows = OPTIONS.iter().filter(|row| row.name != "portal");
        for row in rows.filter(|row| row.used_by == user || row.used_by == UsedBy::Both) {
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
            keys.add(row.keyword(), type_of(row.kind), &documentation);
        }
        keys
    }
}

fn options() -> String {
    let mut client = Keys::of(UsedBy::Client);
    for row in CALLBACKS
        .iter()
        .filter(|row| row.bindings.contains(&"Python"))
    {
        client.add(
            row.name,
            "Callable[[Tokens], Any] | None",
            row.documentation,
        );
    }
    let provider = Keys::of(UsedBy::Provider);
    format!(
        r#""""The options of clients and providers. Written by ``make generate`` from the table in
``src/options.rs``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, TypedDict

from b24_messageservice._tokens import Tokens


class Options(TypedDict, total=False):
    """The keyword arguments of ``Client`` and ``Client.shared``.

    An option that is None is not set. A function that passes options on can declare them as
    ``**options: Unpack[Options]``.

{}    """

{}

class _Portal(TypedDict):
    portal: str


class ClientOptions(_Portal, Options, total=False):
    """All arguments of ``Client``, ``Client.shared`` and ``AsyncClient``, to write
    ``Client(**options)``: ``portal``, which is required, and those of ``Options``.
    """


class ProviderOptions(TypedDict, total=False):
    """The keyword arguments of ``Provider``.

    ``store``, ``client_id`` and ``client_secret`` are required. An option that is None is not set.
    A function that passes options on can declare them as ``**options: Unpack[ProviderOptions]``.

{}    """

{}"#,
        client.documentation,
        joined(&client.types),
        provider.documentation,
        joined(&provider.types),
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
