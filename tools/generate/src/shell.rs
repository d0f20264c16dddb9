//! The program `b24-messageservice`: its manual page and the tables of docs/shell.md, from its command
//! line.
//!
//! One page has all commands, in mdoc as the page of the library; `clap_mangen` would write a page for
//! each command, in the older macros.

use crate::markdown::{line, plain, wrap};
use crate::{Files, pages};
use b24_messageservice::tables::{OPTIONS, OptionRow, UsedBy};
use b24_messageservice_cli::{COMMAND, EXIT_CODES, PASSWORDS, SECRETS, command};
use clap::{Arg, ArgAction, Command};
use std::error::Error;

const MANUAL: &str = "cli/packaging/b24-messageservice.1";
const PAGE: &str = "docs/shell.md";
/// Of the last change to the command line that readers of the page should know of.
const DATE: &str = "November 26, 2026";

pub(crate) fn write(files: &mut Files) -> Result<(), Box<dyn Error>> {
    let mut command = command();
    command.build();
    files.whole(MANUAL, manual(&command).join("\n") + "\n")?;
    files.section(PAGE, "commands", &commands(&command))?;
    files.section(PAGE, "shell options", &options())?;
    files.section(PAGE, "exit codes", &exit_codes())
}

/// The commands, those of `sender` by both their names.
fn leaves(command: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        let name = below.get_name();
        if below.has_subcommands() {
            let inner = leaves(below).into_iter();
            found.extend(inner.map(|(inner, command)| (format!("{name} {inner}"), command)));
        } else {
            found.push((name.to_owned(), below));
        }
    }
    found
}

/// What a command alone takes: not the options of the library, which are listed once, nor those that
/// every command has.
fn own(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        let is_common = arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        !arg.is_hide_set() && !is_common && arg.get_help_heading().is_none()
    })
}

fn value(arg: &Arg) -> Option<String> {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let names = arg.get_value_names().unwrap_or_default();
    takes.then(|| names.join(" "))
}

fn flag(arg: &Arg) -> String {
    match (arg.get_long(), value(arg)) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_default(),
    }
}

fn help(arg: &Arg) -> String {
    let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let text = text.trim_end_matches('.');
    let default: Vec<_> = arg
        .get_default_values()
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| value.to_string_lossy())
        .collect();
    if default.is_empty() {
        format!("{text}.")
    } else {
        format!("{text}. Default: {}.", default.join(", "))
    }
}

fn about(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    let text = text.map(ToString::to_string).unwrap_or_default();
    format!("{}.", text.trim_end_matches('.'))
}

/// How a command is called, without the options that every command has.
fn usage(name: &str, command: &Command) -> String {
    let mut words = vec![format!("{COMMAND} {name}")];
    for arg in own(command) {
        let shown = flag(arg);
        words.push(if arg.is_required_set() {
            shown
        } else {
            format!("[{shown}]")
        });
    }
    words.join(" ")
}

fn commands(command: &Command) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (name, command) in leaves(command) {
        lines.extend([format!("### {name}"), String::new()]);
        for paragraph in about(command).split("\n\n") {
            lines.extend(wrap(paragraph, "", 110));
            lines.push(String::new());
        }
        lines.extend([
            "```text".to_owned(),
            usage(&name, command),
            "```".to_owned(),
            String::new(),
        ]);
        let rows: Vec<_> = own(command)
            .map(|arg| [format!("`{}`", flag(arg)), help(arg)])
            .collect();
        if !rows.is_empty() {
            lines.extend(pages::table(["argument", "meaning"], rows));
            lines.push(String::new());
        }
    }
    lines
}

fn taken_by(row: &OptionRow) -> &'static str {
    match row.used_by {
        UsedBy::Client => "calls with the tokens of the options",
        UsedBy::Provider => "what uses the store",
        UsedBy::Both => "both",
    }
}

fn variable(row: &OptionRow) -> String {
    format!("B24_{}", row.name.to_uppercase())
}

fn options() -> Vec<String> {
    let rows = OPTIONS.iter().map(|row| {
        let flag = if SECRETS.contains(&row.name) {
            "never".to_owned()
        } else if PASSWORDS.contains(&row.name) {
            format!("`--{}`, without a password", row.name.replace('_', "-"))
        } else {
            format!("`--{}`", row.name.replace('_', "-"))
        };
        let name = variable(row);
        let variables = if has_file(row) {
            format!("`{name}`, `{name}_FILE`")
        } else {
            format!("`{name}`")
        };
        [
            format!("`{}`", row.name),
            flag,
            variables,
            taken_by(row).to_owned(),
        ]
    });
    pages::table(["in the file", "flag", "environment", "for"], rows)
}

fn has_file(row: &OptionRow) -> bool {
    SECRETS.contains(&row.name) || PASSWORDS.contains(&row.name)
}

fn exit_codes() -> Vec<String> {
    let rows = EXIT_CODES
        .iter()
        .map(|(code, meaning)| [format!("`{code}`"), line(meaning)]);
    pages::table(["code", "when"], rows)
}

fn manual(command: &Command) -> Vec<String> {
    let mut page: Vec<String> = vec![
        ".\\\" Written by `make generate` from the command line in cli/src/command_line.rs."
            .to_owned(),
        format!(".Dd {DATE}"),
        format!(".Dt {} 1", COMMAND.to_uppercase()),
        ".Os".to_owned(),
        ".Sh NAME".to_owned(),
        format!(".Nm {COMMAND}"),
        format!(
            ".Nd {}",
            lower(
                &command
                    .get_about()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            )
        ),
        ".Sh SYNOPSIS".to_owned(),
    ];
    for (name, command) in leaves(command) {
        page.push(format!(".Nm {COMMAND}"));
        page.push(format!(".Cm {name}"));
        page.push(".Op Ar option ...".to_owned());
        for arg in own(command) {
            let parts = parts(arg);
            page.push(if arg.is_required_set() {
                format!(".{parts}")
            } else {
                format!(".Op {parts}")
            });
        }
    }
    page.push(".Sh DESCRIPTION".to_owned());
    page.extend(prose(
        "It reports to Bitrix24 what became of messages, and does what else a provider of messages does: it keeps \
         the installations of an application and the receipts of operators in a store, and sends the receipts to \
         the portals.",
    ));
    manual_commands(&mut page, command);
    manual_options(&mut page, command);
    manual_environment(&mut page);
    page.push(".Sh FILES".to_owned());
    page.extend(prose(
        "The file of --config has a line NAME=VALUE for each option. The value is what stands between the first = \
         and the end of the line, without the blanks around it; nothing is quoted. Empty lines, and lines that begin \
         with #, count for nothing. If it has a secret, other users than those of its group may not read it.",
    ));
    page.push(".Sh EXIT STATUS".to_owned());
    list(
        &mut page,
        EXIT_CODES
            .iter()
            .map(|(code, meaning)| (format!("Li {code}"), plain(meaning))),
    );
    page.push(".Sh SEE ALSO".to_owned());
    page.push(".Xr b24_messageservice 3".to_owned());
    page
}

fn manual_commands(page: &mut Vec<String>, command: &Command) {
    page.push(".Sh COMMANDS".to_owned());
    page.push(".Bl -tag -width Ds".to_owned());
    for (name, command) in leaves(command) {
        page.push(format!(".It Cm {name}"));
        let about = about(command);
        for (at, paragraph) in about.split("\n\n").enumerate() {
            if at > 0 {
                page.push(".Pp".to_owned());
            }
            page.extend(prose(paragraph));
        }
        list(page, own(command).map(|arg| (parts(arg), help(arg))));
    }
    page.push(".El".to_owned());
}

fn manual_options(page: &mut Vec<String>, command: &Command) {
    page.push(".Sh OPTIONS".to_owned());
    page.extend(prose("Every command has these:"));
    let common = command.get_arguments().filter(|arg| !arg.is_hide_set());
    list(page, common.map(|arg| (parts(arg), help(arg))));
    page.push(".Pp".to_owned());
    page.extend(prose(
        "The options of the library follow. A command takes those that it needs. Each is taken from its flag, else \
         from the environment, else from the file of --config, where it has the name of the variable in lower \
         case and without B24_.",
    ));
    list(
        page,
        OPTIONS.iter().map(|row| {
            let name = if SECRETS.contains(&row.name) {
                format!("Ev {}", variable(row))
            } else {
                format!(
                    "Fl -{} Ar VALUE , Ev {}",
                    row.name.replace('_', "-"),
                    variable(row)
                )
            };
            let text = plain(row.documentation);
            match row.default_value() {
                Some(default) => (name, format!("{text} Default: {default}.")),
                None => (name, text),
            }
        }),
    );
}

fn manual_environment(page: &mut Vec<String>) {
    page.push(".Sh ENVIRONMENT".to_owned());
    page.extend(prose(
        "The options above. Secrets are never given by flag, since every user of a machine sees those. For them \
         there are also variables with the path of a file that has the value alone, such as one of systemd's \
         credentials:",
    ));
    list(
        page,
        OPTIONS
            .iter()
            .filter(|row| has_file(row))
            .map(|row| {
                (
                    format!("Ev {}_FILE", variable(row)),
                    format!("A file with {}.", row.name),
                )
            })
            .chain([
                (
                    "Ev B24_CONFIG".to_owned(),
                    "The file of --config.".to_owned(),
                ),
                (
                    "Ev NOTIFY_SOCKET".to_owned(),
                    "Where drain --forever says that it is ready, as systemd sets it.".to_owned(),
                ),
                (
                    "Ev JOURNAL_STREAM".to_owned(),
                    "If it is set, lines of the log begin with their level instead of the time."
                        .to_owned(),
                ),
            ]),
    );
}

/// An argument in the macros of mdoc.
fn parts(arg: &Arg) -> String {
    let value = value(arg).map(|value| format!("Ar {value}"));
    let long = arg.get_long().map(|long| format!("Fl -{long}"));
    let short = arg.get_short().map(|short| format!("Fl {short} ,"));
    let parts: Vec<_> = [short, long, value].into_iter().flatten().collect();
    parts.join(" ")
}

fn list(page: &mut Vec<String>, items: impl Iterator<Item = (String, String)>) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    page.push(".Bl -tag -width Ds".to_owned());
    for (name, text) in items {
        page.push(format!(".It {name}"));
        page.extend(prose(&text));
    }
    page.push(".El".to_owned());
}

/// Text, with each sentence on a line of its own and nothing that is taken for a macro.
fn prose(text: &str) -> Vec<String> {
    let text = plain(text).replace('\\', "\\e");
    text.split_inclusive(". ")
        .flat_map(|sentence| wrap(sentence, "", 80))
        .map(|line| {
            if line.starts_with(['.', '\'']) {
                format!("\\&{line}")
            } else {
                line
            }
        })
        .collect()
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_lowercase);
    first.chain(letters).collect()
}
