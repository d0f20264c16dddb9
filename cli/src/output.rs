//! What the program writes: lines to standard output, faults to standard error.

use crate::command_line::COMMAND;
use crate::exit::Failure;
use b24_messageservice::Error;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Stdout, Write as _};

/// Standard output. If its reader has gone, what is written is dropped.
pub(crate) struct Output {
    to: BufWriter<Stdout>,
    has_reader: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            to: BufWriter::new(io::stdout()),
            has_reader: true,
        }
    }

    /// Whether anybody reads it.
    pub(crate) fn has_reader(&self) -> bool {
        self.has_reader
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let written = writeln!(self.to, "{text}");
        self.see(written)
    }

    /// Writes a value on a line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// Makes what was written visible.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.to.flush();
        self.see(flushed)
    }

    fn see(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            _ if !self.has_reader => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.has_reader = false;
                Ok(())
            }
            Err(error) => Err(Failure::File(format!(
                "standard output cannot be written: {error}"
            ))),
            Ok(()) => Ok(()),
        }
    }
}

/// Writes a line to standard error, with the program's name.
pub(crate) fn complain(text: &str) {
    say(&format!("{COMMAND}: {text}"));
}

/// Writes a line to standard error. If that cannot be written, nobody can be told.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// A text of somebody else in one line and without anything that a terminal acts on.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_format(character) {
            // A String can always be written to.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Changes the direction of what follows, or hides in it.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// An error as JSON.
pub(crate) fn error_json(error: &Error) -> Value {
    let retry_after = error
        .retry_after()
        .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    json!({
        "kind": error.kind().name(),
        "portal_code": error.portal_code(),
        "message": error.message(),
        "retryable": error.is_retryable(),
        "retry_after_ms": retry_after,
    })
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(
            plain("Grüße\u{1b}[2J\n\u{202e}x"),
            "Grüße\\u{1b}[2J\\u{a}\\u{202e}x"
        );
    }
}
