//! The program `b24-messageservice` as a library: the program itself and the Python module run it.
#![forbid(unsafe_code)]

mod command_line;
mod commands;
mod configuration;
mod exit;
mod input;
mod logger;
mod opened;
mod output;
mod stop;
mod time;

pub use command_line::{COMMAND, command};
pub use configuration::{
    FromEnvironment, Lookup, PASSWORDS, SECRETS, from_environment, variable_name,
};
pub use exit::EXIT_CODES;
pub use logger::{LOGGER, log_to_stderr};

use exit::Failure;
use std::ffi::OsString;
use std::iter;

/// What the log says it comes from: what the library says, whose records are shown as well.
const LOG: &str = "b24_messageservice";

/// Runs the program with these arguments, without the program's name, and returns its exit code.
///
/// Meanwhile the calling thread blocks SIGINT and SIGTERM, which are waited for in a thread. So it is
/// for the main thread of a program that has no others yet.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let words = iter::once(OsString::from(COMMAND)).chain(arguments);
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(mut error) => {
            configuration::mend_tip(&mut error);
            // Nothing can be done if it cannot be shown.
            let _ = error.print();
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
        }
    };
    let caught = stop::Signals::catch();
    let outcome = commands::run(&matches, caught.stop());
    let code = match outcome {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&failure.to_string());
            failure.exit_code()
        }
    };
    logger::end();
    caught.stop().exit_code(code)
}

impl From<b24_messageservice::Error> for Failure {
    fn from(error: b24_messageservice::Error) -> Self {
        Self::Library(error)
    }
}
