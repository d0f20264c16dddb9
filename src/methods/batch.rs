//! Batches: up to 50 updates in one request, each with an outcome of its own.
//!
//! There may be a million of them. So an update takes only a few bytes here, the deadline is
//! checked all the time, and work under a lock is done in slices.

use super::status_update::{self, turn_key};
use crate::engine::installation::Installation;
use crate::engine::method::{Method, Request, write_json};
use crate::engine::operation::{Decision, Operation};
use crate::process::cancellation::Limits;
use crate::process::keyed_queue::{Turn, queues};
use crate::protocol::error_table::{AttemptError, RetryAction, unreadable};
use crate::protocol::form::percent_encode;
use crate::protocol::response::{Operating, Response, Source, Time, read};
use crate::values::error::{Error, ErrorKind};
use crate::values::status::{Update, ValidUpdate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Its commands are updates, which may be sent again and have a time budget of their own.
pub(crate) static METHOD: Method = Method {
    path: "/rest/batch",
    idempotent: true,
    budget: status_update::NAME,
    codes: status_update::CODES,
    after_timeout: "send the updates again, which is harmless if they were stored already",
};

/// How many commands the portal accepts in one request.
pub(crate) const MAX_COMMANDS: usize = 50;
/// How many updates take their turns at once.
const SLICE: usize = 10_000;

type Outcome = Result<(), Error>;

/// What became of one update.
#[cfg_attr(
    not(feature = "provider"),
    allow(dead_code, reason = "only the provider needs more than the outcome")
)]
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) outcome: Outcome,
    /// Whether the portal may still execute an attempt of it: one whose answer did not come, or did
    /// not say whether it was executed. A later attempt may have succeeded.
    pub(crate) may_still_run: bool,
    /// Whether the outcome is that of the whole request, and says nothing about the update.
    pub(crate) of_request: bool,
}

/// Sends all updates, and returns what became of each, in their order.
#[cfg(feature = "provider")]
pub(crate) fn send(installation: &Arc<Installation>, updates: &[&Update]) -> Vec<Fate> {
    fates(installation, &Limits::default(), updates)
}

/// Sends all updates and returns the outcome of each, in their order.
///
/// Of several updates for one message only the last is sent, and all get its outcome. The portal
/// keeps what arrives last, and an earlier one that is sent again must not arrive after it.
pub(crate) fn update(
    installation: &Arc<Installation>,
    limits: &Limits,
    updates: &[&Update],
) -> Vec<Outcome> {
    let fates = fates(installation, limits, updates).into_iter();
    fates.map(|fate| fate.outcome).collect()
}

fn fates(installation: &Arc<Installation>, limits: &Limits, updates: &[&Update]) -> Vec<Fate> {
    if updates.is_empty() {
        return Vec::new();
    }
    // First, because the deadline counts from here.
    let operation = match Operation::begin(installation, limits, &METHOD) {
        Ok(operation) => operation,
        Err(error) => {
            let refused = |update: &&Update| Fate {
                outcome: update.check().and(Err(error.clone())),
                may_still_run: false,
                of_request: true,
            };
            return updates.iter().map(refused).collect();
        }
    };
    let mut batch = BatchOperation {
        operation,
        updates,
        outcomes: Outcomes::new(updates.len()),
        given_up: None,
    };
    let plan = batch.plan();
    for slice in plan.sent.chunks(SLICE) {
        batch.send_slice(slice);
    }
    for (at, last) in plan.earlier {
        batch.outcomes.copy(last, at);
    }
    batch.outcomes.all
}

/// Which updates are sent, by their positions.
#[derive(Default)]
struct Plan {
    /// The last update of each message, in their order.
    sent: Vec<usize>,
    /// The others, each with the last update of its message.
    earlier: Vec<(usize, usize)>,
}

/// The outcomes of the updates, by their positions.
struct Outcomes {
    all: Vec<Fate>,
    /// The latest errors: equal ones are kept once.
    errors: Vec<Error>,
}

impl Outcomes {
    const MAX_ENTRIES: usize = 8;

    fn new(count: usize) -> Self {
        let none = Error::new(ErrorKind::Internal, "an update has no outcome");
        Self {
            all: vec![
                Fate {
                    outcome: Err(none),
                    may_still_run: false,
                    of_request: true,
                };
                count
            ],
            errors: Vec::new(),
        }
    }

    /// Sets the outcome of an update itself.
    fn set(&mut self, at: usize, outcome: Outcome, may_still_run: bool) {
        let outcome = outcome.map_err(|error| self.shared(error));
        if let Some(place) = self.all.get_mut(at) {
            *place = Fate {
                outcome,
                may_still_run,
                of_request: false,
            };
        }
    }

    /// Sets the error of a request as the outcome of one of its updates.
    fn fail(&mut self, at: usize, error: &Error, may_still_run: bool) {
        self.set(at, Err(error.clone()), may_still_run);
        if let Some(place) = self.all.get_mut(at) {
            place.of_request = true;
        }
    }

    fn copy(&mut self, from: usize, to: usize) {
        if let Some(outcome) = self.all.get(from).cloned()
            && let Some(place) = self.all.get_mut(to)
        {
            *place = outcome;
        }
    }

    fn shared(&mut self, error: Error) -> Error {
        if let Some(known) = self.errors.iter().find(|known| **known == error) {
            return known.clone();
        }
        if self.errors.len() >= Self::MAX_ENTRIES {
            self.errors.remove(0);
        }
        self.errors.push(error.clone());
        error
    }
}

/// The updates that are sent together, each with its position: a full request, or one update that
/// must be sent alone.
enum Chunk<'a> {
    Batch(Vec<(usize, ValidUpdate<'a>)>),
    Alone(usize, ValidUpdate<'a>),
}

impl<'a> Chunk<'a> {
    fn pack(updates: impl Iterator<Item = (usize, ValidUpdate<'a>)>) -> Vec<Self> {
        let (alone, together): (Vec<_>, Vec<_>) =
            updates.partition(|(_, update)| has_reference(update.message_id));
        together
            .chunks(MAX_COMMANDS)
            .map(|chunk| Self::Batch(chunk.to_vec()))
            .chain(
                alone
                    .into_iter()
                    .map(|(at, update)| Self::Alone(at, update)),
            )
            .collect()
    }

    fn updates(&self) -> Vec<(usize, ValidUpdate<'a>)> {
        match self {
            Self::Batch(updates) => updates.clone(),
            Self::Alone(at, update) => vec![(*at, *update)],
        }
    }
}

/// Whether the portal might take a part of the id for a reference to the result of another command.
/// It does so only in batches, so such an id is sent alone.
pub(crate) fn has_reference(message_id: &str) -> bool {
    const NAMES: [&str; 5] = ["result", "next", "total", "time", "error"];
    message_id.split('$').skip(1).any(|after| {
        NAMES.iter().any(|name| {
            let word = after.get(..name.len());
            word.is_some_and(|word| word.eq_ignore_ascii_case(name))
        })
    })
}

/// A batch under way: the requests of one call, one after the other.
struct BatchOperation<'c, 'u> {
    operation: Operation<'c>,
    updates: &'u [&'u Update],
    outcomes: Outcomes,
    /// Why the remaining requests are not sent: they would be refused for the same reason.
    given_up: Option<Error>,
}

/// An update, and what went wrong with it.
type FailedUpdate<'a> = ((usize, ValidUpdate<'a>), AttemptError);

impl<'u> BatchOperation<'_, 'u> {
    /// Checks the updates, beginning with the last. If the call has to end in the meantime, nothing
    /// is sent.
    fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut last = HashMap::with_capacity(self.updates.len());
        for (done, (at, update)) in self.updates.iter().enumerate().rev().enumerate() {
            if done % SLICE == SLICE - 1
                && let Err(interrupt) = self.operation.call.check()
            {
                let error = self.operation.call.error(interrupt, "checking the updates");
                (0..=at).for_each(|at| self.outcomes.fail(at, &error, false));
                self.given_up = Some(error);
                break;
            }
            match update.check() {
                Err(error) => self.outcomes.set(at, Err(error), false),
                Ok(_) => match last.entry(update.message()) {
                    Entry::Occupied(last) => plan.earlier.push((at, *last.get())),
                    Entry::Vacant(place) => {
                        place.insert(at);
                        plan.sent.push(at);
                    }
                },
            }
        }
        plan.sent.reverse();
        plan
    }

    /// Waits for the turns of the updates at these positions, and sends them.
    fn send_slice(&mut self, places: &[usize]) {
        if self.given_up.is_none() && self.updates.len() > SLICE {
            self.given_up = self.stopped();
        }
        if let Some(error) = &self.given_up {
            for at in places {
                self.outcomes.fail(*at, error, false);
            }
            return;
        }
        let updates = self.updates;
        let chunks = Chunk::pack(places.iter().filter_map(|at| {
            let update: &'u Update = updates.get(*at)?;
            Some((*at, update.check().ok()?))
        }));
        let installation = self.operation.installation;
        let queues = queues(&self.operation.process);
        let keys = chunks.iter().map(|chunk| {
            let updates = chunk.updates().into_iter();
            updates
                .map(|(_, update)| turn_key(installation, &queues, update))
                .collect()
        });
        let turns = queues.queue_up_all(keys.collect());
        for (chunk, turn) in chunks.iter().zip(turns) {
            self.send(chunk, &turn);
        }
    }

    /// Why the call has to end, if it has to. A signal that came between two waits has ended none,
    /// so this checks for it.
    fn stopped(&self) -> Option<Error> {
        self.operation.call.interrupted();
        let interrupt = self.operation.call.check().err()?;
        let doing = "between two requests of a batch";
        Some(self.operation.call.error(interrupt, doing))
    }

    fn fail(&mut self, updates: &[(usize, ValidUpdate<'_>)], error: &Error) {
        let may_still_run = self.operation.may_have_run();
        for (at, _) in updates {
            self.outcomes.fail(*at, error, may_still_run);
        }
    }

    fn send(&mut self, chunk: &Chunk<'_>, turn: &Turn<'_>) {
        if self.given_up.is_none()
            && let Err(interrupt) = turn.wait(&self.operation.call)
        {
            let doing = "waiting for earlier updates of the same messages";
            self.given_up = Some(self.operation.call.error(interrupt, doing));
        }
        self.operation.next_request();
        if let Some(error) = self.given_up.clone() {
            self.fail(&chunk.updates(), &error);
            return;
        }
        match chunk {
            Chunk::Alone(at, update) => {
                let outcome = self.operation.post(update);
                let may_still_run = self.operation.may_have_run();
                match outcome {
                    Err(error) if !is_of_update(&error) => {
                        self.outcomes.fail(*at, &error, may_still_run);
                    }
                    outcome => self.outcomes.set(*at, outcome, may_still_run),
                }
            }
            Chunk::Batch(updates) => self.send_batch(updates.clone()),
        }
    }

    /// Sends one request, and sends again what may be repeated, until each update has its outcome.
    fn send_batch(&mut self, mut pending: Vec<(usize, ValidUpdate<'_>)>) {
        while !pending.is_empty() {
            let commands = pending
                .iter()
                .enumerate()
                .map(|(index, (_, update))| (format!("u{index:02}"), command(update)))
                .collect();
            let outcomes = match self.operation.post(&Batch { commands }) {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    self.fail(&pending, &error);
                    self.given_up = Some(error).filter(refuses_all);
                    return;
                }
            };
            let mut failed: Vec<FailedUpdate<'_>> = Vec::new();
            for (update, outcome) in pending.into_iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {
                        let may_still_run = self.operation.may_have_run();
                        self.outcomes.set(update.0, Ok(()), may_still_run);
                    }
                    Err(error) => failed.push((update, error)),
                }
            }
            // The answer says that a command failed, and for some not whether before or after.
            if failed.iter().any(|(_, error)| error.may_have_run) {
                self.operation.note_may_have_run();
            }
            pending = self.retry_failed(failed);
        }
    }

    /// Handles the commands that failed, each kind of action once. Returns the updates that may be
    /// sent again now; the others have their outcome.
    fn retry_failed<'a>(
        &mut self,
        mut failed: Vec<FailedUpdate<'a>>,
    ) -> Vec<(usize, ValidUpdate<'a>)> {
        let mut again = Vec::new();
        while let Some((_, first)) = failed.first() {
            let action = first.action.clone();
            let decision = self.operation.decide(&METHOD, first);
            let these: Vec<FailedUpdate<'a>>;
            (these, failed) = failed
                .into_iter()
                .partition(|(_, error)| error.action == action);
            match decision {
                Decision::Fail(error) | Decision::FailUnknown(error) => {
                    let wait = error.retry_after();
                    for ((at, _), failed) in these {
                        let error = failed.error.with_retry_after(wait);
                        let may_still_run = self.operation.may_have_run();
                        self.outcomes.set(at, Err(error), may_still_run);
                    }
                    if !matches!(action, RetryAction::Never | RetryAction::AfterBackoff) {
                        self.given_up = Some(error);
                    }
                }
                decision => match self.operation.execute(decision) {
                    Ok(()) => again.extend(these.into_iter().map(|(update, _)| update)),
                    Err(error) => {
                        let these: Vec<_> = these.into_iter().map(|(update, _)| update).collect();
                        self.fail(&these, &error);
                        self.given_up = Some(error);
                    }
                },
            }
        }
        again
    }
}

/// Whether the error of a single update says something about the update, and not only about the
/// request.
fn is_of_update(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::MessageNotFound | ErrorKind::InvalidArgument | ErrorKind::AccessDenied
    )
}

/// Whether a request failed as a whole for a reason that applies to the next one as well.
fn refuses_all(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Transport | ErrorKind::Protocol | ErrorKind::Portal
    )
}

/// A command as the portal's PHP reads it: encoded once.
pub(crate) fn command(update: &ValidUpdate<'_>) -> String {
    format!(
        "{}?CODE={}&MESSAGE_ID={}&STATUS={}",
        status_update::NAME,
        percent_encode(update.code),
        percent_encode(update.message_id),
        update.status,
    )
}

/// One request: commands by their keys.
pub(crate) struct Batch {
    pub(crate) commands: BTreeMap<String, String>,
}

impl Request for Batch {
    /// The outcomes of the commands, in their order.
    type Output = Vec<Result<(), AttemptError>>;

    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn write(&self, body: &mut Vec<u8>, token: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            halt: u8,
            cmd: &'a BTreeMap<String, String>,
            auth: &'a str,
        }
        let content = Body {
            halt: 0,
            cmd: &self.commands,
            auth: token,
        };
        write_json(body, &content)
    }

    fn read(
        &self,
        response: &Response,
        source: Source<'_>,
    ) -> Result<(Self::Output, Operating), AttemptError> {
        read(response, source, |envelope| {
            let result: BatchResult = envelope
                .result_as()
                .ok_or("an answer that is not that of a batch")?;
            let mut operating = Operating::default();
            let outcomes = self
                .commands
                .keys()
                .enumerate()
                .map(|(index, key)| {
                    let time = member(&result.result_time, key, index);
                    let told = Operating::new(time.and_then(|time| Time::deserialize(time).ok()));
                    if told.reset_in.is_some() {
                        operating = told;
                    }
                    command_outcome(&result, key, index, response, source)
                })
                .collect();
            if operating.reset_in.is_none() {
                operating = envelope.operating();
            }
            Ok((outcomes, operating))
        })
    }
}

#[derive(Deserialize)]
struct BatchResult {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    result_error: Value,
    #[serde(default)]
    result_time: Value,
}

fn command_outcome(
    result: &BatchResult,
    key: &str,
    index: usize,
    response: &Response,
    source: Source<'_>,
) -> Result<(), AttemptError> {
    if let Some(error) = member(&result.result_error, key, index).filter(|e| !e.is_null()) {
        let (code, description) = match error {
            Value::Object(error) => (error.get("error"), error.get("error_description")),
            plain => (Some(plain), None),
        };
        let code = code.map(plain_text).filter(|code| !code.is_empty());
        let description = description.map(plain_text).unwrap_or_default();
        let code = code.as_deref().unwrap_or("an error without a code");
        return Err(source.refusal(response, code, &description));
    }
    let unreadable = |what| unreadable(source.server, response.status, what, None);
    match member(&result.result, key, index) {
        Some(Value::Bool(true)) => Ok(()),
        Some(_) => Err(unreadable(
            "a batch in which this update's answer is neither true nor an error",
        )),
        None => Err(AttemptError {
            action: RetryAction::AfterBackoff,
            ..unreadable("a batch in which this update was not executed")
        }),
    }
}

/// A member of a map as PHP writes it: an object, or an array if the keys were 0, 1, 2….
fn member<'a>(map: &'a Value, key: &str, index: usize) -> Option<&'a Value> {
    match map {
        Value::Object(map) => map.get(key),
        Value::Array(list) => list.get(index),
        _ => None,
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Config};
    use b24_portal::{Portal, Settings, php};
    use proptest::prelude::*;

    const SOURCE: Source<'_> = Source {
        server: "https://portal.bitrix24.com",
        secrets: ["token-1", "", "secret-1"],
        codes: status_update::CODES,
    };

    fn response(body: &str) -> Response {
        Response {
            status: 200,
            location: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
            sent_before: false,
        }
    }

    #[test]
    fn a_batch_is_read_in_each_shape_that_php_writes() {
        let commands = ["u0", "u1"].map(|key| (key.to_owned(), String::new()));
        let batch = Batch {
            commands: commands.into(),
        };
        let outcomes = |result: &str| {
            let body = format!(r#"{{"result":{result}}}"#);
            let outcomes = batch.read(&response(&body), SOURCE).unwrap().0;
            let kind = |outcome: &Result<(), AttemptError>| {
                outcome.as_ref().err().map(|failed| failed.error.kind())
            };
            outcomes.iter().map(kind).collect::<Vec<_>>()
        };
        let not_found = Some(ErrorKind::MessageNotFound);
        let unread = Some(ErrorKind::Protocol);
        for (result, expected) in [
            (
                r#"{"result":{"u0":true,"u1":true},"result_error":[]}"#,
                [None, None],
            ),
            (r#"{"result":[true,true],"result_error":[]}"#, [None, None]),
            (
                r#"{"result":{"u0":true},"result_error":{"u1":{"error":"ERROR_MESSAGE_NOT_FOUND"}}}"#,
                [None, not_found],
            ),
            (
                r#"{"result":[],"result_error":{"u1":"ERROR_MESSAGE_NOT_FOUND"}}"#,
                [unread, not_found],
            ),
            (r#"{"result":{"u0":false,"u1":true}}"#, [unread, None]),
            (r"[]", [unread, unread]),
        ] {
            assert_eq!(outcomes(result), expected, "{result}");
        }
    }

    /// Ids in which all that means something to the portal in a batch is common.
    fn hostile_id() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            "\\$?(result|next|total|time|error|RESULT|Next|tOtal|TIME|Error)",
            r"(\[(u0[0-3]|start|error)\]){1,2}",
            "[$\\[\\] #&?=%+.;]",
            "\\PC{0,3}",
        ];
        proptest::collection::vec(word, 1..6).prop_map(|words| words.concat())
    }

    fn client_of(portal: &Portal) -> Client {
        Client::new(&config_of(portal)).unwrap()
    }

    /// Of a client of an emulator, over plain HTTP.
    fn config_of(portal: &Portal) -> Config {
        let mut config = Config::new();
        config
            .portal(&format!("http://127.0.0.1:{}", portal.http_port()))
            .access_token("access-0000000000000001")
            .allow_http(true)
            .rate_limit("off")
            .proxy("none");
        config
    }

    #[test]
    fn a_signal_between_the_slices_ends_the_call() {
        let portal = Portal::start(Settings::default()).unwrap();
        let mut config = config_of(&portal);
        config.on_interrupt(|| true);
        let client = Client::new(&config).unwrap();
        let updates = (0..=SLICE).map(|n| Update::new("provider1", n.to_string(), "sent"));
        let outcomes = client.message_status_update_batch(updates);
        assert_eq!(outcomes.len(), SLICE + 1);
        for (at, outcome) in outcomes.iter().enumerate() {
            let kind = outcome.as_ref().unwrap_err().kind();
            let zero = ErrorKind::InvalidArgument;
            assert_eq!(kind, if at == 0 { zero } else { ErrorKind::Cancelled });
        }
        assert_eq!(portal.seen().requests, 0);
    }

    #[test]
    fn the_last_status_stands_across_slices() {
        let portal = Portal::start(Settings::default()).unwrap();
        let client = client_of(&portal);
        let count = 2 * SLICE + 10;
        let updates = (0..count).map(|n| {
            let (id, status) = match n {
                5 => ("twice".to_owned(), "sent"),
                _ if n == count - 1 => ("twice".to_owned(), "delivered"),
                _ => (format!("m{n}"), "queued"),
            };
            Update::new("provider1", id, status)
        });
        let outcomes = client.message_status_update_batch(updates);
        assert_eq!(outcomes, vec![Ok(()); count]);
        let messages = portal.messages();
        let history = &messages["history"];
        assert_eq!(history["provider1|twice"], serde_json::json!(["delivered"]));
        assert_eq!(
            history.as_object().map_or(0, serde_json::Map::len),
            count - 1
        );
        assert_eq!(portal.seen().batches, count.div_ceil(MAX_COMMANDS) as u64);
    }

    #[test]
    fn a_batch_stores_every_id_byte_for_byte() {
        let portal = Portal::start(Settings::default()).unwrap();
        let client = client_of(&portal);
        let ids = proptest::collection::vec(hostile_id(), 1..8);
        proptest!(|(ids in ids)| {
            let mut ids = ids;
            ids.retain(|id| ValidUpdate::new("provider1", id, "sent").is_ok());
            portal.reset(Settings::default()).unwrap();
            let updates = ids.iter().map(|id| Update::new("provider1", id.as_str(), "sent"));
            for outcome in client.message_status_update_batch(updates) {
                prop_assert_eq!(outcome, Ok(()));
            }
            let messages = portal.messages();
            ids.sort();
            ids.dedup();
            for id in &ids {
                prop_assert_eq!(&messages[format!("provider1|{id}")], "sent", "{:?}", messages);
            }
            let history = messages["history"].as_object().map_or(0, serde_json::Map::len);
            prop_assert_eq!(history, ids.len(), "{:?}", messages);
        });
    }

    proptest! {
        /// PHP's own reading of a command, as the emulator has it from PHP's documentation, gives
        /// back every byte.
        #[test]
        fn php_reads_what_was_meant(
            code in "[A-Za-z0-9._-]{1,20}",
            message_id in "\\PC{1,128}",
            status in 0..5_usize,
        ) {
            let status = crate::Status::ALL[status];
            let update = Update::new(code.as_str(), message_id.as_str(), status);
            let Ok(checked) = update.check() else {
                return Ok(());
            };
            let command = command(&checked);
            let (method, query) = command.split_once('?').unwrap();
            prop_assert_eq!(method, status_update::NAME);
            let read = php::parse_str(query);
            prop_assert_eq!(read.len(), 3);
            for (name, text) in [
                ("CODE", code.as_str()),
                ("MESSAGE_ID", message_id.as_str()),
                ("STATUS", status.as_str()),
            ] {
                let value = read.get_any_case(name).and_then(php::Value::to_text);
                prop_assert_eq!(value.as_deref(), Some(text));
            }
        }
    }
}
