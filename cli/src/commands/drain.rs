//! `drain`: sends receipts for some time, or until a signal.

use crate::LOG;
use crate::exit::{self, Failure};
use crate::opened::Opening;
use crate::output::Output;
use crate::stop::Stop;
use crate::time;
use b24_messageservice::{Drained, Error, ErrorKind, Provider};
use clap::ArgMatches;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a round of `--forever` takes. A drain looks for new receipts all the time, so only the counts
/// depend on it.
const ROUND: Duration = Duration::from_secs(60);
/// The first pause after a store has failed; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(super) fn run(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let as_json = matches.get_flag("json");
    if matches.get_flag("forever") {
        return forever(opening, as_json);
    }
    let seconds = matches.get_one::<u32>("seconds").copied().unwrap_or(60);
    let provider = opening.provider()?;
    end_gently(opening.stop, &provider);
    let drained = match provider.drain(Duration::from_secs(seconds.into())) {
        // The signal came before the drain had begun.
        Err(_) if ended(opening.stop) => return Ok(exit::OK),
        drained => drained?,
    };
    let mut output = Output::new();
    if as_json {
        output.json(&object(&drained))?;
    } else {
        output.line(&sentence(&drained))?;
    }
    output.flush()?;
    Ok(if drained.refused > 0 {
        exit::SOME
    } else {
        exit::OK
    })
}

/// Whether a drain was asked to end, and was not cut short.
fn ended(stop: &Stop) -> bool {
    stop.is_requested() && !stop.is_cancelled()
}

/// At the first signal requests under way end, and at the second they are cancelled.
fn end_gently(stop: &Stop, provider: &Provider) {
    let provider = provider.clone();
    stop.gently(move |signals| {
        if signals > 1 {
            provider.cancel();
            return;
        }
        log::info!(target: LOG, "draining ends after the requests that are under way");
        let provider = provider.clone();
        // It waits for the drain, and the next signal must be seen meanwhile.
        let closing = std::thread::Builder::new()
            .name("b24-close".to_owned())
            .spawn(move || provider.close());
        if let Err(why) = closing {
            log::error!(target: LOG, "no thread can be started to end gently: {why}");
        }
    });
}

fn forever(opening: &Opening<'_>, as_json: bool) -> Result<u8, Failure> {
    let stop = opening.stop;
    // Until there is a provider, the first signal just ends the waiting.
    stop.gently(|_| {});
    let mut pauses = Pauses::default();
    let provider = loop {
        match opening.provider() {
            Ok(provider) => break provider,
            Err(error) if error.kind() != ErrorKind::Storage || !error.is_retryable() => {
                return Err(error.into());
            }
            Err(error) => {
                if pauses.wait(stop, &error) {
                    return Ok(exit::OK);
                }
            }
        }
    };
    end_gently(stop, &provider);
    let mut output = Output::new();
    notify("READY=1");
    while !stop.is_requested() {
        match provider.drain(ROUND) {
            Ok(drained) => {
                pauses = Pauses::default();
                log::info!(target: LOG, "{}", sentence(&drained));
                if as_json && drained.sent + drained.refused > 0 {
                    output.json(&object(&drained))?;
                    output.flush()?;
                }
            }
            Err(_) if ended(stop) => break,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error.into()),
            Err(error) => {
                pauses.wait(stop, &error);
            }
        }
    }
    notify("STOPPING=1");
    Ok(exit::OK)
}

/// The pauses after failures that follow one another.
#[derive(Default)]
struct Pauses(u32);

impl Pauses {
    /// Waits, and returns whether there was a signal.
    fn wait(&mut self, stop: &Stop, error: &Error) -> bool {
        let pause = PAUSE.saturating_mul(1 << self.0.min(10)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        log::error!(
            target: LOG,
            "draining is tried again in {}: {}: {error}",
            time::shown(pause),
            error.kind().name()
        );
        stop.wait(pause)
    }
}

fn object(drained: &Drained) -> Value {
    json!({
        "sent": drained.sent,
        "refused": drained.refused,
        "held": drained.held,
        "waiting": drained.waiting,
        "next_due_seconds": drained.next_due.map(|due| due.as_secs_f64()),
    })
}

fn sentence(drained: &Drained) -> String {
    let due = drained
        .next_due
        .map(|due| format!(", next due in {}", time::shown(due)))
        .unwrap_or_default();
    format!(
        "{} sent, {} refused, {} held, {} waiting{due}",
        drained.sent, drained.refused, drained.held, drained.waiting
    )
}

/// Tells a service manager, as `sd_notify(3)` does.
#[cfg(unix)]
fn notify(state: &str) {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)
        }
        _ => SocketAddr::from_pathname(&path),
    };
    let told = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(why) = told {
        log::warn!(target: LOG, "the service manager cannot be told {state}: {why}");
    }
}

#[cfg(not(unix))]
fn notify(_: &str) {}
