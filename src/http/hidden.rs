//! What ureq does not get to see, because it logs what it sees.
//!
//! At level `Trace` ureq writes the address of a request, and every byte of an answer, to the log,
//! and a program may have its log open for all targets. So the query of an address, where a renewal
//! has its secrets, is put into the request here, below ureq; and of an answer, which may repeat them,
//! ureq gets what it has to know and asterisks in the place of the rest.

use super::exchange::{Exchange, Hidden};
use rustls::{ClientConnection, StreamOwned};
use std::fmt;
use std::io::{self, Read, Write};
use ureq::unversioned::transport::{
    Buffers, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

const BUFFER: usize = 16 * 1024;

/// A connection to a portal or authorization server, or to a proxy: with TLS on top or without.
/// The transport below keeps what is written until input is awaited.
pub(super) struct Connection {
    buffers: LazyBuffers,
    stream: Stream,
    /// None for a proxy: ureq reads its answer itself.
    answer: Option<ResponseMask>,
}

pub(super) enum Stream {
    Plain(TransportAdapter),
    Tls(Box<StreamOwned<ClientConnection, TransportAdapter>>),
}

impl Stream {
    fn adapter(&mut self) -> &mut TransportAdapter {
        match self {
            Self::Plain(adapter) => adapter,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(adapter) => adapter.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(adapter) => adapter.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Connection {
    pub(super) fn to_server(stream: Stream) -> Self {
        Self {
            answer: Some(ResponseMask::default()),
            ..Self::to_proxy(stream)
        }
    }

    pub(super) fn to_proxy(stream: Stream) -> Self {
        Self {
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            stream,
            answer: None,
        }
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.adapter().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        if let Some(answer) = &mut self.answer {
            answer.begin();
            let query = Exchange::with(|exchange| {
                exchange.sent = true;
                std::mem::take(&mut exchange.query)
            })?;
            if !query.is_empty() {
                return Ok(self.stream.write_all(&with_query(output, &query)?)?);
            }
        }
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.adapter().set_timeout(timeout);
        let free = self.buffers.input_append_buf();
        let amount = self.stream.read(free)?;
        if let (Some(answer), Some(input)) = (&mut self.answer, free.get_mut(..amount)) {
            Exchange::with(|exchange| answer.hide(input, &mut exchange.hidden))?;
        }
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.adapter().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// A request's head with the query after the path of its first line.
fn with_query(head: &[u8], query: &str) -> io::Result<Vec<u8>> {
    let mut spaces = (0..).zip(head).filter(|(_, byte)| **byte == b' ');
    let (before, after) = spaces
        .nth(1)
        .and_then(|(at, _)| head.split_at_checked(at))
        .ok_or_else(|| io::Error::other("the request's first line is not whole"))?;
    Ok([before, b"?", query.as_bytes(), after].concat())
}

/// How far an answer has come, as far as its body must be told from the rest. What an odd answer
/// makes it take for body although ureq does not, or the other way about, is an answer that cannot
/// be read: the lengths differ.
#[derive(Debug, Default)]
struct ResponseMask {
    part: Part,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Another answer follows: this one is 1xx.
    interim: bool,
    chunked: bool,
    /// Of HTTP/1.0, which knows no chunks.
    old: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Status,
    Fields,
    Body,
    ChunkSize,
    /// So much of the chunk's data is to come.
    Chunk(usize),
    ChunkEnd,
    Trailer,
}

impl ResponseMask {
    /// Of a longer line than ureq takes, no more is kept.
    const LONGEST_LINE: usize = 64 * 1024;

    fn begin(&mut self) {
        self.part = Part::Status;
        self.line.clear();
    }

    /// Moves what is hidden of `input` to `hidden`, and leaves asterisks.
    fn hide(&mut self, input: &mut [u8], hidden: &mut Hidden) {
        let mut rest = input;
        while !rest.is_empty() {
            let amount = match self.part {
                Part::Body => rest.len(),
                Part::Chunk(left) => left.min(rest.len()),
                _ => memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1),
            };
            let (piece, after) = rest.split_at_mut(amount);
            match self.part {
                Part::Body => cover(piece, &mut hidden.body),
                Part::Chunk(left) => {
                    cover(piece, &mut hidden.body);
                    self.part = match left - piece.len() {
                        0 => Part::ChunkEnd,
                        left => Part::Chunk(left),
                    };
                }
                _ => self.take_of_line(piece, hidden),
            }
            rest = after;
        }
    }

    fn take_of_line(&mut self, piece: &mut [u8], hidden: &mut Hidden) {
        let before = self.line.len();
        let ends = piece.ends_with(b"\n");
        let shown = if before == 0 && ends {
            self.read_line(piece, ends, hidden)
        } else {
            let mut line = std::mem::take(&mut self.line);
            if before < Self::LONGEST_LINE {
                line.extend_from_slice(piece);
            }
            let shown = self.read_line(&line, ends, hidden);
            if ends {
                line.clear();
            }
            self.line = line;
            shown
        };
        let is_hidden = |byte: &u8| !b"\r\n".contains(byte);
        let end = piece.iter().rposition(is_hidden).map_or(0, |at| at + 1);
        if let Some(rest) = piece.get_mut(shown.first.saturating_sub(before)..end) {
            rest.fill(b'*');
        }
        if let Some(colon) = shown.colon.and_then(|at| at.checked_sub(before))
            && let Some(byte) = piece.get_mut(colon)
        {
            *byte = b':';
        }
    }

    /// What of a line ureq gets. At its end, what comes after it is known.
    fn read_line(&mut self, line: &[u8], ends: bool, hidden: &mut Hidden) -> Shown {
        let colon = match self.part {
            Part::Fields | Part::Trailer => memchr::memchr(b':', line),
            _ => None,
        };
        let field = match (self.part, colon) {
            (Part::Fields, Some(colon)) => Field::of(line, colon),
            _ => Field::Other,
        };
        let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
        let first = match (self.part, &field) {
            (Part::Status, _) => b"HTTP/1.1 200 ".len(),
            (Part::Fields, Field::Shown | Field::TransferEncoding(_)) => usize::MAX,
            (Part::Fields, _) => Field::common_with_shown(line),
            // And the semicolon, if more follows.
            (Part::ChunkSize, _) => line.iter().take_while(is_digit).count() + 1,
            (Part::Trailer | Part::ChunkEnd | Part::Chunk(_) | Part::Body, _) => 0,
        };
        if ends {
            match (self.part, &field) {
                (Part::Status, _) => hidden.location = None,
                (_, Field::Location(value)) => {
                    let value = || String::from_utf8_lossy(value).into_owned();
                    hidden.location.get_or_insert_with(value);
                }
                (_, Field::TransferEncoding(value)) => self.chunked |= is_chunked(value),
                _ => {}
            }
            self.part = self.after_line(line.trim_ascii_end());
        }
        Shown { first, colon }
    }

    /// What comes after this line.
    fn after_line(&mut self, line: &[u8]) -> Part {
        match (self.part, line) {
            (Part::Status, []) => Part::Status,
            (Part::Status, _) => {
                self.interim = line.starts_with(b"HTTP/1.1 1");
                self.old = line.starts_with(b"HTTP/1.0");
                self.chunked = false;
                Part::Fields
            }
            (Part::Fields, []) if self.interim => Part::Status,
            (Part::Fields, []) if self.chunked && !self.old => Part::ChunkSize,
            (Part::Fields, []) => Part::Body,
            (Part::Fields, _) => Part::Fields,
            (Part::ChunkSize, _) => match chunk_size(line) {
                Some(0) => Part::Trailer,
                Some(size) => Part::Chunk(size),
                None => Part::Body,
            },
            (Part::ChunkEnd, _) => Part::ChunkSize,
            (Part::Trailer, [_, ..]) => Part::Trailer,
            (Part::Trailer | Part::Body | Part::Chunk(_), _) => Part::Body,
        }
    }
}

fn cover(bytes: &mut [u8], body: &mut Vec<u8>) {
    body.extend_from_slice(bytes);
    bytes.fill(b'*');
}

/// What ureq gets of a line.
struct Shown {
    /// How many of its first bytes.
    first: usize,
    /// Where its name ends: without it, it would be no field.
    colon: Option<usize>,
}

/// A field of a head, as far as it matters here.
enum Field<'a> {
    /// Another that ureq, or who reads the answer through it, has to know.
    Shown,
    TransferEncoding(&'a [u8]),
    Location(&'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    const TRANSFER_ENCODING: &'static [u8] = b"transfer-encoding";
    const SHOWN: [&'static [u8]; 3] = [b"content-length", b"connection", b"retry-after"];

    /// The field of a line whose name ends there.
    fn of(line: &'a [u8], colon: usize) -> Self {
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default();
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(Self::TRANSFER_ENCODING) {
            Self::TransferEncoding(value)
        } else if is(b"location") {
            Self::Location(value.trim_ascii())
        } else if Self::SHOWN.into_iter().any(is) {
            Self::Shown
        } else {
            Self::Other
        }
    }

    /// How much of a line is the beginning of a name that is shown: more of it may be to come.
    fn common_with_shown(line: &[u8]) -> usize {
        let common = |name: &[u8]| {
            let pairs = name.iter().zip(line);
            pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
        };
        let names = Self::SHOWN.into_iter().chain([Self::TRANSFER_ENCODING]);
        names.map(common).max().unwrap_or_default()
    }
}

fn is_chunked(codings: &[u8]) -> bool {
    let mut codings = codings.split(|byte| *byte == b',');
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The number before a chunk's extensions.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer in pieces of every size: what ureq sees of it, and the body.
    fn hidden(answer: &str) -> (String, String) {
        let mut outcomes: Vec<_> = (1..=answer.len())
            .map(|size| {
                let (mut seen, mut hidden) = (answer.as_bytes().to_vec(), Hidden::default());
                let mut state = ResponseMask::default();
                for piece in seen.chunks_mut(size) {
                    state.hide(piece, &mut hidden);
                }
                let text = |bytes| String::from_utf8(bytes).unwrap_or_default();
                (text(seen), text(hidden.body))
            })
            .collect();
        outcomes.dedup();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0)
    }

    #[test]
    fn a_body_of_known_length_is_hidden() {
        assert_eq!(
            hidden("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"),
            (
                "HTTP/1.1 200 **\r\nContent-Length: 6\r\n\r\n******".to_owned(),
                "secret".to_owned()
            )
        );
    }

    #[test]
    fn the_data_of_chunks_is_hidden_and_their_frame_is_not() {
        assert_eq!(
            hidden(
                "HTTP/1.1 200 OK\r\ntransfer-encoding:  gzip, Chunked\r\n\r\n\
                 3;x=y\r\nsec\r\nA\r\nret\r\n\r\n:-)\r\n0\r\nX: y\r\n\r\nmore"
            ),
            (
                "HTTP/1.1 200 **\r\ntransfer-encoding:  gzip, Chunked\r\n\r\n\
                 3;***\r\n***\r\nA\r\n**********\r\n0\r\n*:**\r\n\r\n****"
                    .to_owned(),
                "secret\r\n\r\n:-)more".to_owned()
            )
        );
    }

    #[test]
    fn interim_answers_have_no_body_and_old_ones_no_chunks() {
        assert_eq!(
            hidden(
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                 HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n3\r\n"
            ),
            (
                "HTTP/1.1 103 ***********\r\n****:**\r\n\r\n\
                 HTTP/1.0 200 **\nTransfer-Encoding: chunked\n\n***"
                    .to_owned(),
                "3\r\n".to_owned()
            )
        );
    }

    #[test]
    fn of_a_head_only_what_ureq_has_to_know_is_shown() {
        let head = "HTTP/1.1 103 x\r\nLocation: of another\r\n\r\n\
                    HTTP/1.1 302 secret\r\nLocation: https://secret\r\nLOCATION: other\r\n\
                    not a field secret\r\nsecret\r\nx=secret&y\r\n folded: secret\r\n\
                    Cookie-secret: x\r\nRetry-After: 1\r\nTransfer-Encoding: xchunked\r\n\
                    \r\n5\r\nsecret";
        let (seen, body) = hidden(head);
        assert!(
            !seen.contains("secret") && seen.contains("\r\nCo***********:**\r\nRetry-After: 1\r\n"),
            "{seen}"
        );
        assert_eq!(body, "5\r\nsecret");
        let (mut seen, mut hidden) = (head.as_bytes().to_vec(), Hidden::default());
        ResponseMask::default().hide(&mut seen, &mut hidden);
        assert_eq!(hidden.location.as_deref(), Some("https://secret"));
    }

    #[test]
    fn a_chunk_without_a_size_and_all_after_it_is_hidden() {
        let (seen, body) =
            hidden("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nsecret");
        assert!(seen.ends_with("\r\n\r\nz*\r\n******"), "{seen}");
        assert_eq!(body, "secret");
    }

    #[test]
    fn the_query_goes_after_the_path() {
        let head = with_query(b"GET /oauth/token/ HTTP/1.1\r\nhost: x y\r\n\r\n", "a=b");
        assert_eq!(
            head.ok().as_deref(),
            Some(&b"GET /oauth/token/?a=b HTTP/1.1\r\nhost: x y\r\n\r\n"[..])
        );
        assert!(with_query(b"GET", "a=b").is_err());
    }
}
