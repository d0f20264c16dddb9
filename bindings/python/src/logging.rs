//! Passes the core's log records to Python's `logging`.

use crate::names::spelled;
use crate::raised;
use b24_messageservice_cli::LOGGER;
use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The target of the core's records, and the name of the Python logger.
const NAME: &str = "b24_messageservice";

struct Bridge;

/// Installs the bridge as the logger of this module's own copy of the `log` crate.
pub(crate) fn install() {
    // It fails only if the module is initialised again. Then the bridge is already installed.
    let _ = log::set_logger(&Bridge);
}

/// Copies the Python logger's level, so that a record below it costs one comparison.
pub(crate) fn refresh(py: Python<'_>) {
    let level = logger(py).and_then(|logger| {
        logger
            .call_method0(intern!(py, "getEffectiveLevel"))?
            .extract::<i64>()
    });
    log::set_max_level(match level {
        Err(_) | Ok(41..) => LevelFilter::Off,
        Ok(31..=40) => LevelFilter::Error,
        Ok(21..=30) => LevelFilter::Warn,
        Ok(11..=20) => LevelFilter::Info,
        Ok(6..=10) => LevelFilter::Debug,
        Ok(..=5) => LevelFilter::Trace,
    });
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The HTTP and TLS crates log too, and do not hide secrets.
        metadata.target() == NAME
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if LOGGER.is_used() {
            // The program runs, whose log is not Python's.
            LOGGER.log(record);
            return;
        }
        // None while the interpreter shuts down: the record is dropped.
        Python::try_attach(|py| {
            if let Err(exception) = emit(py, record) {
                raised::report(py, exception, None);
            }
        });
    }

    fn flush(&self) {}
}

fn emit(py: Python<'_>, record: &Record<'_>) -> PyResult<()> {
    let message = record.args().to_string();
    logger(py)?
        .call_method1(
            intern!(py, "log"),
            (level(record.level()), spelled(&message)),
        )
        .map(drop)
}

fn logger(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    LOGGER
        .get_or_try_init(py, || {
            py.import("logging")?
                .call_method1("getLogger", (NAME,))
                .map(Bound::unbind)
        })
        .map(|logger| logger.bind(py))
}

fn level(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    }
}
