//! Writes `include/b24_messageservice.h` from the sources of the C ABI; with `--check` it only
//! says whether the committed header is what it would write.
//!
//! A crate of its own, so that `Cargo.lock` pins the generator.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Asked for now, not when this was built: checkouts may share a target directory.
    let crate_directory = env::var_os("CARGO_MANIFEST_DIR").ok_or("start me with `cargo run`")?;
    let abi = Path::new(&crate_directory).join("..");
    let header = abi.join("../../include/b24_messageservice.h");
    let config = cbindgen::Config::from_file(abi.join("cbindgen.toml"))?;
    let mut text = Vec::new();
    cbindgen::generate_with_config(&abi, config)?.write(&mut text);

    if !env::args().any(|argument| argument == "--check") {
        fs::write(header, text)?;
    } else if committed(&header)? != text {
        eprintln!("include/b24_messageservice.h is out of date: run `make header` and commit it");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn committed(header: &Path) -> io::Result<Vec<u8>> {
    match fs::read(header) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}
