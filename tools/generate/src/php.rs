//! For PHP: a file for each exception, and the options that the constructor of a client takes.

use crate::Files;
use crate::markdown::{line, wrap};
use b24_messageservice::tables::{KINDS, KindRow, OPTIONS, OptionKind};
use std::error::Error;

const CLIENT: &str = "bindings/php/src/Client.php";

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
    files.section(CLIENT, "exceptions", &classes)?;
    let shape: Vec<_> = OPTIONS
        .iter()
        .filter(|row| row.name != "portal")
        .map(|row| format!("     *     {}?: {},", row.name, type_of(row.kind)))
        .collect();
    files.between(CLIENT, "@param array{", "} $options", &shape)
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
