//! Keeps secrets from ureq, because it logs what it gets.
//!
//! At level `Trace` ureq logs the address of a request and every byte of an answer, and has no
//! setting against it. A program may log all targets. So the query of an address, which contains
//! the secrets of a renewal, is put into the request here, below ureq. Of an answer, which may
//! repeat them, ureq gets only what it needs, and asterisks instead of the rest.

use super::exchange::Hidden;
use std::io;

/// Puts the query after the path of a request's first line.
pub(super) fn insert_query(request: &mut Vec<u8>, query: &str) -> io::Result<()> {
    let mut spaces = memchr::memchr_iter(b' ', request);
    let at = spaces
        .nth(1)
        .ok_or_else(|| io::Error::other("the request's first line is not whole"))?;
    request.splice(at..at, [b"?", query.as_bytes()].concat());
    Ok(())
}

/// The position in an answer, to tell its body from the rest. If this and ureq disagree about where
/// the body of an odd answer is, the answer cannot be read, because the lengths differ.
#[derive(Debug, Default)]
pub(super) struct ResponseMask {
    part: Part,
    /// The beginning of a line that is not complete yet.
    pub(super) line: Vec<u8>,
    /// This answer is 1xx, and another one follows.
    interim: bool,
    chunked: bool,
    /// HTTP/1.0, which has no chunks.
    old: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Status,
    Fields,
    Body,
    ChunkSize,
    /// How much of the chunk's data is still to come.
    Chunk(usize),
    ChunkEnd,
    Trailer,
}

impl ResponseMask {
    /// Fields whose values ureq needs, or the reader of its answer.
    const SHOWN: [&'static [u8]; 4] = [b"content-length", b"connection", b"retry-after", b"date"];

    pub(super) fn begin(&mut self) {
        self.part = Part::Status;
        self.line.clear();
    }

    /// Replaces the hidden parts of `input` by asterisks, and returns how much of it ureq may have.
    /// The rest is the beginning of a line, which comes again together with what follows it.
    pub(super) fn hide(&mut self, input: &mut [u8], hidden: &mut Hidden) -> usize {
        let mut done = 0;
        loop {
            let rest = input.get_mut(done..).unwrap_or_default();
            let amount = match self.part {
                Part::Body => rest.len(),
                Part::Chunk(left) => left.min(rest.len()),
                _ => memchr::memchr(b'\n', rest).map_or(0, |at| at + 1),
            };
            if amount == 0 {
                self.line.clear();
                self.line.extend_from_slice(rest);
                return done;
            }
            let piece = rest.get_mut(..amount).unwrap_or_default();
            match self.part {
                Part::Body => cover(piece, hidden),
                Part::Chunk(left) => {
                    cover(piece, hidden);
                    self.part = match left - amount {
                        0 => Part::ChunkEnd,
                        left => Part::Chunk(left),
                    };
                }
                _ => {
                    let text = piece.trim_ascii_end().len();
                    self.read_line(piece.get_mut(..text).unwrap_or_default(), hidden);
                }
            }
            done += amount;
        }
    }

    /// Hides the hidden part of a line, and notes what comes after it.
    fn read_line(&mut self, line: &mut [u8], hidden: &mut Hidden) {
        let is_empty = line.is_empty();
        self.part = match self.part {
            Part::Status if is_empty => Part::Status,
            Part::Status => {
                self.interim = line.starts_with(b"HTTP/1.1 1");
                self.old = line.starts_with(b"HTTP/1.0");
                self.chunked = false;
                hidden.location = None;
                cover_from(line, b"HTTP/1.1 200 ".len());
                Part::Fields
            }
            Part::Fields if !is_empty => {
                self.read_field(line, hidden);
                Part::Fields
            }
            Part::Fields if self.interim => Part::Status,
            Part::Fields if self.chunked && !self.old => Part::ChunkSize,
            Part::ChunkSize => {
                let size = chunk_size(line);
                // And a semicolon, with what blanks there are before it, if there are extensions.
                let is_of_size = |byte: &&u8| byte.is_ascii_hexdigit() || b" \t".contains(byte);
                let shown = line.iter().take_while(is_of_size);
                cover_from(line, shown.count() + 1);
                match size {
                    Some(0) => Part::Trailer,
                    Some(size) => Part::Chunk(size),
                    None => Part::Body,
                }
            }
            Part::ChunkEnd => {
                cover_from(line, 0);
                Part::ChunkSize
            }
            Part::Trailer if !is_empty => {
                cover_field(line);
                Part::Trailer
            }
            Part::Fields | Part::Trailer | Part::Body | Part::Chunk(_) => Part::Body,
        };
    }

    fn read_field(&mut self, line: &mut [u8], hidden: &mut Hidden) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let value = value.get(1..).unwrap_or_default();
        if is(b"transfer-encoding") {
            self.chunked |= is_chunked(value);
        } else if !Self::SHOWN.into_iter().any(is) {
            if is(b"location") {
                let value = || String::from_utf8_lossy(value.trim_ascii()).into_owned();
                hidden.location.get_or_insert_with(value);
            }
            cover_field(line);
        }
    }
}

fn cover(body: &mut [u8], hidden: &mut Hidden) {
    hidden.body.extend_from_slice(body);
    body.fill(b'*');
}

fn cover_from(line: &mut [u8], shown: usize) {
    line.get_mut(shown..).unwrap_or_default().fill(b'*');
}

/// All but the colon, which makes it a field.
fn cover_field(line: &mut [u8]) {
    for part in line.splitn_mut(2, |byte| *byte == b':') {
        part.fill(b'*');
    }
}

fn is_chunked(codings: &[u8]) -> bool {
    let mut codings = codings.split(|byte| *byte == b',');
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The size of a chunk, before its extensions.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

/// Hides an answer that comes in pieces of this size: what ureq gets, what is hidden, and what waits
/// for the end of its line.
#[cfg(feature = "fuzzing")]
pub(crate) fn hide_in_pieces(answer: &[u8], size: usize) -> [Vec<u8>; 3] {
    let (mut seen, mut hidden) = (Vec::new(), Hidden::default());
    let mut mask = ResponseMask::default();
    for piece in answer.chunks(size.max(1)) {
        let mut input = [&mask.line, piece].concat();
        let passed = mask.hide(&mut input, &mut hidden);
        seen.extend_from_slice(input.get(..passed).unwrap_or_default());
    }
    [seen, hidden.body, mask.line]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer in pieces of every size: what ureq sees of it, and the body.
    fn hidden(answer: &str) -> (String, String) {
        let mut outcomes: Vec<_> = (1..=answer.len())
            .map(|size| {
                let (mut seen, mut hidden) = (Vec::new(), Hidden::default());
                let mut mask = ResponseMask::default();
                for piece in answer.as_bytes().chunks(size) {
                    let mut input = [&mask.line, piece].concat();
                    let passed = mask.hide(&mut input, &mut hidden);
                    seen.extend_from_slice(&input[..passed]);
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
                 3 ;x=y\r\nsec\r\nA\r\nret\r\n\r\n:-)\r\n0\r\nX: y\r\n\r\nmore"
            ),
            (
                "HTTP/1.1 200 **\r\ntransfer-encoding:  gzip, Chunked\r\n\r\n\
                 3 ;***\r\n***\r\nA\r\n**********\r\n0\r\n*:**\r\n\r\n****"
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
            !seen.contains("secret") && seen.contains("\r\n*************:**\r\nRetry-After: 1\r\n"),
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
        let mut head = b"GET /oauth/token/ HTTP/1.1\r\nhost: x y\r\n\r\n".to_vec();
        insert_query(&mut head, "a=b").unwrap();
        assert_eq!(head, b"GET /oauth/token/?a=b HTTP/1.1\r\nhost: x y\r\n\r\n");
        assert!(insert_query(&mut b"GET".to_vec(), "a=b").is_err());
    }
}
