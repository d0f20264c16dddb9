//! The log, to standard error: what the library and the program say of their work.

use crate::LOG;
use crate::output::plain;
use crate::time;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// The logger of the program. Programs that have one already, as the Python module has, pass records on to
/// it while it is used.
pub static LOGGER: Logger = Logger {
    is_used: AtomicBool::new(false),
};

/// Writes records to standard error.
#[derive(Debug)]
pub struct Logger {
    is_used: AtomicBool,
}

impl Logger {
    /// Whether the program runs.
    pub fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }
}

/// Makes the program's logger that of the process.
pub fn log_to_stderr() {
    // It fails if the process has one already, which then passes on what it gets.
    let _ = log::set_logger(&LOGGER);
}

/// Shows warnings; with `verbosity` 1 what is done, and with 2 each request.
pub(crate) fn show(verbosity: u8) {
    LOGGER.is_used.store(true, Ordering::Relaxed);
    log::set_max_level(match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
}

/// Shows nothing any more: the program has ended.
pub(crate) fn end() {
    LOGGER.is_used.store(false, Ordering::Relaxed);
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The crates for HTTP and TLS log too, and do not hide secrets.
        metadata.target() == LOG
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = plain(&record.args().to_string());
        let line = if std::env::var_os("JOURNAL_STREAM").is_some() {
            // systemd's journal has the time, and reads the level from this.
            format!("<{}>{text}\n", severity(record.level()))
        } else {
            let now = time::rfc3339(time::unix_milliseconds(SystemTime::now()));
            format!("{now} {} {text}\n", record.level())
        };
        // In one piece, so that lines of several threads do not mix.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
