//! The manual pages of the C functions, one for each group, from the header and so from the comments of
//! `bindings/c/src`. A group is a file there.

use crate::Files;
use crate::markdown::{joined, line, mdoc};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

const OVERVIEW: &str = "bindings/c/packaging/b24_messageservice.3";

/// The files of `bindings/c/src` that have functions, and what their functions are for.
const GROUPS: &[(&str, &str)] = &[
    ("version", "the version of the library"),
    ("config", "the options of clients and providers"),
    ("client", "call one portal"),
    ("cancel_token", "cancel calls one by one"),
    ("batch", "report the statuses of many messages"),
    ("sender", "register SMS providers with a portal"),
    ("list", "read the rows that a call gives"),
    ("tokens", "read the tokens of an installation"),
    ("renewals", "wait for renewals of tokens"),
    ("provider", "do the whole job of a provider of messages"),
    ("request", "read the request of a portal"),
    ("drained", "what a drain has done"),
    ("vocabulary", "what an operator's words for statuses mean"),
    ("error", "why a call failed"),
    ("log", "receive the log records of the library"),
];

/// A function, or a type, for which there are no parameters.
struct Declared {
    name: String,
    returns: String,
    parameters: Vec<String>,
    is_function: bool,
    documentation: String,
}

pub(crate) fn write(files: &mut Files) -> Result<(), Box<dyn Error>> {
    let header = files.text("include/b24_messageservice.h")?.clone();
    let mut groups: BTreeMap<&str, Vec<Declared>> = BTreeMap::new();
    let mut sources = Vec::new();
    for (group, _) in GROUPS {
        let path = files.root().join(format!("bindings/c/src/{group}.rs"));
        sources.push((*group, fs::read_to_string(path)?));
    }
    for declared in read(&header) {
        let name = &declared.name;
        let group = sources.iter().find(|(_, source)| {
            let defines = |text: &str| source.contains(text);
            defines(&format!("fn {name}("))
                || defines(&format!("struct {name} "))
                || defines(&format!("type {name} "))
                || defines(&format!("enum {name} "))
        });
        match group {
            Some((group, _)) => groups.entry(*group).or_default().push(declared),
            // The codes are in a table of the overview.
            None if name == "b24_code" => {}
            None => return Err(format!("manual.rs has no group for {name}").into()),
        }
    }
    let date = files
        .text(OVERVIEW)?
        .lines()
        .find(|line| line.starts_with(".Dd "))
        .unwrap_or(".Dd $Mdocdate$")
        .to_owned();
    let mut pages = Vec::new();
    for (group, purpose) in GROUPS {
        let declared = groups.remove(*group).unwrap_or_default();
        let path = format!("bindings/c/packaging/b24_{group}.3");
        files.whole(&path, page(group, purpose, &date, &declared))?;
        pages.push(format!(".It Xr b24_{group} 3"));
        pages.push((*purpose).to_owned());
    }
    files.section(OVERVIEW, "pages", &pages)
}

fn page(group: &str, purpose: &str, date: &str, declared: &[Declared]) -> String {
    let functions: Vec<_> = declared.iter().filter(|one| one.is_function).collect();
    let mut lines = vec![
        ".\\\" Generated from bindings/c/src by `make generate`: change it there.".to_owned(),
        date.to_owned(),
        format!(".Dt B24_{} 3", group.to_uppercase()),
        ".Os".to_owned(),
        ".Sh NAME".to_owned(),
    ];
    for (index, function) in functions.iter().enumerate() {
        let comma = if index + 1 < functions.len() {
            " ,"
        } else {
            ""
        };
        lines.push(format!(".Nm {}{comma}", function.name));
    }
    lines.push(format!(".Nd {purpose}"));
    lines.push(".Sh LIBRARY\nlibb24_messageservice\n.Pq Fl lb24_messageservice".to_owned());
    lines.push(".Sh SYNOPSIS\n.In b24_messageservice.h".to_owned());
    for function in &functions {
        lines.push(format!(".Ft \"{}\"", function.returns));
        let parameters: Vec<_> = function
            .parameters
            .iter()
            .map(|parameter| format!(" \"{parameter}\""))
            .collect();
        lines.push(format!(".Fn {}{}", function.name, parameters.concat()));
    }
    lines.push(".Sh DESCRIPTION".to_owned());
    for (index, one) in declared.iter().filter(|one| !one.is_function).enumerate() {
        if index > 0 {
            lines.push(".Pp".to_owned());
        }
        lines.push(format!(".Vt {} :", one.name));
        lines.extend(text(one));
    }
    lines.push(".Bl -tag -width Ds".to_owned());
    for function in &functions {
        lines.push(format!(".It Fn {}", function.name));
        lines.extend(text(function));
    }
    lines.push(".El\n.Sh SEE ALSO\n.Xr b24_messageservice 3".to_owned());
    joined(&lines)
}

/// The documentation, its paragraphs apart.
fn text(declared: &Declared) -> Vec<String> {
    let is_parameter = |code: &str| {
        let name = |parameter: &String| parameter.ends_with(&format!(" {code}"));
        let pointer = |parameter: &String| parameter.ends_with(&format!("*{code}"));
        declared
            .parameters
            .iter()
            .any(|one| name(one) || pointer(one))
    };
    let macro_of = |code: &str| if is_parameter(code) { "Fa" } else { "Ql" };
    let mut lines = Vec::new();
    for paragraph in declared.documentation.split("\n\n") {
        if !lines.is_empty() {
            lines.push(".Pp".to_owned());
        }
        lines.extend(mdoc(&line(paragraph).replace('\\', "\\e"), macro_of));
    }
    lines
}

/// What the header declares, in its order.
fn read(header: &str) -> Vec<Declared> {
    let mut all = Vec::new();
    let mut documentation = String::new();
    let mut declaration = String::new();
    for row in header.lines() {
        let comment = row.strip_prefix("//");
        if declaration.is_empty() && comment.is_some() {
            documentation.push_str(comment.unwrap_or_default());
            documentation.push('\n');
            continue;
        }
        if row.starts_with('#') || row.trim().is_empty() {
            documentation.clear();
            continue;
        }
        declaration.push_str(row.split("//").next().unwrap_or_default());
        declaration.push(' ');
        let open = declaration.matches('{').count() > declaration.matches('}').count();
        if row.trim_end().ends_with(';') && !open {
            let documentation = documentation
                .replace("\n \n", "\n\n")
                .replace("\n\n\n", "\n\n");
            all.extend(declared(&line(&declaration), documentation));
            declaration.clear();
        }
    }
    all
}

fn declared(declaration: &str, documentation: String) -> Option<Declared> {
    let declaration = declaration.strip_suffix(';')?;
    let plain = declaration.replace("struct ", "").replace("enum ", "");
    if let Some(kind) = plain.strip_prefix("typedef ") {
        let name = match kind.split_once("(*") {
            Some((_, rest)) => rest.split(')').next()?,
            None => kind.rsplit(' ').next()?,
        };
        return Some(Declared {
            name: name.to_owned(),
            returns: String::new(),
            parameters: Vec::new(),
            is_function: false,
            documentation,
        });
    }
    let (head, parameters) = plain.strip_suffix(')')?.split_once('(')?;
    let at = head.rfind([' ', '*'])? + 1;
    let (returns, name) = head.split_at_checked(at)?;
    Some(Declared {
        name: name.to_owned(),
        returns: returns.trim().to_owned(),
        parameters: parameters.split(", ").map(str::to_owned).collect(),
        is_function: true,
        documentation,
    })
}
