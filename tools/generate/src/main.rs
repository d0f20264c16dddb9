//! Writes everything that follows from the tables of options and errors in `src/`, and the C header.
//!
//! Some files are generated as a whole. In others it is a section, between a line with
//! `make generate writes: NAME` and a line with `end: NAME`. With `--check` nothing is written, and
//! it fails if a file is not what it would write.
//!
//! A crate of its own, so that `Cargo.lock` pins cbindgen.

mod c;
mod manual;
mod markdown;
mod pages;
mod php;
mod python;
mod shell;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Asked for now, not when this was built: checkouts may share a target directory.
    let directory = env::var_os("CARGO_MANIFEST_DIR").ok_or("start me with `cargo run`")?;
    let check = env::args().any(|argument| argument == "--check");
    let mut files = Files::new(Path::new(&directory).join("../.."));
    c::sources(&mut files)?;
    python::write(&mut files)?;
    php::write(&mut files)?;
    pages::write(&mut files)?;
    shell::write(&mut files)?;
    if !check {
        files.save()?;
    }
    // It is made from the sources as they are on the disk now.
    c::header(&mut files)?;
    manual::write(&mut files)?;
    if !check {
        files.save()?;
    }
    for path in files.changed() {
        eprintln!("{path} is out of date: run `make generate` and commit it");
    }
    Ok(if files.changed().next().is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Files of the project, as they are to be.
struct Files {
    root: PathBuf,
    texts: BTreeMap<String, FileText>,
}

struct FileText {
    on_disk: String,
    generated: String,
}

impl Files {
    fn new(root: PathBuf) -> Self {
        Self {
            root,
            texts: BTreeMap::new(),
        }
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn text(&mut self, path: &str) -> io::Result<&mut String> {
        if !self.texts.contains_key(path) {
            let on_disk = match fs::read_to_string(self.root.join(path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                text => text?,
            };
            let generated = on_disk.clone();
            self.texts
                .insert(path.to_owned(), FileText { on_disk, generated });
        }
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        self.texts
            .get_mut(path)
            .map(|text| &mut text.generated)
            .ok_or_else(missing)
    }

    /// Generates a file as a whole.
    fn whole(&mut self, path: &str, text: String) -> io::Result<()> {
        *self.text(path)? = text;
        Ok(())
    }

    /// Generates the lines of a section.
    fn section(&mut self, path: &str, name: &str, lines: &[String]) -> Result<(), Box<dyn Error>> {
        let first = format!("make generate writes: {name}");
        self.between(path, &first, &format!("end: {name}"), lines)
    }

    /// Generates the lines between one that contains `first` and one that contains `last`: for places
    /// where a mark would be in the way.
    fn between(
        &mut self,
        path: &str,
        first: &str,
        last: &str,
        lines: &[String],
    ) -> Result<(), Box<dyn Error>> {
        let text = self.text(path)?;
        let before = text
            .find(first)
            .and_then(|at| text.get(at..)?.find('\n').map(|end| at + end + 1))
            .ok_or_else(|| format!("{path} has no line with `{first}`"))?;
        let (head, rest) = text.split_at(before);
        let after = rest
            .find(last)
            .map(|at| {
                rest.get(..at)
                    .and_then(|r| r.rfind('\n'))
                    .map_or(0, |n| n + 1)
            })
            .ok_or_else(|| format!("{path} has no line with `{last}` after `{first}`"))?;
        let tail = rest.get(after..).unwrap_or_default();
        let section = markdown::joined(lines);
        *text = format!("{head}{section}{tail}");
        Ok(())
    }

    fn save(&mut self) -> io::Result<()> {
        for (path, text) in &mut self.texts {
            if text.on_disk != text.generated {
                fs::write(self.root.join(path), &text.generated)?;
                text.on_disk.clone_from(&text.generated);
            }
        }
        Ok(())
    }

    fn changed(&self) -> impl Iterator<Item = &str> {
        let differs = |text: &FileText| text.on_disk != text.generated;
        self.texts
            .iter()
            .filter(move |(_, text)| differs(text))
            .map(|(path, _)| path.as_str())
    }
}
