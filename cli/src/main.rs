//! The program `b24-messageservice`. Everything is in the library beside it, which the Python module
//! uses as well.
#![forbid(unsafe_code)]

use b24_messageservice_cli::{log_to_stderr, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    log_to_stderr();
    ExitCode::from(run(std::env::args_os().skip(1)))
}
