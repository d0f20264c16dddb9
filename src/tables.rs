//! The tables of options, error kinds and error codes, for the bindings and for `tools/generate`,
//! which writes documentation and declarations from them. Not a part of the public interface.

use crate::methods;
use crate::protocol::error_table::{self, CodeRow, RetryAction};
use crate::values::error::ErrorKind;

pub use crate::options::{CALLBACKS, CallbackRow, OPTIONS, OptionKind, OptionRow, UsedBy, nearest};
pub use crate::values::error::{KINDS, KindRow};

/// The error codes of some methods.
#[derive(Debug)]
pub struct CodeTable {
    /// The names of the methods; empty for the codes of all methods.
    pub methods: Vec<&'static str>,
    /// The codes.
    pub codes: Vec<PortalCode>,
}

/// An error code, and what follows from it.
#[derive(Debug)]
pub struct PortalCode {
    /// As the vendor writes it.
    pub code: &'static str,
    /// The kind of error that it becomes.
    pub kind: ErrorKind,
    /// Whether and when the library repeats the request by itself.
    pub repeated: &'static str,
    /// Whether the error is retryable.
    pub retryable: bool,
    /// What the caller can do.
    pub advice: &'static str,
}

/// The codes of the portal: those of any method, then those of each method.
pub fn portal_codes() -> Vec<CodeTable> {
    let mut tables = vec![table(Vec::new(), error_table::COMMON)];
    for method in methods::ALL {
        let own = table(vec![method.name()], method.codes);
        let same = tables
            .iter_mut()
            .find(|table| table.names().eq(own.names()));
        match same {
            _ if own.codes.is_empty() => {}
            Some(table) => table.methods.extend(own.methods),
            None => tables.push(own),
        }
    }
    tables
}

/// The codes of the authorization server, when it refuses to renew tokens.
pub fn renewal_codes() -> Vec<PortalCode> {
    table(Vec::new(), error_table::RENEWAL).codes
}

impl CodeTable {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.codes.iter().map(|code| code.code)
    }
}

fn table(methods: Vec<&'static str>, rows: &[CodeRow]) -> CodeTable {
    CodeTable {
        methods,
        codes: rows.iter().map(PortalCode::from).collect(),
    }
}

impl From<&CodeRow> for PortalCode {
    fn from(row: &CodeRow) -> Self {
        Self {
            code: row.code,
            kind: row.kind,
            repeated: match row.action {
                RetryAction::Never | RetryAction::AtAddress(_) => "no",
                RetryAction::AfterBackoff => "yes",
                RetryAction::WhenRateAllows => "when the rate limit allows it",
                RetryAction::WhenBudgetResets => "at the reset, if it is known and in time",
                RetryAction::AfterRenewal => "once, with a renewed token",
            },
            retryable: error_table::may_succeed_later(&row.action),
            advice: row.advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Config;

    #[test]
    fn the_defaults_are_those_that_the_table_tells() {
        for row in OPTIONS {
            let Some(default) = row.default_value() else {
                continue;
            };
            let mut config = Config::new();
            config.set(row.name, default).unwrap();
            assert!(config.settings == Config::new().settings, "{}", row.name);
        }
    }

    #[test]
    fn the_nearest_name_is_one_that_somebody_may_have_meant() {
        let names: Vec<_> = OPTIONS.iter().map(|row| row.name).collect();
        for (wrong, meant) in [
            ("tiemout", Some("timeout_ms")),
            ("timeout", Some("timeout_ms")),
            ("Conect-Timeout", Some("connect_timeout_ms")),
            ("refresh", Some("refresh_token")),
            ("state", Some("state_dir")),
            ("PORTAL", Some("portal")),
            ("stroe", Some("store")),
            ("", None),
            ("host", None),
            ("zzz", None),
            ("порта", None),
        ] {
            assert_eq!(nearest(wrong, &names), meant, "{wrong}");
        }
        assert_eq!(nearest(&"portal".repeat(20), &names), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn kinds_are_listed_by_number_and_tell_whether_they_are_retryable() {
        for (row, number) in KINDS.iter().zip(1..) {
            assert_eq!(row.kind as i32, number);
            assert_eq!(row.kind.name(), row.name);
        }
        let tables = portal_codes();
        for code in tables.iter().flat_map(|table| &table.codes) {
            let kind = KINDS.iter().find(|row| row.kind == code.kind).unwrap();
            assert!(!code.retryable || kind.retryable != "no", "{}", code.code);
        }
    }
}
