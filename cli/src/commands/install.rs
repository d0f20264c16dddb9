//! `install`: puts an installation into the store, or moves those of a directory there.

use crate::configuration::read_secret;
use crate::exit::{self, Failure};
use crate::input;
use crate::opened::Opening;
use crate::output::Output;
use clap::ArgMatches;
use std::path::{Path, PathBuf};

pub(super) fn run(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let path = |name: &str| matches.get_one::<PathBuf>(name).map(PathBuf::as_path);
    if let Some(directory) = path("import") {
        let moved = opening.provider()?.import_state_dir(directory)?;
        let mut output = Output::new();
        output.line(&format!("{moved} moved to the store"))?;
        output.flush()?;
        return Ok(exit::OK);
    }
    let application_token = match path("application_token_file") {
        Some(file) => {
            let file = file.to_owned();
            let read = move || read_secret(&file, "--application-token-file");
            input::aside(opening.stop, read)?
        }
        None => String::new(),
    };
    // Opened first, so that a wrong option is told before the JSON is awaited.
    let provider = opening.provider()?;
    let file = path("file").unwrap_or(Path::new("-"));
    let auth_json = input::read_whole(file, opening.stop)?;
    provider.install(&auth_json, &application_token)?;
    Ok(exit::OK)
}
