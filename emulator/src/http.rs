//! HTTP/1.1 as far as a portal needs it: requests are read from a connection, one after another.

use std::io::{self, Read, Write};

const MAX_HEADERS: usize = 64;
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;
const READ_SIZE: usize = 16 * 1024;

/// A request as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What follows the `?`, still encoded.
    pub(crate) query: String,
    pub(crate) host: String,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    pub(crate) authorization: String,
    pub(crate) body: Vec<u8>,
    /// Whether the client lets the connection stay open.
    pub(crate) keep_alive: bool,
}

impl Request {
    /// The host name asked for, in lower case and without a port.
    pub(crate) fn host_name(&self) -> String {
        let host = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &self.host,
        };
        host.to_ascii_lowercase()
    }
}

/// How long the body is.
#[derive(Clone, Copy)]
enum Length {
    Known(usize),
    Chunked,
}

/// What the head of a request says about the rest of it.
struct Head {
    request: Request,
    size: usize,
    length: Length,
    expects_continue: bool,
}

/// Reads the requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Bytes received and not yet consumed are those below `filled`.
    buffer: Vec<u8>,
    filled: usize,
}

impl Reader {
    /// The next request; None if the client closed the connection between two of them.
    pub(crate) fn next<S: Read + Write>(&mut self, stream: &mut S) -> io::Result<Option<Request>> {
        let head = loop {
            if let Some(head) = parse_head(self.received())? {
                break head;
            }
            if self.filled > MAX_HEAD {
                return Err(invalid("the head is too long"));
            }
            if !self.fill(stream)? {
                return match self.filled {
                    0 => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        };
        self.consume(head.size);
        if head.expects_continue && self.filled == 0 {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.flush()?;
        }
        let mut request = head.request;
        request.body = match head.length {
            Length::Known(size) => self.take(stream, size)?,
            Length::Chunked => self.take_chunks(stream)?,
        };
        Ok(Some(request))
    }

    fn received(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    fn consume(&mut self, size: usize) {
        self.buffer.copy_within(size..self.filled, 0);
        self.filled -= size;
    }

    /// Receives something more. False at the end of the stream.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        if self.buffer.len() < self.filled + READ_SIZE {
            self.buffer.resize(self.filled + READ_SIZE, 0);
        }
        let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let size = stream.read(space)?;
        self.filled += size;
        Ok(size > 0)
    }

    fn take(&mut self, stream: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
        if size > MAX_BODY {
            return Err(invalid("the body is too long"));
        }
        while self.filled < size {
            if !self.fill(stream)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let body = self.received().get(..size).unwrap_or_default().to_vec();
        self.consume(size);
        Ok(body)
    }

    fn take_chunks(&mut self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let (line, size) = loop {
                match httparse::parse_chunk_size(self.received()) {
                    Ok(httparse::Status::Complete((line, size))) => break (line, size),
                    Ok(httparse::Status::Partial) if self.filled < MAX_HEAD => {}
                    _ => return Err(invalid("a chunk has no size")),
                }
                if !self.fill(stream)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            };
            self.consume(line);
            let size = usize::try_from(size).map_err(io::Error::other)?;
            if size == 0 {
                // Trailers are not used by any client of a portal.
                self.take(stream, 2)?;
                return Ok(body);
            }
            if size > MAX_BODY - body.len() {
                return Err(invalid("the body is too long"));
            }
            body.extend_from_slice(&self.take(stream, size)?);
            self.take(stream, 2)?;
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(size) = parsed.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let (path, query) = target(parsed.path.unwrap_or_default());
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        keep_alive: parsed.version == Some(1),
        ..Request::default()
    };
    let mut length = Length::Known(0);
    let mut expects_continue = false;
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("Host") {
            request.host = value.into_owned();
        } else if is("Content-Type") {
            request.content_type = value.into_owned();
        } else if is("User-Agent") {
            request.user_agent = value.into_owned();
        } else if is("Authorization") {
            request.authorization = value.into_owned();
        } else if is("Content-Length") {
            let size = value.trim().parse();
            length = Length::Known(size.map_err(|_| invalid("the length is no number"))?);
        } else if is("Transfer-Encoding") {
            length = Length::Chunked;
        } else if is("Connection") {
            request.keep_alive = !value.eq_ignore_ascii_case("close");
        } else if is("Expect") {
            expects_continue = value.eq_ignore_ascii_case("100-continue");
        }
    }
    Ok(Some(Head {
        request,
        size,
        length,
        expects_continue,
    }))
}

/// Path and query of a request target. A client that uses the portal as a proxy sends them with
/// scheme and host.
fn target(target: &str) -> (&str, &str) {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest
            .find('/')
            .and_then(|start| rest.get(start..))
            .unwrap_or("/"),
        _ => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The reason phrase of a status.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Read, Write};

    use super::Reader;

    /// Gives its bytes in pieces of a fixed size, and keeps what is written.
    struct Pieces(Cursor<Vec<u8>>, usize, Vec<u8>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = buffer.len().min(self.1);
            self.0.read(buffer.get_mut(..size).unwrap_or_default())
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads_requests_however_they_are_cut() -> io::Result<()> {
        let text = "POST /a?b=c HTTP/1.1\r\nhost: Portal.Test:8\r\nContent-Length: 2\r\n\r\nhi\
            POST http://x/rest/y HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
            3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n\
            POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nz";
        for piece in [1, 2, 7, 1000] {
            let mut stream = Pieces(Cursor::new(text.as_bytes().to_vec()), piece, Vec::new());
            let mut reader = Reader::default();
            let mut next = || reader.next(&mut stream).map(Option::unwrap_or_default);
            let first = next()?;
            assert_eq!((first.path.as_str(), first.query.as_str()), ("/a", "b=c"));
            assert_eq!(
                (first.host_name().as_str(), first.keep_alive),
                ("portal.test", true)
            );
            assert_eq!(first.body, b"hi");
            let second = next()?;
            assert_eq!(
                (second.path.as_str(), second.keep_alive),
                ("/rest/y", false)
            );
            assert_eq!(second.body, b"abcde");
            let third = next()?;
            assert_eq!(
                (third.body.as_slice(), third.keep_alive),
                (&b"z"[..], false)
            );
            assert!(reader.next(&mut stream)?.is_none());
            match piece {
                1 => assert_eq!(stream.2, b"HTTP/1.1 100 Continue\r\n\r\n"),
                1000 => assert!(stream.2.is_empty(), "the body was there already"),
                _ => {}
            }
        }
        Ok(())
    }
}
