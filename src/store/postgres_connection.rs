//! A connection to PostgreSQL, on whose answers the calling thread waits itself: until the call's
//! deadline, `cancel` or a signal, as everywhere.
//!
//! `tokio-postgres` speaks the protocol. Its futures are polled here, over a socket that does not
//! block, and nothing of a runtime is used. So there is no thread that the host program did not ask
//! for.

use super::postgres_local::connect_local;
use super::postgres_socket::{Failure, Plain, Socket};
use super::postgres_tls::{TlsConnector, TlsSocket};
use crate::net::connect::{connect, is_quiet};
use crate::net::dns::Names;
use crate::process::cancellation::{CallContext, Event, Interrupt, poll};
use crate::process::per_process::{PerProcess, Process};
use crate::values::LOG;
use crate::values::postgres_url::{PostgresUrl, Server};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

/// The names of servers, apart from those of portals.
static NAMES: PerProcess<Names> = PerProcess::new();

/// A connection that is open. Dropping it closes the socket and says nothing, so that a forked child
/// can drop the one that it has inherited.
pub(super) struct PostgresConnection {
    client: Client,
    connection: tokio_postgres::Connection<Plain, TlsSocket>,
    waiter: Waiter,
}

/// Waits for a socket.
struct Waiter {
    socket: Arc<Socket>,
    event: Arc<Event>,
}

impl Waiter {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Arc::new(Socket::new(descriptor)),
            event: Event::new()?,
        })
    }

    /// Polls until there is a result.
    fn until_ready<T>(
        &self,
        call: &CallContext,
        mut attempt: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Interrupt> {
        let mut context = Context::from_waker(Waker::noop());
        let _registered = call.listen(&self.event);
        loop {
            // What has come counts, also after the deadline.
            if let Poll::Ready(result) = attempt(&mut context) {
                return Ok(result);
            }
            call.check_signals();
            call.check()?;
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, self.socket.is_full());
            let mut polled = [
                PollFd::from_borrowed_fd(self.socket.descriptor(), wanted),
                PollFd::from_borrowed_fd(self.event.descriptor(), PollFlags::IN),
            ];
            match poll(&mut polled, call.one_wait(call.remaining())) {
                Err(Errno::INTR) => {
                    call.interrupted();
                }
                // Nothing else can fail for two descriptors that are open.
                Err(_) => return Err(Interrupt::NoDescriptor),
                Ok(_) => {
                    if polled
                        .last()
                        .is_some_and(|event| !event.revents().is_empty())
                    {
                        self.event.clear();
                    }
                }
            }
        }
    }
}

impl PostgresConnection {
    /// Connects to the first of the servers that can be used.
    pub(super) fn open(
        url: &PostgresUrl,
        tls: &TlsConnector,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<Self, Failure> {
        let mut last = Failure::Unreachable("it has no address".to_owned());
        for server in url.servers() {
            let mut step = call.clone();
            let within = url.connect_timeout().unwrap_or(call.connect_timeout());
            step.deadline = call.deadline.min(Instant::now() + within);
            match Self::open_one(url, &server, tls, process, &step) {
                Err(Failure::Interrupted(Interrupt::Deadline)) if call.check().is_ok() => {
                    let what = format!("{server} did not answer within connect_timeout_ms");
                    last = Failure::Unreachable(what);
                }
                Err(failure @ Failure::Interrupted(_)) => return Err(failure),
                Err(failure) => last = failure,
                Ok(mut opened) => {
                    if !url.wants_writable() || opened.is_writable(&step)? {
                        return Ok(opened);
                    }
                    last = Failure::Unreachable(format!("{server} is read-only"));
                }
            }
            log::debug!(target: LOG, "{}: {last:?}", url.name);
        }
        Err(last)
    }

    fn open_one(
        url: &PostgresUrl,
        server: &Server,
        tls: &TlsConnector,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<Self, Failure> {
        let unreachable = |error: io::Error| match call.check() {
            Err(interrupt) => Failure::Interrupted(interrupt),
            Ok(()) => Failure::Unreachable(error.to_string()),
        };
        let mut config = url.config.clone();
        let descriptor = match server {
            Server::Socket(path) => {
                // As libpq does it: what stays on the machine needs no TLS.
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                connect_local(path, call)?
            }
            Server::Host {
                name,
                address,
                port,
            } => {
                let addresses = match address {
                    Some(ip) => vec![SocketAddr::new(*ip, *port)],
                    None => NAMES.of(process).look_up(name, *port, call).map_err(|e| {
                        unreachable(io::Error::new(
                            e.kind(),
                            format!("{name} was not found: {e}"),
                        ))
                    })?,
                };
                let (stream, _) = connect(call, name, &addresses).map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                stream.set_nonblocking(true).map_err(unreachable)?;
                stream.into()
            }
        };
        let waiter =
            Waiter::new(descriptor).map_err(|_| Failure::Interrupted(Interrupt::NoDescriptor))?;
        let host = match server {
            Server::Socket(_) => "",
            Server::Host { name, .. } => name,
        };
        let tls = tls.to_host(host).map_err(Failure::Unreachable)?;
        let mut opening = pin!(config.connect_raw(Plain::new(Arc::clone(&waiter.socket)), tls));
        let opened = waiter
            .until_ready(call, |context| opening.as_mut().poll(context))
            .map_err(Failure::Interrupted)?;
        let (client, connection) = opened?;
        Ok(Self {
            client,
            connection,
            waiter,
        })
    }

    fn is_writable(&mut self, call: &CallContext) -> Result<bool, Failure> {
        let rows = self.simple(call, "SHOW transaction_read_only")?;
        Ok(rows.first().map(String::as_str) == Some("off"))
    }

    /// Whether the server has neither closed the connection nor sent anything since it was last used.
    pub(super) fn is_open(&self) -> bool {
        is_quiet(self.waiter.socket.descriptor())
    }

    /// Does with the client what `work` says, and waits for the answer.
    pub(super) fn run<'c, T, F>(
        &'c mut self,
        call: &CallContext,
        work: impl FnOnce(&'c Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>> + 'c,
    {
        let mut answer = pin!(work(&self.client));
        let connection = &mut self.connection;
        self.waiter
            .until_ready(call, |context| {
                if let Poll::Ready(outcome) = answer.as_mut().poll(context) {
                    return Poll::Ready(outcome.map_err(Failure::Postgres));
                }
                // It sends what was asked for, and reads what has come.
                let connected = Pin::new(&mut *connection).poll(context);
                if let Poll::Ready(outcome) = answer.as_mut().poll(context) {
                    return Poll::Ready(outcome.map_err(Failure::Postgres));
                }
                // The answer cannot come any more.
                connected.map(|ended| {
                    Err(match ended {
                        Ok(()) => Failure::Unreachable("the connection was closed".to_owned()),
                        Err(why) => Failure::Postgres(why),
                    })
                })
            })
            .map_err(Failure::Interrupted)?
    }

    /// Statements without parameters. Returns the values of the last row.
    pub(super) fn simple(&mut self, call: &CallContext, sql: &str) -> Result<Vec<String>, Failure> {
        let answers = self.run(call, |client| client.simple_query(sql))?;
        let row = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let values = row.map(|row| {
            (0..row.len())
                .map(|at| row.get(at).unwrap_or_default().to_owned())
                .collect()
        });
        Ok(values.unwrap_or_default())
    }
}
