//! The tables of the documentation.

use crate::markdown::line;
use crate::{Files, php, python};
use b24_messageservice::tables::{
    self, CALLBACKS, CodeTable, KINDS, OPTIONS, OptionKind, PortalCode, UsedBy,
};
use std::error::Error;

const ERRORS: &str = "docs/errors.md";
const PHP: &str = "bindings/php/README.md";
const PYTHON: &str = "bindings/python/README.md";

pub(crate) fn write(files: &mut Files) -> Result<(), Box<dyn Error>> {
    files.section("docs/options.md", "options", &options())?;
    files.section("docs/options.md", "callbacks", &callbacks())?;
    files.section(ERRORS, "kinds", &kinds())?;
    files.section(ERRORS, "portal codes", &portal_codes())?;
    files.section(ERRORS, "renewal codes", &renewal_codes())?;
    files.section(PYTHON, "options", &python_options())?;
    files.section(PYTHON, "provider options", &python_provider_options())?;
    files.section(PYTHON, "exceptions", &exceptions(|row| row.python_base))?;
    files.section(PHP, "options", &php_options(UsedBy::Provider))?;
    files.section(PHP, "provider options", &php_options(UsedBy::Client))?;
    files.section(PHP, "exceptions", &exceptions(|row| row.php_base))
}

pub(crate) fn table<const N: usize>(
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Vec<String> {
    let mut lines = vec![
        format!("| {} |", columns.join(" | ")),
        format!("|{}", "---|".repeat(N)),
    ];
    lines.extend(
        rows.into_iter()
            .map(|row| format!("| {} |", row.join(" | "))),
    );
    lines
}

fn code(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("`{text}`")
    }
}

fn options() -> Vec<String> {
    let rows = OPTIONS.iter().map(|row| {
        let kind = match row.kind {
            OptionKind::Text => "text",
            OptionKind::Number => "number",
            OptionKind::Milliseconds => "milliseconds",
            OptionKind::Path => "path",
            OptionKind::List => "list",
            OptionKind::Flag => "`true` or `false`",
        };
        [
            code(row.name),
            kind.to_owned(),
            row.default.to_owned(),
            line(row.documentation),
        ]
    });
    table(["name", "type", "default", "meaning"], rows)
}

fn callbacks() -> Vec<String> {
    let rows = CALLBACKS.iter().map(|row| {
        [
            code(row.name),
            row.bindings.join(", "),
            line(row.documentation),
        ]
    });
    table(["name", "in", "meaning"], rows)
}

fn python_options() -> Vec<String> {
    let callbacks = CALLBACKS
        .iter()
        .filter(|row| row.bindings.contains(&"Python"))
        .map(|row| [code(row.name), "none".to_owned(), line(row.documentation)]);
    let options = python_rows(|used_by| used_by != UsedBy::Provider);
    table(["option", "default", "meaning"], options.chain(callbacks))
}

/// What a provider takes and a client does not.
fn python_provider_options() -> Vec<String> {
    let options = python_rows(|used_by| used_by == UsedBy::Provider);
    table(["option", "default", "meaning"], options)
}

fn python_rows(is_shown: fn(UsedBy) -> bool) -> impl Iterator<Item = [String; 3]> {
    let rows = OPTIONS.iter().filter(move |row| is_shown(row.used_by));
    rows.map(|row| {
        let name = code(row.keyword());
        [name, python::default(row), line(row.documentation)]
    })
}

/// The options that are not only for the `other` class.
fn php_options(other: UsedBy) -> Vec<String> {
    let rows = OPTIONS
        .iter()
        .filter(|row| row.name != "portal" && row.used_by != other);
    let rows = rows.map(|row| {
        [
            code(row.name),
            php::default(row).to_owned(),
            line(row.documentation),
        ]
    });
    table(["option", "default", "meaning"], rows)
}

fn exceptions(base: fn(&tables::KindRow) -> &'static str) -> Vec<String> {
    let rows = KINDS
        .iter()
        .map(|row| [code(row.class), code(base(row)), line(row.documentation)]);
    table(["exception", "also a", "when"], rows)
}

fn kinds() -> Vec<String> {
    let rows = KINDS.iter().map(|row| {
        [
            code(row.name),
            code(row.class),
            line(row.documentation),
            row.retryable.to_owned(),
            line(row.advice),
        ]
    });
    table(
        ["kind", "exception", "when", "retryable", "what to do"],
        rows,
    )
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn portal_codes() -> Vec<String> {
    let mut lines = Vec::new();
    for CodeTable { methods, codes } in tables::portal_codes() {
        let methods: Vec<_> = methods.into_iter().map(code).collect();
        let whose = match methods.as_slice() {
            [] => "Any method:".to_owned(),
            methods => format!("{}:", methods.join(", ")),
        };
        lines.extend([String::new(), whose, String::new()]);
        let rows = codes.iter().map(|row| {
            [
                code(row.code),
                code(row.kind.name()),
                row.repeated.to_owned(),
                yes_or_no(row.retryable),
                advice(row),
            ]
        });
        lines.extend(table(
            ["code", "kind", "repeated", "retryable", "what to do"],
            rows,
        ));
    }
    lines.push(String::new());
    lines
}

fn renewal_codes() -> Vec<String> {
    let rows = tables::renewal_codes();
    let rows = rows
        .iter()
        .map(|row| [code(row.code), code(row.kind.name()), advice(row)]);
    table(["code", "kind", "what to do"], rows)
}

fn advice(row: &PortalCode) -> String {
    format!("{}.", line(row.advice))
}
