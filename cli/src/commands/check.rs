//! `check`: is all well, and if not, what is to be done.

use super::totals::Totals;
use crate::exit::{self, Failure};
use crate::opened::Opening;
use crate::output::{Output, plain};
use b24_messageservice::tables::{OPTIONS, OptionRow, UsedBy};
use b24_messageservice::{Client, Config, Error, ErrorKind, PortalState, Provider, probe};
use clap::ArgMatches;
use serde_json::json;

/// Tokens are valid for an hour, and the time until then is counted by this machine's clock.
const MOST_SECONDS_AHEAD: u64 = 30;

pub(super) fn run(opening: &Opening<'_>, matches: &ArgMatches) -> Result<u8, Failure> {
    let mut check = Check {
        opening,
        output: Output::new(),
        as_json: matches.get_flag("json"),
        failed: 0,
    };
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    check.all(text("member_id"), text("sender"))?;
    if opening.stop.is_cancelled() {
        return Err(Failure::Stopped);
    }
    Ok(if check.failed == 0 {
        exit::OK
    } else {
        exit::SOME
    })
}

/// How a point turned out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Well,
    Failed,
    Skipped,
}

struct Check<'a> {
    opening: &'a Opening<'a>,
    output: Output,
    as_json: bool,
    failed: u32,
}

impl Check<'_> {
    fn all(&mut self, member_id: Option<&str>, sender: Option<&str>) -> Result<(), Failure> {
        let options = self.opening.options;
        if options.has("store") || member_id.is_some() {
            self.store(member_id, sender)
        } else {
            self.portal(sender)
        }
    }

    /// A client of one portal, with the tokens of the options.
    fn portal(&mut self, sender: Option<&str>) -> Result<(), Failure> {
        let options = self.opening.options;
        let opened = options
            .config(UsedBy::Client, self.opening.stop)
            .and_then(|config| Ok((Client::new(&config)?, config)));
        let (client, config) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refused("options", &error),
        };
        self.well("options", "they are complete")?;
        let portal = options.get("portal").unwrap_or_default();
        if self.way("portal", &config, portal)? {
            self.token(&client, sender)?;
        } else {
            self.skipped("token", "the portal cannot be reached")?;
        }
        // It is needed for renewals only.
        if options.has("client_secret") {
            self.way("oauth", &config, oauth_url(options.get("oauth_url")))?;
        }
        Ok(())
    }

    /// A provider, and one of its portals.
    fn store(&mut self, member_id: Option<&str>, sender: Option<&str>) -> Result<(), Failure> {
        let options = self.opening.options;
        let opened = options
            .config(UsedBy::Provider, self.opening.stop)
            .and_then(|config| Ok((Provider::open(&config)?, config)));
        let (provider, config) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let text = error.message();
                let point = if text.starts_with("store_key_file") {
                    "keys"
                } else if text.starts_with("store") || error.kind() == ErrorKind::Storage {
                    "store"
                } else {
                    "options"
                };
                return self.refused(point, &error);
            }
        };
        self.well("options", "they are complete")?;
        if options.has("store_key_file") {
            self.well("keys", "they can be read")?;
        }
        let portals = match provider.inspect() {
            Ok(portals) => portals,
            Err(error) => return self.refused("store", &error),
        };
        let totals = Totals::of(&portals);
        self.well(
            "store",
            &format!(
                "{} portals, {} receipts waiting, {} refused",
                totals.portals, totals.waiting, totals.refused
            ),
        )?;
        self.portals(&portals)?;
        self.way("oauth", &config, oauth_url(options.get("oauth_url")))?;
        let Some(member_id) = member_id else {
            return self.skipped("token", "give --member-id to ask one of the portals");
        };
        let known = portals
            .iter()
            .find(|portal| portal.member_id == member_id)
            .map_or("", |portal| portal.client_endpoint.as_str());
        match provider.client(member_id) {
            Err(error) => self.refused("token", &error),
            Ok(client) => {
                if self.way("portal", &config, known)? {
                    self.token(&client, sender)
                } else {
                    self.skipped("token", "the portal cannot be reached")
                }
            }
        }
    }

    fn portals(&mut self, portals: &[PortalState]) -> Result<(), Failure> {
        let of_state = |state: &str| {
            let held = portals.iter().filter(|portal| portal.state == state);
            held.collect::<Vec<_>>()
        };
        let (held, waiting) = (of_state("held"), of_state("waiting"));
        let Some(first) = held.first() else {
            return self.well(
                "portals",
                &format!("none is held, {} wait after a failure", waiting.len()),
            );
        };
        let text = format!(
            "{} held, such as {}: {}; mend the cause or install again, then use resume; inspect lists them",
            held.len(),
            first.member_id,
            first.reason
        );
        self.point("portals", Outcome::Failed, &text)
    }

    /// The way to a server. Returns whether it ends there.
    fn way(&mut self, server: &str, config: &Config, address: &str) -> Result<bool, Failure> {
        let found = match probe(config, address) {
            Ok(found) => found,
            Err(error) => {
                self.refused(server, &error)?;
                return Ok(false);
            }
        };
        for step in &found.steps {
            let point = format!("{server} {}", step.name);
            match &step.outcome {
                Ok(text) => self.well(&point, text)?,
                Err(why) => {
                    let text = format!("{address}: {why}; {}", advice(step.name));
                    self.point(&point, Outcome::Failed, &text)?;
                    return Ok(false);
                }
            }
        }
        let point = format!("{server} clock");
        match found.clock_ahead {
            None => self.skipped(&point, "the server does not tell its time")?,
            Some(ahead) if ahead.unsigned_abs() <= MOST_SECONDS_AHEAD => {
                self.well(&point, &format!("{ahead} s apart"))?;
            }
            Some(ahead) => {
                let which = if ahead > 0 { "behind" } else { "ahead of" };
                let text = format!(
                    "this machine's clock is {} s {which} the server's: set it, and let it be kept right (NTP)",
                    ahead.unsigned_abs()
                );
                self.point(&point, Outcome::Failed, &text)?;
            }
        }
        Ok(true)
    }

    fn token(&mut self, client: &Client, sender: Option<&str>) -> Result<(), Failure> {
        let senders = match client.sender_list() {
            Ok(senders) => senders,
            Err(error) if error.kind() == ErrorKind::AccessDenied => {
                self.well("token", "the portal knows it")?;
                return self.refused("scope", &error);
            }
            Err(error) => return self.refused("token", &error),
        };
        self.well("token", "the portal knows it")?;
        self.well("scope", "it has messageservice")?;
        let add = "register it with sender add";
        match sender {
            Some(code) if senders.iter().any(|sender| sender == code) => {
                self.well("sender", &format!("{code} is registered"))
            }
            Some(code) => self.point(
                "sender",
                Outcome::Failed,
                &format!("{code} is not registered: {add}"),
            ),
            None if senders.is_empty() => self.point(
                "sender",
                Outcome::Failed,
                &format!("none is registered: {add}"),
            ),
            None => self.well("sender", &senders.join(", ")),
        }
    }

    fn well(&mut self, point: &str, text: &str) -> Result<(), Failure> {
        self.point(point, Outcome::Well, text)
    }

    fn skipped(&mut self, point: &str, why: &str) -> Result<(), Failure> {
        self.point(point, Outcome::Skipped, why)
    }

    fn refused(&mut self, point: &str, error: &Error) -> Result<(), Failure> {
        self.point(
            point,
            Outcome::Failed,
            &format!("{}: {error}", error.kind().name()),
        )
    }

    fn point(&mut self, point: &str, outcome: Outcome, text: &str) -> Result<(), Failure> {
        let word = match outcome {
            Outcome::Well => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        self.failed += u32::from(outcome == Outcome::Failed);
        if self.as_json {
            self.output
                .json(&json!({"point": point, "outcome": word.to_lowercase(), "text": text}))?;
        } else {
            self.output
                .line(&format!("{word:7}  {point:12}  {}", plain(text)))?;
        }
        // Each point may take a while.
        self.output.flush()
    }
}

/// The authorization server: that of the options, or the vendor's.
fn oauth_url(given: Option<&str>) -> &str {
    let default = OPTIONS
        .iter()
        .find(|row| row.name == "oauth_url")
        .and_then(OptionRow::default_value);
    given.or(default).unwrap_or_default()
}

fn advice(step: &str) -> &'static str {
    match step {
        "dns" => "check the name, and this machine's resolver",
        "tcp" => {
            "check the network and firewalls; if there is a proxy, name it in the option proxy"
        }
        "tls" => {
            "if the certificate is of an authority of your own, name its root in ca_file; if not, something \
             stands between here and the server"
        }
        _ => "check the proxy, if there is one, and what answers at this address",
    }
}
