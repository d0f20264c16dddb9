//! For C: `b24_code`, the names of the options, the header, and the lists of the manual page.

use crate::Files;
use crate::markdown::{joined, line, mdoc, plain, sentence, wrap};
use b24_messageservice::ErrorKind;
use b24_messageservice::tables::{KINDS, OPTIONS, OptionKind, UsedBy};
use std::error::Error;

const MANUAL: &str = "bindings/c/packaging/b24_messageservice.3";
const WRAPPER: &str = "include/b24_messageservice.hpp";

pub(crate) fn sources(files: &mut Files) -> Result<(), Box<dyn Error>> {
    files.whole("bindings/c/src/code.rs", code())?;
    files.section("bindings/c/src/config.rs", "names of options", &names())?;
    files.section(WRAPPER, "options", &setters())?;
    files.section(MANUAL, "options", &options())?;
    files.section(MANUAL, "codes", &codes())
}

pub(crate) fn header(files: &mut Files) -> Result<(), Box<dyn Error>> {
    let abi = files.root().join("bindings/c");
    let mut config = cbindgen::Config::from_file(abi.join("cbindgen.toml"))?;
    config.after_includes = config.after_includes.map(|text| versioned(&text));
    let mut text = Vec::new();
    cbindgen::generate_with_config(&abi, config)?.write(&mut text);
    let text = String::from_utf8(text)?;
    // PHP's package has it at run time, and may be installed without anything else of the project.
    files.whole("bindings/php/lib/b24_messageservice.h", text.clone())?;
    files.whole("include/b24_messageservice.h", text)?;
    Ok(())
}

/// With the version of the workspace, which this crate has too.
fn versioned(text: &str) -> String {
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let minor = env!("CARGO_PKG_VERSION_MINOR");
    let patch = env!("CARGO_PKG_VERSION_PATCH");
    text.replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@MAJOR@", major)
        .replace("@MINOR@", minor)
        .replace("@PATCH@", patch)
        .replace("@NUMBER@", &format!("{major}{minor:0>3}{patch:0>3}"))
}

fn names() -> Vec<String> {
    let of = |user: UsedBy| {
        let rows = OPTIONS.iter().filter(|row| row.used_by == user);
        rows.map(|row| row.name).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "{}; of clients only: {}; of providers only: {}.",
        of(UsedBy::Both),
        of(UsedBy::Client),
        of(UsedBy::Provider)
    );
    wrap(&text, "/// ", 100)
}

/// The functions of the C++ wrapper's configuration: an option's name without its unit, which is in
/// the type.
fn setters() -> Vec<String> {
    let mut lines = Vec::new();
    for row in OPTIONS {
        let (option, name) = (row.name, row.keyword());
        let (parameter, put) = match row.kind {
            OptionKind::Text | OptionKind::Path => ("std::string_view value", "put"),
            OptionKind::Number => ("std::int64_t value", "put"),
            OptionKind::Milliseconds => ("std::chrono::milliseconds value", "put"),
            OptionKind::List => ("const std::vector<std::string> &value", "put_list"),
            OptionKind::Flag => ("bool value", "put_flag"),
        };
        let mut documentation = plain(row.documentation);
        if row.kind == OptionKind::Milliseconds {
            documentation = format!("{documentation} Errors name it {option}.");
        }
        lines.extend(wrap(&documentation, "    /// ", 100));
        let head = format!("    config &{name}({parameter}) {{");
        let body = format!("return {put}(\"{option}\", value);");
        if head.len() + body.len() + 3 <= 100 {
            lines.push(format!("{head} {body} }}"));
        } else {
            lines.extend([head, format!("        {body}"), "    }".to_owned()]);
        }
        if row.kind == OptionKind::Flag {
            lines.push("    // A text, which would be true whatever it says.".to_owned());
            lines.push(format!("    config &{name}(const void *) = delete;"));
        }
    }
    lines
}

fn code() -> String {
    let mut variants = Vec::new();
    let mut arms = Vec::new();
    let mut names = Vec::new();
    for row in KINDS {
        let (name, kind, number) = (row.name, row.kind, row.kind as i32);
        let documentation = plain(&format!("{} {}", row.documentation, row.advice));
        variants.extend(wrap(&documentation, "    /// ", 100));
        variants.push(format!("    B24_{name} = {number},"));
        if kind != ErrorKind::Internal {
            arms.push(format!(
                "            ErrorKind::{kind:?} => Self::B24_{name},"
            ));
        }
        names.push(format!("    c\"B24_{name}\","));
    }
    let (variants, arms, names) = (joined(&variants), joined(&arms), joined(&names));
    format!(
        r#"//! `b24_code`. Written by `make generate` from the kinds of error in `src/values/error.rs`.

use b24_messageservice::ErrorKind;
use std::ffi::CStr;

/// The outcome of a call. The values never change. Later versions may add some, so treat one that
/// you do not know as B24_INTERNAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum b24_code {{
    /// Success.
    B24_OK = 0,
{variants}}}

impl From<ErrorKind> for b24_code {{
    fn from(kind: ErrorKind) -> Self {{
        match kind {{
{arms}            // INTERNAL; there is no other, as long as this file is up to date.
            _ => Self::B24_INTERNAL,
        }}
    }}
}}

/// The names, by value.
pub(crate) const NAMES: &[&CStr] = &[
    c"B24_OK",
{names}];
"#
    )
}

fn options() -> Vec<String> {
    let mut lines = Vec::new();
    for row in OPTIONS {
        let default = match row.default {
            "none" => String::new(),
            words if words.starts_with("required") => sentence(words),
            value => format!("The default is {value}."),
        };
        let user = match row.used_by {
            UsedBy::Both => "",
            UsedBy::Client => "Only clients take it.",
            UsedBy::Provider => "Only providers take it.",
        };
        lines.push(format!(".It Cm {}", row.name));
        let text = format!("{} {default} {user}", row.documentation);
        lines.extend(mdoc(&text, in_manual));
    }
    lines
}

fn codes() -> Vec<String> {
    let mut lines = Vec::new();
    for row in KINDS {
        lines.push(format!(".It Dv B24_{}", row.name));
        let text = line(&format!("{} {}", row.documentation, row.advice));
        lines.extend(mdoc(&text, in_manual));
    }
    lines
}

fn in_manual(code: &str) -> &'static str {
    if OPTIONS.iter().any(|row| row.name == code) {
        "Cm"
    } else {
        "Ql"
    }
}
