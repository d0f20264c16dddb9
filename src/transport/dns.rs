//! Names to addresses, asked for only when a connection is opened.

use super::Exchange;
use crate::wait::{Call, Event};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Answers every question with nothing: ureq asks before it looks into the pool, and in a thread
/// of its own each time. Our connector looks the name up when there is a connection to open.
#[derive(Debug)]
pub(super) struct LaterResolver;

impl Resolver for LaterResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// The answers of DNS, kept for a minute so that a burst of connections asks once.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, Known>>);

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Names {
    const TIME_TO_LIVE: Duration = Duration::from_secs(60);
    const MAX_KNOWN: usize = 4096;

    pub(super) fn look_up(
        &self,
        host: &str,
        port: u16,
        until: Instant,
    ) -> io::Result<Vec<SocketAddr>> {
        let at_port = |addresses: &[IpAddr]| {
            addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, port))
                .collect()
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return Ok(at_port(&[ip]));
        }
        if let Some(known) = self.lock().get(host)
            && known.until > Instant::now()
        {
            return Ok(at_port(&known.addresses));
        }
        let addresses = ask(&Exchange::call()?, host, until)?;
        let mut names = self.lock();
        if names.len() >= Self::MAX_KNOWN {
            names.clear();
        }
        let answer = at_port(&addresses);
        names.insert(
            host.to_owned(),
            Known {
                addresses,
                until: Instant::now() + Self::TIME_TO_LIVE,
            },
        );
        Ok(answer)
    }

    /// Forgets a name whose addresses did not answer.
    pub(super) fn forget(&self, host: &str) {
        self.lock().remove(host);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the system's resolver, in a thread: it has no time limit that a caller could set. A
/// thread that a caller no longer waits for ends when the resolver gives up.
fn ask(call: &Call, host: &str, until: Instant) -> io::Result<Vec<IpAddr>> {
    type Answer = io::Result<Vec<IpAddr>>;
    let event = Event::new()?;
    let slot: Arc<Mutex<Option<Answer>>> = Arc::default();
    std::thread::Builder::new()
        .name("b24-dns".to_owned())
        .spawn({
            let (event, slot, host) = (Arc::clone(&event), Arc::clone(&slot), host.to_owned());
            move || {
                let answer = (host.as_str(), 0)
                    .to_socket_addrs()
                    .map(|found| found.map(|address| address.ip()).collect());
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                event.notify();
            }
        })?;
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "DNS did not answer in time");
    match call.wait(&event, until) {
        Ok(true) => slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or_else(timed_out)?
            .and_then(|addresses| {
                if addresses.is_empty() {
                    Err(io::Error::other("DNS knows no address for it"))
                } else {
                    Ok(addresses)
                }
            }),
        Ok(false) | Err(_) => Err(timed_out()),
    }
}
