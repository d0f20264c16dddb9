//! The command line. `--help`, the manual page and `docs/shell.md` are made from it.

use crate::configuration::{PASSWORDS, SECRETS};
use crate::exit::EXIT_CODES;
use crate::time;
use b24_messageservice::VERSION;
use b24_messageservice::tables::{OPTIONS, OptionKind, OptionRow, UsedBy};
use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use std::fmt::Write as _;

/// The program's name.
pub const COMMAND: &str = "b24-messageservice";

const HEADING: &str = "Options of the library";

/// The whole command line.
pub fn command() -> Command {
    Command::new(COMMAND)
        .version(VERSION)
        .about("Tells Bitrix24 what became of messages, and does the rest of a provider's work")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .after_long_help(exit_codes())
        .args([
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .global(true)
                .help(
                    "Reads options from a file: a line NAME=VALUE for each. Only its owner and group may read \
                     it if it has secrets. B24_CONFIG names one as well",
                ),
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .action(ArgAction::Count)
                .global(true)
                .help("Shows what is done; twice: each request"),
        ])
        .subcommands([
            update(),
            batch(),
            sender(),
            install(),
            drain(),
            inspect(),
            refused(),
            resume(),
            prune(),
            move_store(),
            check(),
        ])
}

fn update() -> Command {
    Command::new("update")
        .about("Reports the status of one message to its portal, and waits for the answer")
        .long_about(
            "Reports the status of one message to its portal, and waits for the answer. The tokens are those \
             of the options, or with --member-id those of the store.",
        )
        .args([
            code(),
            required("message_id", "MESSAGE_ID", "What the portal sent to the handler"),
            required("status", "STATUS", "queued, sent, delivered, undelivered or failed"),
            member_id(),
        ])
        .args(options(|_| true))
}

fn batch() -> Command {
    Command::new("batch")
        .about("Reports the statuses of any number of messages, from a file or a pipe")
        .long_about(
            "Reports the statuses of any number of messages, from a file or a pipe: CSV whose first line names \
             the columns, or JSON, an object on each line. The columns are code, message_id, status, and \
             optionally member_id and at, which are Unix seconds or a time such as \
             2026-01-31T12:00:00+01:00.\n\n\
             Without member ids the statuses are sent to the portal of the options, 50 in a request, and `at` \
             counts for nothing. With --member-id or a column member_id they are receipts: they are put into the \
             store, and a drain sends them.\n\n\
             Rows are read and sent while more come. Each one that fails is reported, and the others go on. If \
             nothing can be sent any more, such as with tokens that are not valid, the program stops and says \
             in which line. A batch can be given again as a whole: an update that was made is made once more \
             without harm.",
        )
        .args([
            Arg::new("file")
                .value_name("FILE")
                .default_value("-")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("The file, or - for standard input"),
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(["csv", "json"]))
                .help(
                    "csv or json. Without it: json if the name of the file ends with .json, .jsonl or .ndjson, \
                     else csv",
                ),
            member_id(),
            json("Writes an object for each row that fails, and one with the counts, to standard output"),
        ])
        .args(options(|_| true))
}

fn sender() -> Command {
    let texts = || {
        [
            Arg::new("handler")
                .long("handler")
                .value_name("URL")
                .help("The address that the portal posts messages to"),
            Arg::new("name")
                .long("name")
                .value_name("TEXT")
                .help("The name that users see"),
            by_language("name-in", "name"),
            Arg::new("description")
                .long("description")
                .value_name("TEXT")
                .help("The description that users see"),
            by_language("description-in", "description"),
        ]
    };
    let calls = |command: Command| command.arg(member_id()).args(options(|_| true));
    Command::new("sender")
        .about("Registers, changes, removes or lists the application's senders at a portal")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            calls(
                Command::new("add")
                    .about("Registers a sender, which users of the portal can then choose")
                    .arg(code())
                    .args(texts()),
            ),
            calls(
                Command::new("update")
                    .about("Changes what is given")
                    .arg(code())
                    .args(texts()),
            ),
            calls(Command::new("delete").about("Removes a sender").arg(code())),
            calls(
                Command::new("list")
                    .about("Lists the codes of the senders")
                    .arg(json("Writes a list in JSON")),
            ),
        ])
}

fn install() -> Command {
    Command::new("install")
        .about("Puts an installation into the store, or those of a state_dir")
        .long_about(
            "Puts an installation into the store: the answer of the authorization server, or the auth of an \
             event, as JSON. The authorization server is asked whether it is right.\n\n\
             With --state-dir the installations of that directory are moved to the store. Stop the clients \
             that use it first.",
        )
        .args([
            Arg::new("file")
                .value_name("FILE")
                .default_value("-")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("The file with the JSON, or - for standard input"),
            Arg::new("application_token_file")
                .long("application-token-file")
                .value_name("FILE")
                .conflicts_with("import")
                .value_parser(value_parser!(std::path::PathBuf))
                .help(
                    "A file with the installation's application_token. Without it the first message of the \
                     portal sets it",
                ),
            Arg::new("import")
                .long("state-dir")
                .value_name("DIRECTORY")
                .conflicts_with("file")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("Moves the installations of this directory to the store"),
        ])
        .args(options(of_provider))
}

fn drain() -> Command {
    Command::new("drain")
        .about("Sends the receipts that are in the store")
        .long_about(
            "Sends the receipts that are in the store, as fast as the portals take them. Any number of drains \
             may run at once.\n\n\
             SIGTERM and Ctrl-C let the requests that are under way finish, and start no others; the exit code is \
             0. A second one ends them. With --forever a store that fails is tried again, and a service manager \
             that waits for it (Type=notify) is told when it is ready.",
        )
        .args([
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=86_400))
                .help("For how long; 60 if neither is given"),
            Arg::new("forever")
                .long("forever")
                .action(ArgAction::SetTrue)
                .help("Until a signal"),
            json("Writes the counts as JSON; with --forever after each round in which something happened"),
        ])
        .group(ArgGroup::new("how_long").args(["seconds", "forever"]))
        .args(options(of_provider))
}

fn inspect() -> Command {
    Command::new("inspect")
        .about("Shows what waits in the store, and for which portals")
        .args([
            json("Writes an object"),
            Arg::new("prometheus")
                .long("prometheus")
                .action(ArgAction::SetTrue)
                .conflicts_with("json")
                .help("Writes metrics for Prometheus, in its text format"),
            Arg::new("totals")
                .long("totals")
                .action(ArgAction::SetTrue)
                .help("Only the totals, without a line for each portal"),
        ])
        .args(options(of_provider))
}

fn refused() -> Command {
    Command::new("refused")
        .about("Lists the receipts that were refused, with the reason")
        .long_about(
            "Lists the receipts that were refused, with the reason, one on a line. Columns are separated by \
             tabs.",
        )
        .args([
            json("Writes an object for each"),
            Arg::new("after")
                .long("after")
                .value_name("CURSOR")
                .default_value("")
                .hide_default_value(true)
                .help("Only those after the one with this cursor, which --json shows"),
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("At most so many; without it all"),
        ])
        .args(options(of_provider))
}

fn resume() -> Command {
    Command::new("resume")
        .about("Lets a drain send to a portal again that is held, or that waits after a failure")
        .arg(required(
            "member_id",
            "MEMBER_ID",
            "The portal's permanent id",
        ))
        .args(options(of_provider))
}

fn prune() -> Command {
    Command::new("prune")
        .about("Removes refused receipts that are older than a time")
        .arg(
            Arg::new("keep")
                .long("keep")
                .value_name("DURATION")
                .required(true)
                .value_parser(time::read_duration)
                .help("What is younger is kept: 90s, 15m, 12h, 30d or 4w"),
        )
        .args(options(of_provider))
}

fn move_store() -> Command {
    Command::new("move")
        .about("Moves a store from SQLite to PostgreSQL")
        .long_about(
            "Moves everything in the store of the options, which is a file, to an empty one in PostgreSQL. Programs \
             may go on reporting to the old store meanwhile; at the end they get errors that are retryable, until \
             they are started with the new one. A move that was interrupted is started again.",
        )
        .args([
            Arg::new("to")
                .long("to")
                .value_name("URL")
                .help("The new store; an address with a password is not given by flag"),
            Arg::new("to_file")
                .long("to-file")
                .value_name("FILE")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("A file with the address of the new store"),
        ])
        .group(ArgGroup::new("target").args(["to", "to_file"]).required(true))
        .args(options(of_provider))
}

fn check() -> Command {
    Command::new("check")
        .about("Checks options, store, network, clock and tokens, and says what to do")
        .long_about(
            "Checks options, store, network, clock and tokens, and says what to do. With the option store the \
             portals in it are counted, and the one of --member-id is asked for its senders. Without it the \
             portal of the options is. No token is renewed unless it has expired, and nothing else is changed, \
             but a store that does not exist is made.",
        )
        .args([
            member_id(),
            Arg::new("sender")
                .long("sender")
                .value_name("CODE")
                .help("Checks that this sender is registered at the portal"),
            json("Writes an object for each point"),
        ])
        .args(options(|_| true))
}

fn required(id: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name(value).required(true).help(help)
}

fn code() -> Arg {
    required("code", "CODE", "The provider code of the sender")
}

fn member_id() -> Arg {
    Arg::new("member_id")
        .long("member-id")
        .value_name("MEMBER_ID")
        .help("A portal in the store, by its permanent id")
}

fn json(help: &'static str) -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help(help)
}

fn by_language(id: &'static str, what: &'static str) -> Arg {
    Arg::new(id)
        .long(id)
        .value_name("LANGUAGE=TEXT")
        .action(ArgAction::Append)
        .value_parser(language_and_text)
        .help(format!(
            "The {what} for users of one language, such as en=Text; may be repeated"
        ))
}

fn language_and_text(given: &str) -> Result<(String, String), String> {
    let (language, text) = given
        .split_once('=')
        .ok_or("it takes a language and a text, such as en=Text")?;
    Ok((language.to_owned(), text.to_owned()))
}

fn of_provider(row: &OptionRow) -> bool {
    row.used_by != UsedBy::Client
}

/// The library's options as flags, each with its own text. Those that are secrets are known, so that
/// whoever gives one is told how else.
fn options(takes: impl Fn(&OptionRow) -> bool) -> impl Iterator<Item = Arg> {
    OPTIONS.iter().filter(move |row| takes(row)).map(flag)
}

fn flag(row: &'static OptionRow) -> Arg {
    let long = row.name.replace('_', "-");
    let mut help = line(row.documentation);
    if SECRETS.contains(&row.name) {
        return Arg::new(row.name)
            .long(long)
            .value_name("VALUE")
            .num_args(0..=1)
            .hide(true)
            .value_parser(ValueParser::os_string())
            .help(help);
    }
    if PASSWORDS.contains(&row.name) {
        help.push_str(" One with a password is not given by flag.");
    }
    if let Some(default) = row.default_value() {
        help = format!("{help} Default: {default}");
    }
    let arg = Arg::new(row.name)
        .long(long)
        .help(help.trim_end_matches('.').to_owned())
        .help_heading(HEADING)
        .hide_short_help(true);
    let value = match row.kind {
        OptionKind::Flag => {
            return arg
                .value_name("true|false")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true");
        }
        OptionKind::Text => "TEXT",
        OptionKind::Number => "N",
        OptionKind::Milliseconds => "MILLISECONDS",
        OptionKind::Path => "PATH",
        OptionKind::List => "LIST",
    };
    arg.value_name(value)
}

/// One line of plain text from the Markdown of a table.
fn line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('`', "")
}

fn exit_codes() -> String {
    let mut text = String::from(
        "Options are taken from flags, then from the environment (B24_TIMEOUT_MS for --timeout-ms), then from \
         the file of --config. Secrets are never given by flag: set B24_CLIENT_SECRET, or B24_CLIENT_SECRET_FILE to \
         the path of a file with it, or write them into the file.\n\nExit codes:",
    );
    for (code, meaning) in EXIT_CODES {
        // A String can always be written to.
        let _ = write!(text, "\n  {code:<4} {}", line(meaning));
    }
    text
}

/// An argument that is required, or has a default.
pub(crate) fn argument<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::command().debug_assert();
    }
}
