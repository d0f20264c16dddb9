//! Batches: up to 50 updates in one request, each with a fate of its own.

use crate::answer::read_batch;
use crate::client::Inner;
use crate::fault::{Fault, Repeat};
use crate::order::Ticket;
use crate::run::{Method, Run, Settled};
use crate::single;
use crate::status::{Checked, Update};
use crate::{Error, ErrorKind};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the portal takes in one request.
const MAX_COMMANDS: usize = 50;

type Fate = Result<(), Error>;

/// Sends all updates and tells the fate of each, in their order.
///
/// Of several updates for one message only the last is sent, and its fate is theirs: the portal
/// keeps what arrives last, and a repeated earlier one must not arrive after it.
pub(crate) fn update(client: &Arc<Inner>, updates: &[Update]) -> Vec<Fate> {
    let checked: Vec<_> = updates.iter().map(Update::check).collect();
    let mut last = HashMap::with_capacity(checked.len());
    for (index, update) in checked.iter().enumerate() {
        if let Ok(update) = update {
            last.insert((update.code, update.message_id), index);
        }
    }
    let mut sent: Vec<(usize, Checked<'_>)> = last
        .values()
        .filter_map(|index| Some((*index, *checked.get(*index)?.as_ref().ok()?)))
        .collect();
    sent.sort_unstable_by_key(|(index, _)| *index);

    let fates: HashMap<usize, Fate> = send(client, &sent).into_iter().collect();
    checked
        .into_iter()
        .map(|update| {
            let update = update?;
            last.get(&(update.code, update.message_id))
                .and_then(|index| fates.get(index).cloned())
                .unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "an update has no fate")))
        })
        .collect()
}

/// What travels together: a full request, or an update that must travel alone.
enum Parcel<'a> {
    Batch(Vec<(usize, Checked<'a>)>),
    Alone(usize, Checked<'a>),
}

impl<'a> Parcel<'a> {
    fn pack(updates: &[(usize, Checked<'a>)]) -> Vec<Self> {
        let (alone, together): (Vec<_>, Vec<_>) = updates
            .iter()
            .copied()
            .partition(|(_, update)| has_reference(update.message_id));
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

fn send(client: &Arc<Inner>, updates: &[(usize, Checked<'_>)]) -> Vec<(usize, Fate)> {
    let parcels = Parcel::pack(updates);
    if parcels.is_empty() {
        return Vec::new();
    }
    let run = match Run::begin(client) {
        Ok(run) => run,
        Err(error) => return failed(updates, &error).collect(),
    };
    let process = Arc::clone(&run.call.process);
    let key = |(_, update): (usize, Checked<'_>)| single::turn_key(client, &process, update);
    let turns = process.order.queue_up_all(
        parcels
            .iter()
            .map(|parcel| parcel.updates().into_iter().map(key)),
    );
    let mut sending = Sending {
        run,
        fates: Vec::with_capacity(updates.len()),
        given_up: None,
    };
    for (parcel, turn) in parcels.iter().zip(turns) {
        sending.send(parcel, &turn);
    }
    sending.fates
}

fn failed(updates: &[(usize, Checked<'_>)], error: &Error) -> impl Iterator<Item = (usize, Fate)> {
    updates.iter().map(|(at, _)| (*at, Err(error.clone())))
}

/// A batch under way: the requests of one call, one after the other.
struct Sending<'c> {
    run: Run<'c>,
    fates: Vec<(usize, Fate)>,
    /// Why the requests that follow are not made: they would only be refused for the same reason.
    given_up: Option<Error>,
}

/// An update, and what went wrong with it.
type Failed<'a> = ((usize, Checked<'a>), Fault);

impl Sending<'_> {
    fn send(&mut self, parcel: &Parcel<'_>, turn: &Ticket<'_>) {
        if self.given_up.is_none()
            && let Err(stop) = turn.wait(&self.run.call)
        {
            self.given_up = Some(stop.error("waiting for earlier updates of the same messages"));
        }
        if let Some(error) = &self.given_up {
            self.fates.extend(failed(&parcel.updates(), error));
            return;
        }
        self.run.next_request();
        match parcel {
            Parcel::Alone(at, update) => {
                let fate = single::post(&mut self.run, *update);
                self.fates.push((*at, fate));
            }
            Parcel::Batch(updates) => self.send_batch(updates.clone()),
        }
    }

    /// Sends one request, and again what of it may be repeated, until each update has its fate.
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
                    self.fates.extend(failed(&pending, &error));
                    self.given_up = Some(error).filter(refuses_all);
                    return;
                }
            };
            self.run.note_operating(answer.operating);
            let mut faults = Vec::new();
            for (update, outcome) in pending.into_iter().zip(answer.commands) {
                match outcome {
                    Ok(()) => self.fates.push((update.0, Ok(()))),
                    Err(fault) => faults.push((update, fault)),
                }
            }
            pending = self.mend(faults);
        }
    }

    /// Does what can be done about the faults of some commands, once for each sort of fault: gives
    /// the updates that may be repeated now. The others have met their fate.
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
                    self.fates.extend(
                        these
                            .into_iter()
                            .map(|((at, _), fault)| (at, Err(fault.error.with_retry_after(wait)))),
                    );
                    if !matches!(sort, Repeat::Never | Repeat::Later) {
                        self.given_up = Some(error);
                    }
                }
                settled => match self.run.carry_out(settled) {
                    Ok(()) => again.extend(these.into_iter().map(|(update, _)| update)),
                    Err(error) => {
                        let these: Vec<_> = these.into_iter().map(|(update, _)| update).collect();
                        self.fates.extend(failed(&these, &error));
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

    /// A client of an emulator, over plain HTTP.
    fn client_of(portal: &Portal) -> Client {
        let mut config = Config::new();
        config
            .portal(&format!("http://127.0.0.1:{}", portal.http_port()))
            .access_token("access-0000000000000001")
            .allow_http(true)
            .rate_limit("off")
            .proxy("none");
        Client::new(&config).unwrap()
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
