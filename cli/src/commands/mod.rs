//! The commands: each has a module.

mod batch;
mod check;
mod drain;
mod inspect;
mod install;
mod prometheus;
mod refused;
mod sender;
mod totals;

use crate::command_line::argument;
use crate::configuration::{Options, other_store, read_secret};
use crate::exit::{self, Failure};
use crate::input::aside;
use crate::logger;
use crate::opened::Opening;
use crate::output::Output;
use crate::stop::Stop;
use b24_messageservice::Provider;
use b24_messageservice::tables::UsedBy;
use clap::ArgMatches;
use std::path::PathBuf;
use std::time::Duration;

/// Runs what the command line says, and returns the exit code.
pub(crate) fn run(matches: &ArgMatches, stop: &Stop) -> Result<u8, Failure> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(exit::USAGE);
    };
    let (name, matches) = match (name, matches.subcommand()) {
        ("sender", Some((name, matches))) => (format!("sender {name}"), matches),
        _ => (name.to_owned(), matches),
    };
    logger::show(matches.get_count("verbose"));
    let given = matches.clone();
    let options = aside(stop, move || Options::read(&given))?;
    let opening = Opening {
        options: &options,
        stop,
    };
    match name.as_str() {
        "update" => update(&opening, matches),
        "batch" => batch::run(&opening, matches),
        "sender add" => sender::add(&opening, matches),
        "sender update" => sender::update(&opening, matches),
        "sender delete" => sender::delete(&opening, matches),
        "sender list" => sender::list(&opening, matches),
        "install" => install::run(&opening, matches),
        "drain" => drain::run(&opening, matches),
        "inspect" => inspect::run(&opening, matches),
        "refused" => refused::run(&opening, matches),
        "resume" => resume(&opening, matches),
        "prune" => prune(&opening, matches),
        "move" => move_store(&opening, matches),
        "check" => check::run(&opening, matches),
        _ => Ok(exit::USAGE),
    }
}

fn update(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let client = opening.client(matches)?;
    client.message_status_update(
        argument(matches, "code"),
        argument(matches, "message_id"),
        argument(matches, "status"),
    )?;
    Ok(exit::OK)
}

fn resume(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    opening.provider()?.resume(argument(matches, "member_id"))?;
    Ok(exit::OK)
}

fn prune(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let keep = matches.get_one::<Duration>("keep").copied();
    opening.provider()?.prune(keep.unwrap_or(Duration::MAX))?;
    Ok(exit::OK)
}

fn move_store(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let to = match matches.get_one::<PathBuf>("to_file") {
        Some(file) => {
            let file = file.clone();
            aside(opening.stop, move || read_secret(&file, "--to-file"))?
        }
        None => other_store(argument(matches, "to"), "to")?,
    };
    let config = || opening.options.config(UsedBy::Provider, opening.stop);
    let (from, mut new) = (config()?, config()?);
    new.set("store", &to)?;
    let moved = Provider::move_store(&from, &new)?;
    let mut output = Output::new();
    output.line(&format!(
        "{} installations and {} receipts moved",
        moved.installations, moved.receipts
    ))?;
    output.flush()?;
    Ok(exit::OK)
}
