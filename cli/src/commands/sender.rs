//! `sender`: what the application has registered at a portal.

use crate::command_line::argument;
use crate::exit::{self, Failure};
use crate::opened::Opening;
use crate::output::{Output, plain};
use b24_messageservice::Sender;
use clap::ArgMatches;
use serde_json::json;

pub(super) fn add(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    opening.client(matches)?.sender_add(&sender(matches))?;
    Ok(exit::OK)
}

pub(super) fn update(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    opening.client(matches)?.sender_update(&sender(matches))?;
    Ok(exit::OK)
}

pub(super) fn delete(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    opening
        .client(matches)?
        .sender_delete(argument(matches, "code"))?;
    Ok(exit::OK)
}

pub(super) fn list(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let codes = opening.client(matches)?.sender_list()?;
    let mut output = Output::new();
    if matches.get_flag("json") {
        output.json(&json!(codes))?;
    } else {
        for code in codes {
            output.line(&plain(&code))?;
        }
    }
    output.flush()?;
    Ok(exit::OK)
}

fn sender(matches: &ArgMatches) -> Sender {
    let mut sender = Sender::new(argument(matches, "code"));
    let text = |name: &str| matches.get_one::<String>(name);
    let by_language = |name: &str| {
        matches
            .get_many::<(String, String)>(name)
            .into_iter()
            .flatten()
    };
    if let Some(url) = text("handler") {
        sender.handler(url);
    }
    if let Some(name) = text("name") {
        sender.name(name);
    }
    for (language, name) in by_language("name-in") {
        sender.name_in(language, name);
    }
    if let Some(description) = text("description") {
        sender.description(description);
    }
    for (language, description) in by_language("description-in") {
        sender.description_in(language, description);
    }
    sender
}
