//! The library's options: from flags, else from the environment, else from a file.

use crate::exit::Failure;
use crate::stop::Stop;
use b24_messageservice::tables::{OPTIONS, OptionRow, UsedBy, nearest};
use b24_messageservice::{Config, Error, ErrorKind};
use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The options that are secrets: they are never given by flag, which every user of the machine can see.
pub const SECRETS: &[&str] = &["access_token", "refresh_token", "client_secret"];

/// The options that may contain a password. If one does, it is not given by flag either.
pub const PASSWORDS: &[&str] = &["proxy", "store"];

/// Added to the name of an option for the path of a file with its value.
const IN_FILE: &str = "_file";
/// No file of options or with a secret is as large.
const MAX_FILE: u64 = 1024 * 1024;

/// The options that were given, and where.
#[derive(Default)]
pub(crate) struct Options(BTreeMap<&'static str, Given>);

struct Given {
    value: String,
    place: Place,
}

/// Gives a variable of the environment.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<OsString>;

/// An option that the environment gives.
pub struct FromEnvironment {
    /// Its row of the table.
    pub row: &'static OptionRow,
    /// Its value, which may be a secret.
    pub value: String,
    /// The variable or the line of a file that it is from, for messages.
    pub place: String,
}

/// The options of a client or a provider that the environment gives, by the variables and the file that
/// this program reads. What only the other takes is left out. The binding for Python uses it.
///
/// # Errors
/// `InvalidConfig` if a file cannot be read, or an option is given twice. It shows no value.
pub fn from_environment(target: UsedBy, lookup: Lookup<'_>) -> Result<Vec<FromEnvironment>, Error> {
    let mut options = Options::default();
    options
        .add_environment(lookup, None)
        .map_err(|failure| match failure {
            Failure::Library(error) => error,
            other => Error::new(ErrorKind::InvalidConfig, other.to_string()),
        })?;
    Ok(OPTIONS
        .iter()
        .filter(|row| row.used_by == target || row.used_by == UsedBy::Both)
        .filter_map(|row| {
            let Given { value, place } = options.0.remove(row.name)?;
            Some(FromEnvironment {
                row,
                value,
                place: place.to_string(),
            })
        })
        .collect())
}

/// Where an option was given, for messages.
enum Place {
    Flag(&'static str),
    Environment(String),
    File(PathBuf, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{}", dashed(name)),
            Self::Environment(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
        }
    }
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

fn invalid(text: impl Into<String>) -> Failure {
    Failure::Library(Error::new(ErrorKind::InvalidConfig, text))
}

/// Whether a file may have the option's value.
fn may_be_in_file(name: &str) -> bool {
    SECRETS.contains(&name) || PASSWORDS.contains(&name)
}

impl Options {
    /// Reads all of them.
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let mut options = Self::default();
        for row in OPTIONS {
            if let Some(value) = flag(matches, row.name)? {
                options.add(row, value, Place::Flag(row.name))?;
            }
        }
        let file = matches.get_one::<String>("config").cloned();
        options.add_environment(&|name| env::var_os(name), file)?;
        Ok(options)
    }

    /// What the environment says, and the file of options: this one, or the one that it names.
    fn add_environment(&mut self, lookup: Lookup<'_>, file: Option<String>) -> Result<(), Failure> {
        for row in OPTIONS {
            if let Some((value, name)) = variable(lookup, row.name)? {
                self.add(row, value, Place::Environment(name))?;
            }
        }
        let file = match file {
            Some(file) => Some(file),
            None => text_of(lookup, "B24_CONFIG")?,
        };
        match file {
            Some(file) => self.add_file(Path::new(&file)),
            None => Ok(()),
        }
    }

    /// Whether an option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of an option.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|given| given.value.as_str())
    }

    /// The configuration of a client or a provider. What only the other takes is left out, so that one
    /// file serves both.
    pub(crate) fn config(&self, target: UsedBy, stop: &Stop) -> Result<Config, Error> {
        let mut config = Config::new();
        for row in OPTIONS {
            if row.used_by != target && row.used_by != UsedBy::Both {
                continue;
            }
            if let Some(given) = self.0.get(row.name) {
                config.set(row.name, &given.value).map_err(|error| {
                    Error::new(error.kind(), format!("{error} (from {})", given.place))
                })?;
            }
        }
        let stop = stop.clone();
        config.on_interrupt(move || stop.is_cancelled());
        Ok(config)
    }

    /// What was given first counts.
    fn add(&mut self, row: &'static OptionRow, value: String, place: Place) -> Result<(), Failure> {
        if value.contains('\0') {
            return Err(invalid(format!(
                "{} contains a NUL byte (from {place})",
                row.name
            )));
        }
        self.0.entry(row.name).or_insert(Given { value, place });
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Failure> {
        let shown = path.display();
        let (text, others_read) = read_file(path, "config")?;
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                return Err(invalid(format!(
                    "config: {shown}, line {number} has no =; it takes NAME=VALUE, or # before a remark"
                )));
            };
            let (name, value) = (name.trim_end(), value.trim_start());
            if let Some(former) = lines.insert(name, number) {
                return Err(invalid(format!(
                    "config: {shown} gives {} in line {former} and in line {number}; give it once",
                    shown_name(name)
                )));
            }
            let row = OPTIONS.iter().find(|row| row.name == name);
            let base = name
                .strip_suffix(IN_FILE)
                .filter(|base| may_be_in_file(base));
            let base = OPTIONS.iter().find(|row| Some(row.name) == base);
            let (row, value, is_secret) = match (row, base) {
                (Some(row), _) => {
                    let is_secret = SECRETS.contains(&name) || has_password(value);
                    (row, value.to_owned(), is_secret)
                }
                (None, Some(row)) => (row, read_secret(Path::new(value), name)?, false),
                (None, None) => {
                    let names: Vec<_> = OPTIONS.iter().map(|row| row.name).collect();
                    let meant = nearest(name, &names)
                        .map(|meant| format!("did you mean {meant}? "))
                        .unwrap_or_default();
                    return Err(invalid(format!(
                        "config: {shown}, line {number}: {} is no option; {meant}--help lists them, with _ instead \
                         of - here",
                        shown_name(name)
                    )));
                }
            };
            if is_secret && others_read {
                return Err(invalid(format!(
                    "config: {shown} holds {name} and may be read by every user: take that right away with \
                     chmod o= {shown}"
                )));
            }
            found.push((row, value, number));
        }
        for (row, value, number) in found {
            self.add(row, value, Place::File(path.to_owned(), number))?;
        }
        Ok(())
    }
}

/// What stands before the first `=` of a line, for messages. If it is no name, the line was written in
/// another way, and it may be a part of a secret.
fn shown_name(name: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.len() <= 40 && name.chars().all(is_name) {
        format!("{name:?}")
    } else {
        "what stands before the =".to_owned()
    }
}

/// An option that was given by flag.
fn flag(matches: &ArgMatches, name: &'static str) -> Result<Option<String>, Failure> {
    if SECRETS.contains(&name) {
        let given = matches.try_contains_id(name).unwrap_or(false)
            && matches.value_source(name) == Some(ValueSource::CommandLine);
        return if given {
            Err(not_by_flag(name))
        } else {
            Ok(None)
        };
    }
    let value = matches.try_get_one::<String>(name).ok().flatten().cloned();
    match value {
        Some(value) if PASSWORDS.contains(&name) && has_password(&value) => Err(not_by_flag(name)),
        value => Ok(value),
    }
}

/// The store that a flag names for another purpose than the option.
pub(crate) fn other_store(url: &str, flag: &str) -> Result<String, Failure> {
    if has_password(url) {
        return Err(Failure::Usage(format!(
            "--{flag} was given with a password, which every user of this machine can see: change the password, \
             and give --{flag}-file and the path of a file with the address"
        )));
    }
    Ok(url.to_owned())
}

fn not_by_flag(name: &str) -> Failure {
    Failure::Usage(format!(
        "--{} was given with a secret, which every user of this machine can see: change the secret, and {}",
        dashed(name),
        instead_of_flag(name)
    ))
}

/// How a secret is given.
fn instead_of_flag(name: &str) -> String {
    let variable = variable_name(name);
    format!(
        "set {variable}, or {variable}_FILE to the path of a file with it, or write it into the file of --config"
    )
}

/// Instead of the flag of a secret, which would be refused, a tip says how a secret is given.
pub(crate) fn mend_tip(error: &mut clap::Error) {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::SuggestedArg) else {
        return;
    };
    let secret = SECRETS
        .iter()
        .find(|name| flag.strip_prefix("--") == Some(dashed(name).as_str()));
    if let Some(name) = secret {
        let tip = format!(
            "{name} is a secret and has no flag: {}",
            instead_of_flag(name)
        );
        error.remove(ContextKind::SuggestedArg);
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
}

/// The variable of an option.
pub fn variable_name(name: &str) -> String {
    format!("B24_{}", name.to_uppercase())
}

/// An option that was given in the environment, and the variable's name.
fn variable(lookup: Lookup<'_>, name: &str) -> Result<Option<(String, String)>, Failure> {
    let direct = variable_name(name);
    let value = text_of(lookup, &direct)?;
    if !may_be_in_file(name) {
        return Ok(value.map(|value| (value, direct)));
    }
    let in_file = format!("{direct}_FILE");
    match (value, text_of(lookup, &in_file)?) {
        (Some(_), Some(_)) => Err(invalid(format!(
            "{name} is given by {direct} and by {in_file}: unset one of the two"
        ))),
        (Some(value), None) => Ok(Some((value, direct))),
        (None, Some(path)) => Ok(Some((read_secret(Path::new(&path), &in_file)?, in_file))),
        (None, None) => Ok(None),
    }
}

/// A variable of the environment; an empty one counts as not set.
fn text_of(lookup: Lookup<'_>, name: &str) -> Result<Option<String>, Failure> {
    lookup(name)
        .filter(|value| !value.is_empty())
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| invalid(format!("{name} in the environment is not UTF-8")))
}

/// A secret from a file, less the line's end.
pub(crate) fn read_secret(path: &Path, named_by: &str) -> Result<String, Failure> {
    let (text, _) = read_file(path, named_by)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(invalid(format!(
            "{named_by}: {} is empty; it takes a file with the value alone",
            path.display()
        )));
    }
    Ok(secret.to_owned())
}

/// The text of a file, and whether every user may read it.
fn read_file(path: &Path, named_by: &str) -> Result<(String, bool), Failure> {
    let shown = path.display();
    let fault = |why: &dyn fmt::Display| {
        invalid(format!(
            "{named_by}: {shown} cannot be read: {why}; it takes the path of a text file"
        ))
    };
    let file = File::open(path).map_err(|error| fault(&error))?;
    let metadata = file.metadata().map_err(|error| fault(&error))?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| fault(&error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(fault(&"it is larger than 1 MiB"));
    }
    Ok((text, others_read(&metadata)))
}

#[cfg(unix)]
fn others_read(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn others_read(_: &std::fs::Metadata) -> bool {
    false
}

/// Whether an address contains a password: before the host, or as libpq's parameter.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else {
        return false;
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    // A password may contain any of those characters if its writer did not encode them.
    let before_host = authority.rsplit_once('@').map_or_else(
        || rest.contains('@') && authority.contains(':'),
        |(user, _)| user.contains(':'),
    );
    let parameters = rest
        .split_once('?')
        .map_or("", |(_, parameters)| parameters);
    before_host
        || parameters.split('&').any(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            // A name with escapes is none that anybody writes by mistake.
            name.to_ascii_lowercase().contains("password") || name.contains('%')
        })
}

#[cfg(test)]
mod tests {
    use super::has_password;

    #[test]
    fn addresses_with_a_password_are_recognized() {
        for address in [
            "postgres://user:secret@db/sms",
            "postgresql://user:a/b@db/sms",
            "postgres://db/sms?user=u&password=secret",
            "postgres://db?sslPassword=secret",
            "postgres://db?pass%77ord=secret",
            "http://user:@proxy:3128",
        ] {
            assert!(has_password(address), "{address}");
        }
        for address in [
            "sqlite:/var/lib/sms/b24.db",
            "postgres://user@db:5432/sms?sslmode=verify-full",
            "postgres:///sms?host=/run/postgresql",
            "http://proxy:3128/",
            "env",
        ] {
            assert!(!has_password(address), "{address}");
        }
    }
}
