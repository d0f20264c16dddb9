//! Posts a request to a handler on this machine.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Serialize;

/// How long a handler may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// As portals call themselves.
const USER_AGENT: &str = "Bitrix24 Webhook Engine";

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Target {
    authority: String,
    path: String,
}

/// What a handler answered.
#[derive(Debug, Serialize)]
pub(super) struct Reply {
    /// The HTTP status; 0 if there was no answer.
    status: u16,
    body: String,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Target {
    /// A URL, to which the parameters of `query` are added.
    pub(super) fn parse(url: &str, query: Option<&str>) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .ok_or(format!("{url:?} is not sent to: it is no http:// URL"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let mut path = if path.is_empty() { "/" } else { path }.to_owned();
        if let Some(query) = query {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(query);
        }
        let mut target = Self {
            authority: authority.to_owned(),
            path,
        };
        let bare = authority.rsplit(']').next().unwrap_or_default();
        if !bare.contains(':') {
            target.authority.push_str(":80");
        }
        let addresses = target.authority.to_socket_addrs();
        let mut addresses = addresses.map_err(|error| format!("{url:?}: {error}"))?;
        if addresses.any(|address| !address.ip().is_loopback()) {
            return Err(format!("{url:?} is not sent to: it is not on this machine"));
        }
        Ok(target)
    }

    pub(super) fn post(&self, content_type: &str, body: &str) -> Reply {
        match self.exchange(content_type, body) {
            Ok((status, body)) => Reply {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
                error: None,
            },
            Err(error) => Reply {
                status: 0,
                body: String::new(),
                error: Some(error.to_string()),
            },
        }
    }

    fn exchange(&self, content_type: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.authority)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority,
            body.len()
        );
        let sent = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        let received = stream.read_to_end(&mut answer);
        if let Some(parsed) = parse(&answer) {
            return Ok(parsed);
        }
        sent?;
        received?;
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Status and body of an answer that has ended.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = parsed.parse(answer).ok()? else {
        return None;
    };
    let status = parsed.code?;
    let mut body = answer.get(size..)?;
    if status < 200 {
        return parse(body);
    }
    let named = |name: &str| {
        let header = parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    if named("Transfer-Encoding").is_some() {
        return Some((status, unchunked(body)?));
    }
    if let Some(length) = named("Content-Length") {
        body = body.get(..length.trim().parse().ok()?)?;
    }
    Some((status, body.to_vec()))
}

/// The text of a body in chunks. None if it has not ended.
fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(body).ok()?
        else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(text);
        }
        let (chunk, after) = body.get(line..)?.split_at_checked(size)?;
        text.extend_from_slice(chunk);
        body = after.get(2..)?;
    }
}
