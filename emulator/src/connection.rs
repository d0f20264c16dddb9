//! One connection: requests are read, served and answered until either side closes it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::{HandshakeKind, ServerConnection, StreamOwned};

use crate::answer::Answer;
use crate::control;
use crate::exchange::{self, Delivery, Origin, Reply};
use crate::http::{Reader, reason};
use crate::state::Shared;
use crate::tls::Tls;

/// What a port is for.
#[derive(Debug)]
pub(crate) enum Role {
    /// The portal, or the authorization server.
    Portal,
    /// The same over TLS.
    PortalTls(Arc<Tls>),
    /// The authorization server over TLS.
    Oauth(Arc<Tls>),
    /// The control API.
    Control(Arc<control::Control>),
}

/// A socket that is also in the list of open connections.
#[derive(Debug)]
struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves a connection until it ends.
pub(crate) fn run(shared: &Arc<Shared>, role: &Role, stream: TcpStream, number: u64) {
    // Without this option answers are slower, but not wrong.
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    if let Role::Control(control) = role {
        let _ = serve_control(control, Socket(stream));
        return;
    }
    let epoch = {
        let mut state = shared.lock();
        state.seen.connections += 1;
        state.open.insert(number, stream.clone());
        state.epoch
    };
    let origin = Origin {
        connection: number,
        epoch,
        tls: matches!(role, Role::PortalTls(_) | Role::Oauth(_)),
        oauth: matches!(role, Role::Oauth(_)),
        request: 0,
    };
    let end = match role {
        Role::PortalTls(tls) | Role::Oauth(tls) => {
            handshake(shared, tls, Socket(stream.clone()), epoch).and_then(|mut tls| {
                let end = serve(shared, &mut tls, origin);
                if matches!(end, Ok(End::Close)) {
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
                end
            })
        }
        _ => serve(shared, &mut Socket(stream.clone()), origin),
    };
    {
        let mut state = shared.lock();
        if state.epoch == epoch {
            state.open.remove(&number);
        }
    }
    if matches!(end, Ok(End::Reset)) {
        // With no time to linger, closing the last handle sends a reset.
        let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
    }
}

/// How a connection ends.
enum End {
    /// With the closing message of TLS.
    Close,
    /// As if the server had died.
    Silent,
    Reset,
}

fn handshake(
    shared: &Shared,
    tls: &Tls,
    mut socket: Socket,
    epoch: u64,
) -> io::Result<StreamOwned<ServerConnection, Socket>> {
    let config = tls.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let outcome = loop {
        match connection.complete_io(&mut socket) {
            Ok(_) if connection.is_handshaking() => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let mut state = shared.lock();
    if state.epoch == epoch {
        match (&outcome, connection.handshake_kind()) {
            (Err(_), _) => state.seen.tls_failed += 1,
            (Ok(()), Some(HandshakeKind::Resumed)) => state.seen.tls_resumed += 1,
            (Ok(()), _) => state.seen.tls_handshakes_full += 1,
        }
    }
    drop(state);
    outcome?;
    Ok(StreamOwned::new(connection, socket))
}

fn serve<S: Read + Write>(
    shared: &Arc<Shared>,
    stream: &mut S,
    mut origin: Origin,
) -> io::Result<End> {
    let mut reader = Reader::default();
    let mut out = Vec::new();
    while let Some(request) = reader.next(stream)? {
        origin.request += 1;
        let mut reply = exchange::serve(shared, &request, origin);
        if let Reply::Send(answer, _) = &mut reply {
            add_date(shared, answer);
        }
        match reply {
            Reply::Close => return Ok(End::Silent),
            Reply::Reset => return Ok(End::Reset),
            Reply::Hang(releases) => {
                shared.hang(origin.epoch, releases);
                return Ok(End::Silent);
            }
            Reply::Send(answer, Delivery::KeepAlive) => {
                write_answer(&mut out, &answer, false, 0);
                stream.write_all(&out)?;
            }
            Reply::Send(answer, delivery) => {
                let close = delivery == Delivery::Close;
                let missing = if delivery == Delivery::Truncated {
                    100
                } else {
                    0
                };
                write_answer(&mut out, &answer, close, missing);
                match delivery {
                    Delivery::Drip(pace) => {
                        let (head, body) = out.split_at(out.len() - answer.body.len());
                        stream.write_all(head)?;
                        drip(shared, stream, body, pace, origin.epoch)?;
                    }
                    Delivery::SlowHeader(pace) => {
                        let (head, body) = out.split_at(out.len() - answer.body.len());
                        drip(shared, stream, head, pace, origin.epoch)?;
                        stream.write_all(body)?;
                    }
                    _ => {
                        stream.write_all(&out)?;
                        return Ok(if close { End::Close } else { End::Silent });
                    }
                }
            }
        }
    }
    Ok(End::Close)
}

/// Tells the time, if the settings say so.
fn add_date(shared: &Shared, answer: &mut Answer) {
    let Some(ahead) = shared.lock().settings.date_ahead_s else {
        return;
    };
    let seconds = Duration::from_secs(ahead.unsigned_abs());
    let now = SystemTime::now();
    let date = if ahead < 0 {
        now.checked_sub(seconds)
    } else {
        now.checked_add(seconds)
    };
    let date = httpdate::fmt_http_date(date.unwrap_or(now));
    answer.headers.push(("Date".to_owned(), date));
}

fn serve_control(control: &control::Control, mut stream: Socket) -> io::Result<()> {
    let mut reader = Reader::default();
    let mut out = Vec::new();
    while let Some(request) = reader.next(&mut stream)? {
        let answer = control.serve(&request);
        write_answer(&mut out, &answer, !request.keep_alive, 0);
        stream.write_all(&out)?;
        if !request.keep_alive {
            break;
        }
    }
    Ok(())
}

/// Writes the whole answer into `out`, which it clears first. The last `missing` bytes are
/// announced, but not written.
fn write_answer(out: &mut Vec<u8>, answer: &Answer, close: bool, missing: usize) {
    out.clear();
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\nServer: nginx\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
        answer.status,
        reason(answer.status),
        answer.content_type,
        answer.body.len() + missing
    );
    for (name, value) in &answer.headers {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&answer.body);
}

fn drip(
    shared: &Shared,
    stream: &mut impl Write,
    bytes: &[u8],
    pace: Duration,
    epoch: u64,
) -> io::Result<()> {
    let milliseconds = u64::try_from(pace.as_millis()).unwrap_or(u64::MAX);
    for byte in bytes.chunks(1) {
        stream.write_all(byte)?;
        stream.flush()?;
        let state = shared.lock();
        if state.epoch != epoch || shared.sleep(state, milliseconds).is_none() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    Ok(())
}
