//! Looks up host names, and only when a connection is opened.
//!
//! A name is looked up once for all calls that wait for it, and only a few threads hang if DNS does
//! not answer, since nothing can end the wait of the system's resolver.

use crate::process::cancellation::{CallContext, Interrupt};
use crate::process::pending::Pending;
use crate::process::registry::{Entry, Registry};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is known of names, and who is asking now.
#[derive(Debug, Default)]
pub(crate) struct Names(Arc<Mutex<DnsState>>);

#[derive(Debug, Default)]
struct DnsState {
    known: Registry<String, Name>,
    /// The lookups without an answer yet: one for each name, for all calls that wait for it.
    open: HashMap<String, Arc<Question>>,
    /// Those of them that no thread has begun yet.
    queue: VecDeque<Arc<Question>>,
    threads: usize,
}

#[derive(Debug, Default)]
struct Name {
    /// What DNS answered, and until when it counts: a burst of connections asks once.
    answer: Option<(Vec<IpAddr>, Instant)>,
    /// Where a connection was opened last.
    good: Option<SocketAddr>,
}

impl Entry for Name {
    const MAX_ENTRIES: usize = 4096;
}

#[derive(Debug)]
struct Question {
    host: String,
    /// With the text of an error, since each waiting call gets an error of its own.
    answer: Pending<Result<Vec<IpAddr>, String>>,
}

impl Names {
    const TIME_TO_LIVE: Duration = Duration::from_secs(60);
    /// How many threads look names up at a time. The system's resolver may take half a minute for a
    /// name whose servers do not answer. Further names wait for a thread.
    const MAX_THREADS: usize = 8;

    pub(crate) fn look_up(
        &self,
        host: &str,
        port: u16,
        call: &CallContext,
    ) -> io::Result<Vec<SocketAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match bare.parse() {
            Ok(ip) => vec![ip],
            Err(_) => self.addresses(host, call)?,
        };
        let at_port = |ip| SocketAddr::new(ip, port);
        Ok(addresses.into_iter().map(at_port).collect())
    }

    fn addresses(&self, host: &str, call: &CallContext) -> io::Result<Vec<IpAddr>> {
        let question = {
            let mut state = lock(&self.0);
            if let Some(name) = state.known.get(host)
                && let Some((addresses, until)) = &name.answer
                && *until > Instant::now()
            {
                return Ok(addresses.clone());
            }
            match state.open.get(host) {
                Some(question) => Arc::clone(question),
                None => self.ask(&mut state, host)?,
            }
        };
        match question.answer.wait(call) {
            Ok(answer) => answer.map_err(io::Error::other),
            Err(Interrupt::NoDescriptor) => Err(io::Error::other("no file descriptor was left")),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "DNS did not answer in time",
            )),
        }
    }

    /// Lets a thread ask the system's resolver, for which a caller cannot set a time limit.
    fn ask(&self, state: &mut DnsState, host: &str) -> io::Result<Arc<Question>> {
        if state.threads < Self::MAX_THREADS {
            let names = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("b24-dns".to_owned());
            match thread.spawn(move || answer_all(&names)) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(error),
                // One of the other threads will do it.
                Err(_) => {}
            }
        }
        let question = Arc::new(Question {
            host: host.to_owned(),
            answer: Pending::default(),
        });
        state.open.insert(host.to_owned(), Arc::clone(&question));
        state.queue.push_back(Arc::clone(&question));
        Ok(question)
    }

    /// Asks for a name again, whose addresses did not answer.
    pub(crate) fn forget(&self, host: &str) {
        if let Some(name) = lock(&self.0).known.get(host) {
            name.answer = None;
        }
    }

    /// The address at which a connection to this name was opened last.
    pub(crate) fn good(&self, host: &str) -> Option<SocketAddr> {
        lock(&self.0).known.get(host)?.good
    }

    pub(crate) fn note_good(&self, host: &str, address: SocketAddr) {
        lock(&self.0).name(host).good = Some(address);
    }
}

impl DnsState {
    fn name(&mut self, host: &str) -> &mut Name {
        self.known
            .get_or_insert_with(host.to_owned(), Name::default)
    }
}

/// The work of a thread: looks up names until none is left.
fn answer_all(names: &Mutex<DnsState>) {
    loop {
        let question = {
            let mut state = lock(names);
            let Some(question) = state.queue.pop_front() else {
                state.threads -= 1;
                return;
            };
            // One reference here and one among the lookups: nobody waits for it any more.
            if Arc::strong_count(&question) <= 2 {
                state.open.remove(&question.host);
                continue;
            }
            question
        };
        let answer = resolve(&question.host);
        let mut state = lock(names);
        state.open.remove(&question.host);
        if let Ok(addresses) = &answer {
            let until = Instant::now() + Names::TIME_TO_LIVE;
            state.name(&question.host).answer = Some((addresses.clone(), until));
        }
        drop(state);
        question.answer.set(answer);
    }
}

fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    let found = (host, 0).to_socket_addrs().map_err(|e| e.to_string())?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        return Err("DNS has no address for it".to_owned());
    }
    Ok(addresses)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
