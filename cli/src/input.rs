//! Rows of a batch, read by a thread while others are sent.

use crate::exit::Failure;
use crate::stop::Stop;
use crate::time;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

/// How many rows are read ahead.
const AHEAD: usize = 1000;
/// How long the rows of a slice may come after its first: from a pipe they may come one by one.
const GATHERING: Duration = Duration::from_millis(50);
/// How often it is looked whether there was a signal.
const LOOK: Duration = Duration::from_millis(200);
/// No row is as long.
const MAX_LINE: u64 = 1024 * 1024;

/// What the columns are called.
const COLUMNS: [&str; 5] = ["code", "message_id", "status", "member_id", "at"];

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    JsonLines,
}

/// A row, and the line that it begins in.
pub(crate) struct Row {
    pub(crate) line: u64,
    /// How many bytes were read when it ended.
    pub(crate) end: u64,
    pub(crate) fields: Result<Fields, String>,
}

/// What a row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) code: String,
    pub(crate) message_id: String,
    pub(crate) status: String,
    pub(crate) member_id: String,
    pub(crate) at: Option<SystemTime>,
}

/// Rows that a thread reads.
pub(crate) struct Rows {
    from: Receiver<Result<Row, Failure>>,
    put_back: Option<Row>,
    /// The length of the file, if it is one.
    pub(crate) length: Option<u64>,
}

impl Rows {
    /// Begins to read a file, or standard input if it is called `-`.
    pub(crate) fn open(path: &Path, format: Format, stop: &Stop) -> Result<Self, Failure> {
        let opened = path.to_owned();
        let (input, length) = aside(stop, move || open(&opened))?;
        let (to, from) = sync_channel(AHEAD);
        let name = path.display().to_string();
        read_in_thread(move || {
            let read = match format {
                Format::Csv => read_csv(input, &name, &to),
                Format::JsonLines => read_json(input, &name, &to),
            };
            if let Err(failure) = read {
                // It fails only if nobody wants rows any more.
                let _ = to.send(Err(failure));
            }
        })?;
        Ok(Self {
            from,
            put_back: None,
            length,
        })
    }

    /// Makes a row the next one again.
    pub(crate) fn put_back(&mut self, row: Row) {
        self.put_back = Some(row);
    }

    /// The next rows, at most so many: those that are there or come at once. Empty at the end. The
    /// failure, if there was one, comes after the rows before it.
    pub(crate) fn slice(
        &mut self,
        most: usize,
        stop: &Stop,
    ) -> Result<Vec<Row>, (Vec<Row>, Failure)> {
        let mut rows = Vec::from_iter(self.put_back.take());
        let mut until = (!rows.is_empty()).then(|| Instant::now() + GATHERING);
        while rows.len() < most {
            let left = until.map_or(LOOK, |until: Instant| {
                until.saturating_duration_since(Instant::now())
            });
            match self.from.recv_timeout(left) {
                Ok(Ok(row)) => {
                    rows.push(row);
                    until.get_or_insert_with(|| Instant::now() + GATHERING);
                }
                Ok(Err(failure)) => return Err((rows, failure)),
                Err(RecvTimeoutError::Timeout) if stop.is_requested() => {
                    return Err((rows, Failure::Stopped));
                }
                Err(RecvTimeoutError::Timeout) if until.is_none() => {}
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => break,
            }
        }
        Ok(rows)
    }
}

/// The whole text of a file, or of standard input if it is called `-`. At most 1 MiB.
pub(crate) fn read_whole(path: &Path, stop: &Stop) -> Result<String, Failure> {
    let path = path.to_owned();
    aside(stop, move || {
        let (input, _) = open(&path)?;
        let mut text = String::new();
        match input.take(MAX_LINE).read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(unreadable(&path.display().to_string(), &error)),
        }
    })
}

/// Opens or reads files in another thread, until there is a signal: one that is a pipe may have no
/// writer.
pub(crate) fn aside<T: Send + 'static>(
    stop: &Stop,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (to, from) = sync_channel(1);
    read_in_thread(move || {
        let _ = to.send(work());
    })?;
    loop {
        match from.recv_timeout(LOOK) {
            Ok(done) => return done,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::File("a file cannot be read".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) if stop.is_requested() => return Err(Failure::Stopped),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn unreadable(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::File(format!("{name} cannot be read: {error}"))
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path).map_err(|error| unreadable(&path.display().to_string(), &error))?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
    Ok((Box::new(file), metadata.map(|metadata| metadata.len())))
}

/// A read from a terminal or a pipe cannot be ended, so another thread does it.
fn read_in_thread(body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new()
        .name("b24-input".to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::File(format!("no thread can be started: {error}")))
}

fn read_csv(
    input: impl Read,
    name: &str,
    to: &SyncSender<Result<Row, Failure>>,
) -> Result<(), Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(Limited { input, read: 0 });
    let fault = |line: u64, error: &csv::Error| match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Failure::Usage(format!(
                "the row that begins in line {line} of {name} is longer than 1 MiB: does it lack a \" at \
                 the end of a column?"
            ))
        }
        _ => unreadable(name, error),
    };
    let columns = columns(reader.byte_headers().map_err(|error| fault(1, &error))?)?;
    let mut record = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        reader.get_mut().read = 0;
        if !reader
            .read_byte_record(&mut record)
            .map_err(|error| fault(line, &error))?
        {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        // No column may have a line break.
        if record.as_slice().contains(&b'\n') {
            return Err(Failure::Usage(format!(
                "the row that begins in line {line} of {name} goes on in the next one: does it lack a \" \
                 at the end of a column?"
            )));
        }
        let row = Row {
            line,
            end: reader.position().byte(),
            fields: fields_of_record(&record, &columns),
        };
        if to.send(Ok(row)).is_err() {
            break;
        }
    }
    Ok(())
}

/// What is read of a file, with an end to how much of that is one row: a quotation mark that is not
/// closed makes one of everything that follows.
struct Limited<R> {
    input: R,
    /// How much was read since the row began.
    read: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let read = self.input.read(into)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// What each column is.
fn columns(header: &csv::ByteRecord) -> Result<Vec<&'static str>, Failure> {
    let mut columns = Vec::new();
    for found in header {
        let found = String::from_utf8_lossy(found);
        let column = COLUMNS.into_iter().find(|column| *column == found);
        match column {
            Some(column) if !columns.contains(&column) => columns.push(column),
            _ => {
                let problem = if column.is_some() {
                    "occurs twice"
                } else {
                    "is not known"
                };
                let shown: String = found.chars().take(40).collect();
                return Err(Failure::Usage(format!(
                    "column {shown:?} {problem}: the first line names the columns, separated by commas: \
                     code,message_id,status and optionally member_id and at"
                )));
            }
        }
    }
    let missing = ["code", "message_id", "status"]
        .into_iter()
        .find(|needed| !columns.contains(needed));
    match missing {
        None => Ok(columns),
        Some(missing) => Err(Failure::Usage(format!(
            "there is no column {missing}: the first line names the columns, such as code,message_id,status"
        ))),
    }
}

fn fields_of_record(record: &csv::ByteRecord, columns: &[&str]) -> Result<Fields, String> {
    if record.len() != columns.len() {
        return Err(format!(
            "it has {} columns instead of {}",
            record.len(),
            columns.len()
        ));
    }
    let mut fields = Fields::default();
    for (column, value) in columns.iter().zip(record) {
        let value = std::str::from_utf8(value).map_err(|_| format!("{column} is not UTF-8"))?;
        match *column {
            "at" if value.is_empty() => {}
            column => fields.set(column, value)?,
        }
    }
    Ok(fields)
}

fn read_json(
    input: impl Read,
    name: &str,
    to: &SyncSender<Result<Row, Failure>>,
) -> Result<(), Failure> {
    let end = Arc::new(AtomicU64::new(0));
    let mut reader = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| unreadable(name, &error))?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            return Err(Failure::Usage(format!(
                "line {number} of {name} is longer than 1 MiB: each line takes one object"
            )));
        }
        let end = end.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let fields = fields_of_json(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line));
        let row = Row {
            line: number,
            end,
            fields,
        };
        if to.send(Ok(row)).is_err() {
            break;
        }
    }
    Ok(())
}

fn fields_of_json(line: &[u8]) -> Result<Fields, String> {
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
        // It is line 1 for whoever reads one line.
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or_default();
        format!(
            "it is not a JSON object: {what} at column {}",
            error.column()
        )
    })?;
    let mut fields = Fields::default();
    for (name, value) in &object {
        let column = COLUMNS
            .into_iter()
            .find(|column| column == name)
            .ok_or_else(|| {
                let shown: String = name.chars().take(40).collect();
                format!(
                    "{shown:?} is not known; it takes code, message_id, status, member_id and at"
                )
            })?;
        match value {
            Value::Null => {}
            Value::String(text) => fields.set(column, text)?,
            Value::Number(number) if column == "message_id" || column == "at" => {
                fields.set(column, &number.to_string())?;
            }
            _ => return Err(format!("{column} is not a text")),
        }
    }
    Ok(fields)
}

impl Fields {
    fn set(&mut self, column: &str, value: &str) -> Result<(), String> {
        match column {
            "code" => value.clone_into(&mut self.code),
            "message_id" => value.clone_into(&mut self.message_id),
            "status" => value.clone_into(&mut self.status),
            "member_id" => value.clone_into(&mut self.member_id),
            _ => self.at = Some(time::read(value)?),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test: what cannot be unwrapped has failed"
)]
mod tests {
    use super::*;

    fn read(text: &[u8], format: Format) -> Vec<Result<Row, Failure>> {
        let (to, from) = sync_channel(AHEAD);
        let read = match format {
            Format::Csv => read_csv(text, "input", &to),
            Format::JsonLines => read_json(text, "input", &to),
        };
        drop(to);
        from.iter().chain(read.err().map(Err)).collect()
    }

    fn fields(row: &Result<Row, Failure>) -> Result<[&str; 3], &str> {
        match &row.as_ref().unwrap().fields {
            Ok(fields) => Ok([&fields.code, &fields.message_id, &fields.status]),
            Err(why) => Err(why),
        }
    }

    #[test]
    fn csv_is_read_as_spreadsheets_write_it() {
        let text = b"\xef\xbb\xbfstatus,code,message_id\r\nsent,p1,\"a,\"\"b\"\"\"\r\n\r\nsent,p1\nsent,p1,\xff\n";
        let rows = read(text, Format::Csv);
        assert_eq!(fields(&rows[0]), Ok(["p1", "a,\"b\"", "sent"]));
        assert_eq!(fields(&rows[1]), Err("it has 2 columns instead of 3"));
        assert_eq!(fields(&rows[2]), Err("message_id is not UTF-8"));
        assert_eq!(rows[2].as_ref().unwrap().end, text.len() as u64);
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_header_that_is_not_known_is_refused_before_any_row() {
        for text in [
            "",
            "p1,m1,sent\n",
            "code,status\n",
            "code,code,message_id,status\n",
        ] {
            let rows = read(text.as_bytes(), Format::Csv);
            assert!(matches!(rows[0], Err(Failure::Usage(_))), "{text}");
        }
    }

    #[test]
    fn json_lines_are_read_one_by_one() {
        let text = b"{\"code\":\"p1\",\"message_id\":7,\"status\":\"sent\",\"at\":1.5}\n\n[]\n{\"cod\":1}\n{\"code\":1}";
        let rows = read(text, Format::JsonLines);
        assert_eq!(fields(&rows[0]), Ok(["p1", "7", "sent"]));
        assert_eq!(rows[1].as_ref().unwrap().line, 3);
        for row in &rows[1..] {
            assert!(fields(row).is_err());
        }
        assert_eq!(rows.len(), 4);
    }
}
