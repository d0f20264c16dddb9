//! Batches: up to 50 updates in one request, each with an outcome of its own.
//!
//! There may be a million of them. So an update costs a few bytes here, the deadline is looked at
//! all the time, and what others wait for is done in slices.

use crate::answer::read_batch;
use crate::client::Inner;
use crate::fault::{Fault, Repeat};
use crate::order::Ticket;
use crate::run::{Method, Run, Settled};
use crate::single;
use crate::status::{Checked, Update};
use crate::{Error, ErrorKind};
use serde::Serialize;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the portal takes in one request.
const MAX_COMMANDS: usize = 50;
/// How many updates take their places in the order at one time.
const SLICE: usize = 10_000;

type Outcome = Result<(), Error>;

/// Sends all updates and tells the outcome of each, in their order.
///
/// Of several updates for one message only the last is sent, and its outcome is theirs: the portal
/// keeps what arrives last, and a repeated earlier one must not arrive after it.
pub(crate) fn update(client: &Arc<Inner>, updates: &[&Update]) -> Vec<Outcome> {
    if updates.is_empty() {
        return Vec::new();
    }
    // First of all, as the deadline counts from here.
    let run = match Run::begin(client) {
        Ok(run) => run,
        Err(error) => {
            let refused = |update: &&Update| update.check().and(Err(error.clone()));
            return updates.iter().map(refused).collect();
        }
    };
    let mut sending = Sending {
        run,
        updates,
        outcomes: Outcomes::new(updates.len()),
        given_up: None,
    };
    let plan = sending.plan();
    for slice in plan.sent.chunks(SLICE) {
        sending.send_slice(slice);
    }
    for (at, last) in plan.earlier {
        sending.outcomes.copy(last, at);
    }
    sending.outcomes.all
}

/// Which updates are sent, by their places.
#[derive(Default)]
struct Plan {
    /// The last of each message, in their order.
    sent: Vec<usize>,
    /// The others, each with the last of its message.
    earlier: Vec<(usize, usize)>,
}

/// What became of the updates, by their places.
struct Outcomes {
    all: Vec<Outcome>,
    /// Errors that came up lately: equal ones are kept once.
    errors: Vec<Error>,
}

impl Outcomes {
    const MANY: usize = 8;

    fn new(count: usize) -> Self {
        let none = Error::new(ErrorKind::Internal, "an update has no outcome");
        Self {
            all: vec![Err(none); count],
            errors: Vec::new(),
        }
    }

    fn set(&mut self, at: usize, outcome: Outcome) {
        let outcome = outcome.map_err(|error| self.shared(error));
        if let Some(place) = self.all.get_mut(at) {
            *place = outcome;
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
        if self.errors.len() >= Self::MANY {
            self.errors.remove(0);
        }
        self.errors.push(error.clone());
        error
    }
}

/// What travels together: a full request, or an update that must travel alone. Each update is there
/// with its place.
enum Parcel<'a> {
    Batch(Vec<(usize, Checked<'a>)>),
    Alone(usize, Checked<'a>),
}

impl<'a> Parcel<'a> {
    fn pack(updates: impl Iterator<Item = (usize, Checked<'a>)>) -> Vec<Self> {
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

    fn updates(&self) -> Vec<(usize, Checked<'a>)> {
        match self {
            Self::Batch(updates) => updates.clone(),
            Self::Alone(at, update) => vec![(*at, *update)],
        }
    }
}

/// Whether the portal might take a part of the id for a reference to what another command came to.
/// It does so only in batches, so that such an id has to travel alone.
fn has_reference(message_id: &str) -> bool {
    const NAMES: [&str; 5] = ["result", "next", "total", "time", "error"];
    message_id.split('$').skip(1).any(|after| {
        NAMES.iter().any(|name| {
            let word = after.get(..name.len());
            word.is_some_and(|word| word.eq_ignore_ascii_case(name))
        })
    })
}

/// A batch under way: the requests of one call, one after the other.
struct Sending<'c, 'u> {
    run: Run<'c>,
    updates: &'u [&'u Update],
    outcomes: Outcomes,
    /// Why the requests that follow are not made: they would only be refused for the same reason.
    given_up: Option<Error>,
}

/// An update, and what went wrong with it.
type Failed<'a> = ((usize, Checked<'a>), Fault);

impl<'u> Sending<'_, 'u> {
    /// Checks the updates, the last first. If the call has to end meanwhile, nothing will be sent.
    fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut last = HashMap::with_capacity(self.updates.len());
        for (done, (at, update)) in self.updates.iter().enumerate().rev().enumerate() {
            if done % SLICE == SLICE - 1
                && let Err(stop) = self.run.call.check()
            {
                let error = stop.error("checking the updates");
                (0..=at).for_each(|at| self.outcomes.set(at, Err(error.clone())));
                self.given_up = Some(error);
                break;
            }
            match update.check() {
                Err(error) => self.outcomes.set(at, Err(error)),
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

    /// Queues up for the updates of these places, and sends them.
    fn send_slice(&mut self, places: &[usize]) {
        if self.given_up.is_none() && self.updates.len() > SLICE {
            self.given_up = self.stopped();
        }
        if let Some(error) = &self.given_up {
            for at in places {
                self.outcomes.set(*at, Err(error.clone()));
            }
            return;
        }
        let updates = self.updates;
        let parcels = Parcel::pack(places.iter().filter_map(|at| {
            let update: &'u Update = updates.get(*at)?;
            Some((*at, update.check().ok()?))
        }));
        let client = self.run.client;
        let process = Arc::clone(&self.run.call.process);
        let keys = parcels.iter().map(|parcel| {
            let updates = parcel.updates().into_iter();
            updates
                .map(|(_, update)| single::turn_key(client, &process, update))
                .collect()
        });
        let turns = process.order.queue_up_all(keys.collect());
        for (parcel, turn) in parcels.iter().zip(turns) {
            self.send(parcel, &turn);
        }
    }

    /// Why the call has to end, if it has to. A signal that came while nothing was waited for has
    /// ended no wait, so it is asked for.
    fn stopped(&self) -> Option<Error> {
        self.run.call.interrupted();
        let stop = self.run.call.check().err()?;
        Some(stop.error("between two requests of a batch"))
    }

    fn fail(&mut self, updates: &[(usize, Checked<'_>)], error: &Error) {
        for (at, _) in updates {
            self.outcomes.set(*at, Err(error.clone()));
        }
    }

    fn send(&mut self, parcel: &Parcel<'_>, turn: &Ticket<'_>) {
        if self.given_up.is_none()
            && let Err(stop) = turn.wait(&self.run.call)
        {
            self.given_up = Some(stop.error("waiting for earlier updates of the same messages"));
        }
        if let Some(error) = self.given_up.clone() {
            self.fail(&parcel.updates(), &error);
            return;
        }
        self.run.next_request();
        match parcel {
            Parcel::Alone(at, update) => {
                let outcome = single::post(&mut self.run, *update);
                self.outcomes.set(*at, outcome);
            }
            Parcel::Batch(updates) => self.send_batch(updates.clone()),
        }
    }

    /// Sends one request, and again what of it may be repeated, until each update has its outcome.
    fn send_batch(&mut self, mut pending: Vec<(usize, Checked<'_>)>) {
        while !pending.is_empty() {
            let commands: BTreeMap<String, String> = pending
                .iter()
                .enumerate()
                .map(|(index, (_, update))| (format!("u{index:02}"), command(update)))
                .collect();
            let keys: Vec<String> = commands.keys().cloned().collect();
            let answer = self.run.post(
                Method::Batch,
                |body, token| write_body(body, &commands, token),
                |answer, source| read_batch(answer, source, &keys),
            );
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.fail(&pending, &error);
                    self.given_up = Some(error).filter(refuses_all);
                    return;
                }
            };
            self.run.note_operating(answer.operating);
            let mut faults = Vec::new();
            for (update, outcome) in pending.into_iter().zip(answer.commands) {
                match outcome {
                    Ok(()) => self.outcomes.set(update.0, Ok(())),
                    Err(fault) => faults.push((update, fault)),
                }
            }
            pending = self.mend(faults);
        }
    }

    /// Does what can be done about the faults of some commands, once for each sort of fault: gives
    /// the updates that may be repeated now. The others have their outcome.
    fn mend<'a>(&mut self, mut faults: Vec<Failed<'a>>) -> Vec<(usize, Checked<'a>)> {
        let mut again = Vec::new();
        while let Some((_, first)) = faults.first() {
            let sort = first.repeat.clone();
            let settled = self.run.settle(first);
            let these: Vec<Failed<'a>>;
            (these, faults) = faults.into_iter().partition(|(_, f)| f.repeat == sort);
            match settled {
                Settled::Fail(error) => {
                    let wait = error.retry_after();
                    for ((at, _), fault) in these {
                        let error = fault.error.with_retry_after(wait);
                        self.outcomes.set(at, Err(error));
                    }
                    if !matches!(sort, Repeat::Never | Repeat::Later) {
                        self.given_up = Some(error);
                    }
                }
                settled => match self.run.carry_out(settled) {
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

/// Whether a request that failed as a whole failed for a reason that holds for the next as well.
fn refuses_all(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Transport | ErrorKind::Protocol | ErrorKind::Portal
    )
}

/// A command as the portal's PHP reads it: encoded once.
pub(crate) fn command(update: &Checked<'_>) -> String {
    let mut command = format!("{}?CODE=", Method::Update.name());
    percent_encode(update.code, &mut command);
    command.push_str("&MESSAGE_ID=");
    percent_encode(update.message_id, &mut command);
    command.push_str("&STATUS=");
    command.push_str(update.status.as_str());
    command
}

fn write_body(
    body: &mut Vec<u8>,
    commands: &BTreeMap<String, String>,
    token: &str,
) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        halt: u8,
        cmd: &'a BTreeMap<String, String>,
        auth: &'a str,
    }
    let content = Body {
        halt: 0,
        cmd: commands,
        auth: token,
    };
    serde_json::to_writer(body, &content).map_err(|e| single::unwritable(&e))
}

/// Encodes everything that is not unreserved in a URL.
pub(crate) fn percent_encode(text: &str, into: &mut String) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(byte.into());
        } else {
            into.push('%');
            for digit in [byte >> 4, byte & 15] {
                into.extend(DIGITS.get(usize::from(digit)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Config};
    use b24_portal::{Portal, Settings, php};
    use proptest::prelude::*;

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
            ids.retain(|id| Checked::new("provider1", id, "sent").is_ok());
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
            prop_assert_eq!(method, Method::Update.name());
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
