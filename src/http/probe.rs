//! The way to a server step by step, for programs that tell people where it ends.

use super::client::{self, HttpOptions, failure};
use super::exchange::{Exchange, Failure};
use super::{tcp, tls};
use crate::net::dns::Names;
use crate::options::{Config, invalid};
use crate::process::cancellation::{CallContext, CancelSource, Interrupt};
use crate::process::per_process::Process;
use crate::values::address::Origin;
use crate::values::error::Error;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

/// What was found on the way to a server.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The steps until the first that failed.
    pub steps: Vec<ProbeStep>,
    /// How many seconds the server's clock is ahead of this machine's, if it has told its time.
    pub clock_ahead: Option<i64>,
}

/// A step on the way to a server.
#[derive(Clone, Debug)]
pub struct ProbeStep {
    /// `dns`, `tcp`, `tls` and `http`; with a proxy only `http`.
    pub name: &'static str,
    /// What was found, or why it failed.
    pub outcome: Result<String, String>,
}

/// Goes the way to the server at an address under these options: looks its name up, connects, checks
/// its certificate, and asks it for the time. No token is sent.
///
/// # Errors
/// `InvalidConfig` if the address or an option cannot be used.
pub fn probe(config: &Config, address: &str) -> Result<Probe, Error> {
    let settings = &config.settings;
    let origin = Origin::parse(address)
        .map_err(|fault| invalid("portal", &format!("{address:?} {fault}")))?;
    let process = Process::current();
    let _active = process.enter();
    let call = CallContext::new(
        &process,
        Arc::new(CancelSource::new(config.on_interrupt.clone())),
        settings.timeout,
        settings.connect_timeout,
        "try again",
    );
    let options = HttpOptions::of(settings, origin.is_https());
    let http_client = client::clients(&process).get(&options)?;
    let mut steps = Vec::new();
    if !options.has_proxy_for(origin.host()) {
        let opener = tcp::TcpOpener::new(settings.resolve.clone(), Arc::<Names>::default());
        let tls = tls::Tls::new(settings.ca_file.as_deref())?;
        let whole = direct(&origin, &opener, &tls, &call, &mut steps);
        if whole.is_none() {
            return Ok(Probe {
                steps,
                clock_ahead: None,
            });
        }
    }
    let uri = origin.method_uri("")?;
    let before = SystemTime::now();
    let told = http_client.time_at(&call, &uri);
    let mut clock_ahead = None;
    let outcome = match told {
        Ok(time) => {
            clock_ahead = time.map(|time| ahead(time, before, SystemTime::now()));
            Ok("it answers".to_owned())
        }
        Err(fault) => Err(text(fault)),
    };
    steps.push(ProbeStep {
        name: "http",
        outcome,
    });
    Ok(Probe { steps, clock_ahead })
}

/// The steps without a proxy. None if one has failed.
fn direct(
    origin: &Origin,
    opener: &tcp::TcpOpener,
    tls: &tls::Tls,
    call: &CallContext,
    steps: &mut Vec<ProbeStep>,
) -> Option<()> {
    let (host, port) = (origin.host(), origin.port());
    let _scope = Exchange::begin(call, None);
    let opening = || Exchange::with(Exchange::opening);
    let mut step = |name, outcome: Result<String, ureq::Error>| {
        let outcome = outcome.map_err(|error| match call.check() {
            Err(interrupt) => text(Failure::Interrupted(interrupt)),
            Ok(()) => text(failure(&error)),
        });
        let went_well = outcome.is_ok().then_some(());
        steps.push(ProbeStep { name, outcome });
        went_well
    };
    let found = opening().and_then(|()| opener.addresses(host, port, &Exchange::call()?));
    let shown = found.map_err(ureq::Error::Io).map(|addresses| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    });
    step("dns", shown)?;
    let connected: io::Result<_> = opening().and_then(|()| opener.open(host, port));
    match connected {
        Err(error) => step("tcp", Err(ureq::Error::Io(error))),
        Ok(wire) => {
            step("tcp", Ok("connected".to_owned()))?;
            if !origin.is_https() {
                return Some(());
            }
            let shaken = tls.handshake(host, Box::new(wire));
            step(
                "tls",
                shaken.map(|_| "the certificate is trusted".to_owned()),
            )
        }
    }
}

/// How far a clock is ahead that told this time between two moments. It tells whole seconds.
fn ahead(told: SystemTime, before: SystemTime, after: SystemTime) -> i64 {
    let seconds = |from: SystemTime, to: SystemTime| {
        let passed = to.duration_since(from).unwrap_or_default();
        i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
    };
    if told > after {
        seconds(after, told)
    } else {
        -seconds(told, before)
    }
}

fn text(failure: Failure) -> String {
    match failure {
        Failure::Interrupted(Interrupt::Deadline) => "it took longer than timeout_ms".to_owned(),
        Failure::Interrupted(Interrupt::NoDescriptor) => "no file descriptor was left".to_owned(),
        Failure::Interrupted(_) => "it was cancelled".to_owned(),
        Failure::Certificate(why)
        | Failure::Unreadable(why)
        | Failure::Proxy(why)
        | Failure::Network(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::ahead;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_time_that_the_answer_takes_does_not_count() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(ahead(at(105), at(100), at(110)), 0);
        assert_eq!(ahead(at(99), at(100), at(110)), -1);
        assert_eq!(ahead(at(3710), at(100), at(110)), 3600);
    }
}
