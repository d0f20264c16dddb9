//! `batch`: the statuses of any number of messages, from a file or a pipe.

use crate::LOG;
use crate::exit::{self, Failure};
use crate::input::{Fields, Format, Row, Rows};
use crate::opened::Opening;
use crate::output::{self, Output, error_json};
use crate::stop::Stop;
use b24_messageservice::{Client, Error, ErrorKind, Provider, Receipt, Update};
use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ten requests: what the rate limit lets through long before any usual deadline.
const SLICE: usize = 500;
/// Of receipts, which are stored in one commit.
const SLICE_OF_RECEIPTS: usize = 10_000;
/// How often rows are sent again while none gets through.
const TRIES: u32 = 2;
/// Before that, if the error does not tell how long to wait.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub(super) fn run(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let file = matches
        .get_one::<PathBuf>("file")
        .map_or(Path::new("-"), PathBuf::as_path);
    let format = match matches.get_one::<String>("format").map(String::as_str) {
        Some("json") => Format::JsonLines,
        Some(_) => Format::Csv,
        None => format_of(file),
    };
    let member_id = matches.get_one::<String>("member_id").cloned();
    // Opened before anything is read, if it is known already what it is.
    let target = match member_id {
        Some(member_id) => Some(Target::Store(opening.provider()?, member_id)),
        None => None,
    };
    let mut rows = Rows::open(file, format, opening.stop)?;
    let mut batch = Batch {
        stop: opening.stop,
        output: Output::new(),
        as_json: matches.get_flag("json"),
        bar: bar(rows.length),
        counts: Counts::default(),
        last_line: 0,
    };
    let ended = batch.send_all(opening, &mut rows, target);
    batch.bar.finish_and_clear();
    if let Err(Failure::Stopped) = ended {
        batch.tell_stopped(batch.last_line + 1, None)?;
    }
    let summed = batch.sum_up();
    let code = ended?;
    summed?;
    Ok(code)
}

fn format_of(file: &Path) -> Format {
    let ending = file.extension().unwrap_or_default().to_ascii_lowercase();
    if ["json", "jsonl", "ndjson"]
        .iter()
        .any(|json| ending == *json)
    {
        Format::JsonLines
    } else {
        Format::Csv
    }
}

/// Where rows go.
enum Target {
    Portal(Client),
    /// With the portal of rows that name none.
    Store(Provider, String),
}

impl Target {
    /// Where the rows of a batch go whose first one this is.
    fn of(first: &Fields, opening: &Opening<'_>) -> Result<Self, Error> {
        if first.member_id.is_empty() {
            Ok(Self::Portal(opening.direct_client()?))
        } else {
            Ok(Self::Store(opening.provider()?, String::new()))
        }
    }

    fn most(&self) -> usize {
        match self {
            Self::Portal(_) => SLICE,
            Self::Store(..) => SLICE_OF_RECEIPTS,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Portal(_) => "applied",
            Self::Store(..) => "stored",
        }
    }

    fn check(&self, fields: &Fields) -> Result<(), Error> {
        let wrong = match self {
            Self::Portal(_) if !fields.member_id.is_empty() => {
                "it has a member_id, but the first row had none: give all rows one, or none"
            }
            Self::Store(_, member_id) if member_id.is_empty() && fields.member_id.is_empty() => {
                "it has no member_id: give it one, or give --member-id"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidArgument, wrong))
    }

    fn send(&self, rows: &[&Fields], stop: &Stop) -> Vec<Result<(), Error>> {
        match self {
            Self::Portal(client) => send_to_portal(client, rows, stop),
            Self::Store(provider, member_id) => {
                provider.report_many(rows.iter().map(|row| receipt(row, member_id)))
            }
        }
    }
}

fn receipt(row: &Fields, member_id: &str) -> Receipt {
    let member_id = if row.member_id.is_empty() {
        member_id
    } else {
        &row.member_id
    };
    let receipt = Receipt::new(
        member_id,
        row.code.as_str(),
        row.message_id.as_str(),
        &row.status,
    );
    match row.at {
        Some(at) => receipt.at(at),
        None => receipt,
    }
}

/// Sends rows, and again those that may get through later, as long as some do.
fn send_to_portal(client: &Client, rows: &[&Fields], stop: &Stop) -> Vec<Result<(), Error>> {
    let update =
        |row: &&Fields| Update::new(row.code.as_str(), row.message_id.as_str(), &row.status);
    let mut outcomes = client.message_status_update_batch(rows.iter().map(update));
    let mut tries = 0;
    loop {
        let again: Vec<(usize, Duration)> = (0..)
            .zip(&outcomes)
            .filter_map(|(at, outcome)| {
                let error = outcome
                    .as_ref()
                    .err()
                    .filter(|error| error.is_retryable())?;
                Some((at, error.retry_after().unwrap_or(PAUSE)))
            })
            .collect();
        let Some(pause) = again.iter().map(|(_, wait)| *wait).max() else {
            return outcomes;
        };
        if tries == TRIES || pause > LONGEST_PAUSE || stop.wait(pause) {
            return outcomes;
        }
        log::info!(target: LOG, "{} rows are sent again", again.len());
        let updates = again.iter().filter_map(|(at, _)| rows.get(*at)).map(update);
        let mut got_through = false;
        for ((at, _), outcome) in again
            .iter()
            .zip(client.message_status_update_batch(updates))
        {
            got_through |= outcome.is_ok();
            if let Some(former) = outcomes.get_mut(*at) {
                *former = outcome;
            }
        }
        tries = if got_through { 0 } else { tries + 1 };
    }
}

/// Whether the fault is not one of the row, so that no other row would get through.
fn concerns_all(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::MessageNotFound | ErrorKind::Portal
    )
}

#[derive(Default)]
struct Counts {
    done: u64,
    failed: u64,
    /// How many of those that failed may be given again.
    again: u64,
    verb: Option<&'static str>,
}

impl Counts {
    fn verb(&self) -> &'static str {
        self.verb.unwrap_or("applied")
    }
}

struct Batch<'a> {
    stop: &'a Stop,
    output: Output,
    as_json: bool,
    bar: ProgressBar,
    counts: Counts,
    /// The last line that was sent, or had a fault of its own.
    last_line: u64,
}

impl Batch<'_> {
    fn send_all(
        &mut self,
        opening: &Opening<'_>,
        rows: &mut Rows,
        mut target: Option<Target>,
    ) -> Result<u8, Failure> {
        loop {
            // The first row says where rows go.
            let most = target.as_ref().map_or(1, Target::most);
            let (mut slice, failure) = match rows.slice(most, self.stop) {
                Ok(slice) if slice.is_empty() => break,
                Ok(slice) => (slice, None),
                Err((slice, failure)) => (slice, Some(failure)),
            };
            let Some(target) = &target else {
                if let Some(row) = slice.pop() {
                    match &row.fields {
                        Ok(fields) => {
                            target = Some(Target::of(fields, opening)?);
                            rows.put_back(row);
                        }
                        Err(why) => self.failed(row.line, None, &unreadable(why))?,
                    }
                }
                failure.map_or(Ok(()), Err)?;
                continue;
            };
            self.counts.verb = Some(target.verb());
            self.send(target, &slice)?;
            failure.map_or(Ok(()), Err)?;
        }
        Ok(match &self.counts {
            Counts { failed: 0, .. } => exit::OK,
            Counts { failed, again, .. } if failed == again => exit::AGAIN,
            _ => exit::SOME,
        })
    }

    fn send(&mut self, target: &Target, slice: &[Row]) -> Result<(), Failure> {
        if self.stop.is_requested() {
            return Err(Failure::Stopped);
        }
        let mut sent = Vec::new();
        if let Some(last) = slice.last() {
            self.last_line = last.line;
        }
        for row in slice {
            match &row.fields {
                Ok(fields) => match target.check(fields) {
                    Ok(()) => sent.push((row.line, fields)),
                    Err(error) => self.failed(row.line, Some(fields), &error)?,
                },
                Err(why) => self.failed(row.line, None, &unreadable(why))?,
            }
        }
        let fields: Vec<_> = sent.iter().map(|(_, fields)| *fields).collect();
        let outcomes = target.send(&fields, self.stop);
        // Rows with faults of their own, which were not sent, say nothing about the others.
        let got_none = outcomes.iter().all(|outcome| {
            outcome.as_ref().is_err_and(|error| {
                concerns_all(error) || error.kind() == ErrorKind::InvalidArgument
            })
        });
        let first = sent.iter().zip(&outcomes).find_map(|((line, _), outcome)| {
            let error = outcome.as_ref().err().filter(|error| concerns_all(error))?;
            Some((*line, error))
        });
        if let (true, Some((stopped_at, error))) = (got_none, first) {
            for ((line, fields), outcome) in sent.iter().zip(&outcomes) {
                match outcome {
                    Err(error) if *line < stopped_at => self.failed(*line, Some(fields), error)?,
                    _ => {}
                }
            }
            self.tell_stopped(stopped_at, Some(error))?;
            return Err(error.clone().into());
        }
        for ((line, fields), outcome) in sent.iter().zip(&outcomes) {
            match outcome {
                Ok(()) => self.counts.done += 1,
                Err(error) => self.failed(*line, Some(fields), error)?,
            }
        }
        self.output.flush()?;
        self.show(slice);
        if self.stop.is_cancelled() {
            Err(Failure::Stopped)
        } else {
            Ok(())
        }
    }

    /// Says where to go on.
    fn tell_stopped(&mut self, line: u64, error: Option<&Error>) -> Result<(), Failure> {
        let verb = self.counts.verb();
        self.tell(&format!("stopped: nothing from line {line} on was {verb}"));
        if self.as_json {
            let error = error.map(error_json);
            self.output
                .json(&json!({"stopped_at_line": line, "error": error}))?;
        }
        Ok(())
    }

    fn failed(&mut self, line: u64, fields: Option<&Fields>, error: &Error) -> Result<(), Failure> {
        self.counts.failed += 1;
        self.counts.again += u64::from(error.is_retryable());
        if self.as_json {
            let mut object = json!({"line": line, "error": error_json(error)});
            if let (Some(fields), Some(object)) = (fields, object.as_object_mut()) {
                for (name, value) in [
                    ("member_id", &fields.member_id),
                    ("code", &fields.code),
                    ("message_id", &fields.message_id),
                    ("status", &fields.status),
                ] {
                    object.insert(name.to_owned(), value.as_str().into());
                }
            }
            return self.output.json(&object);
        }
        let kind = error.kind().name();
        self.tell(&match fields {
            Some(fields) => format!(
                "line {line}: {} {} {}: {kind}: {error}",
                fields.code, fields.message_id, fields.status
            ),
            None => format!("line {line}: {kind}: {error}"),
        });
        Ok(())
    }

    /// Writes a line to standard error, above the bar if there is one.
    fn tell(&self, text: &str) {
        self.bar.suspend(|| output::say(text));
    }

    fn show(&self, slice: &[Row]) {
        let (Counts { done, failed, .. }, verb) = (&self.counts, self.counts.verb());
        self.bar
            .set_message(format!("{done} {verb}, {failed} failed"));
        if self.bar.length().is_none() {
            self.bar.tick();
        } else if let Some(last) = slice.last() {
            self.bar.set_position(last.end);
        }
    }

    fn sum_up(&mut self) -> Result<(), Failure> {
        let (Counts { done, failed, .. }, verb) = (&self.counts, self.counts.verb());
        if self.as_json {
            let counts = json!({"done": done, "failed": failed});
            self.output.json(&counts)?;
        } else {
            let text = format!("{done} {verb}, {failed} failed");
            self.output.line(&text)?;
        }
        self.output.flush()
    }
}

fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the row cannot be read: {why}"),
    )
}

/// A bar over the bytes of a file, or a line with counts for what has no known length. Hidden unless
/// standard error is a terminal.
fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:30} {percent}%  {msg}  {eta} left",
        ),
        None => (ProgressBar::no_length(), "{msg}  {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("#> "));
    }
    bar
}
