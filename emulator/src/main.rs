//! `b24-portal`: the portal as a program.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use b24_portal::{Portal, Settings};

#[cfg_attr(unix, path = "end_unix.rs")]
#[cfg_attr(windows, path = "end_windows.rs")]
mod end;

const HELP: &str = "\
A Bitrix24 portal for tests.

Usage: b24-portal [OPTIONS]

Listens on free ports of 127.0.0.1, prints one line of JSON with its addresses, and runs until its
standard input ends or it gets SIGTERM or SIGINT.

Options:
      --dir DIR         where the root certificate ca.pem goes [default: a temporary directory]
      --settings JSON   settings to begin with, as POST /reset takes them
      --ignore-stdin    keep running when standard input ends
  -h, --help            print this
  -V, --version         print the version

The line:
  {\"https_port\": N, \"http_port\": N, \"oauth_port\": N, \"control\": \"http://127.0.0.1:N\",
   \"ca_file\": \"/path/ca.pem\", \"pid\": N}

The control API (JSON):
  POST /reset    start again with these settings: {\"expired\": true, \"rate\": {\"x\": 50, \"y\": 2}}
  POST /set      change these settings
  POST /fault    queue faults: [{\"at\": \"update\", \"kind\": \"drop_after\", \"count\": 2}]
  POST /release  continue with what hangs or waits
  POST /wait     {\"requests\": N, \"timeout_ms\": M}: answered when that many requests have come
  POST /install  install the application, and give or send the portal's request: {\"as\": \"frame\"}
  POST /message  give or send the request that hands a message to a provider
  POST /uninstall  the same of an uninstallation
  POST /spend    let a pair of tokens not be renewed any more: {\"pair\": 0}
  GET  /seen     counts, violations of the protocol, and the last requests (?log=N: the last N)
  GET  /messages what was stored (?host=HOST: of another portal; ?all=1: of all)
  GET  /senders  the senders that are installed (?host=HOST)
  GET  /tokens   the present tokens (?host=HOST)

All settings and faults are in the README.
";

#[derive(Default)]
struct Options {
    directory: Option<PathBuf>,
    settings: Settings,
    ignore_stdin: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("b24-portal: {text}; see b24-portal --help");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("b24-portal: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--dir" => options.directory = Some(value()?.into()),
            "--settings" => {
                let json = serde_json::from_str(&value()?)
                    .map_err(|error| format!("--settings: {error}"))?;
                options.settings =
                    Settings::from_json(&json).map_err(|text| format!("--settings: {text}"))?;
            }
            "--ignore-stdin" => options.ignore_stdin = true,
            "-h" | "--help" => {
                print!("{HELP}");
                return Ok(None);
            }
            "-V" | "--version" => {
                println!("b24-portal {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            _ => return Err(format!("unknown option {argument:?}")),
        }
    }
    Ok(Some(options))
}

fn run(options: Options) -> io::Result<()> {
    let end = end::End::prepare()?;
    let portal = match options.directory {
        Some(directory) => Portal::start_in_directory(&directory, options.settings)?,
        None => Portal::start(options.settings)?,
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}", portal.to_json())?;
    out.flush()?;
    end.wait(options.ignore_stdin);
    Ok(())
}
