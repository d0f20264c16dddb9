//! For PHP: a file for each exception, and the options that the constructors of a client and of a
//! provider take.

use crate::Files;
use crate::markdown::{line, wrap};
use b24_messageservice::tables::{KINDS, KindRow, OPTIONS, OptionKind, OptionRow, UsedBy};
use std::error::Error;

const CLIENT: &str = "bindings/php/src/Client.php";
const FAILURE: &str = "bindings/php/src/Failure.php";
const LOADER: &str = "bindings/php/src/Loader.php";
const PROVIDER: &str = "bindings/php/src/Provider.php";

pub(crate) fn write(files: &mut Files) -> Result<(), Box<dyn Error>> {
    for row in KINDS {
        let path = format!("bindings/php/src/Exception/{}.php", row.class);
        files.whole(&path, exception(row))?;
    }
    let classes: Vec<_> = KINDS
        .iter()
        .map(|row| {
            format!(
                "        {} => Exception\\{}::class,",
                row.kind as i32, row.class
            )
        })
        .collect();
    files.section(FAILURE, "exceptions", &classes)?;
    let version = format!("        '{}'", env!("CARGO_PKG_VERSION"));
    files.section(LOADER, "version", &[version])?;
    for (path, other) in [(CLIENT, UsedBy::Provider), (PROVIDER, UsedBy::Client)] {
        files.between(path, "@param array{", "} $options", &shape(other))?;
        files.section(path, "options by name", &parameters(other))?;
        files.section(path, "options that were named", &named(other))?;
    }
    Ok(())
}

/// The options that are not only for the `other` class.
fn options(other: UsedBy) -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS
        .iter()
        .filter(move |row| row.name != "portal" && row.used_by != other)
}

/// The parameters of a constructor that are options. A trace shows none of them: a secret may stand
/// in the place of any.
fn parameters(other: UsedBy) -> Vec<String> {
    options(other)
        .map(|row| {
            let list = type_of(row.kind).replace("list<string>", "array");
            format!(
                "        #[\\SensitiveParameter] {list} ${} = null,",
                row.name
            )
        })
        .collect()
}

/// The same, as an array of a constructor's body.
fn named(other: UsedBy) -> Vec<String> {
    options(other)
        .map(|row| format!("            '{0}' => ${0},", row.name))
        .collect()
}

/// The types of the options in an array.
fn shape(other: UsedBy) -> Vec<String> {
    options(other)
        .map(|row| format!("     *     {}?: {},", row.name, type_of(row.kind)))
        .collect()
}

/// The default of an option. In PHP a drain starts no threads unless it is told to.
pub(crate) fn default(row: &OptionRow) -> &'static str {
    match row.name {
        "workers" => "`0`",
        _ => row.default,
    }
}

/// The types in which a value is given naturally, and text, in which each can be given.
fn type_of(kind: OptionKind) -> &'static str {
    match kind {
        OptionKind::Text | OptionKind::Path => "string|\\Stringable|null",
        OptionKind::Number | OptionKind::Milliseconds => "int|string|null",
        OptionKind::List => "string|list<string>|null",
        OptionKind::Flag => "bool|string|null",
    }
}

fn exception(row: &KindRow) -> String {
    let KindRow {
        class,
        php_base,
        name,
        ..
    } = row;
    let text = line(&format!("{} {}", row.documentation, row.advice));
    let documentation = wrap(&text, " * ", 110).join("\n");
    format!(
        r"<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
{documentation}
 */
final class {class} extends \{php_base} implements MessageServiceException
{{
    use Details;

    private const KIND = '{name}';
}}
"
    )
}
