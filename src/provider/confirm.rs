//! Installations, and whether a request is the portal's.
//!
//! A request proves nothing by itself: any user of a portal can read the tokens of a frame and post
//! them with an `application_token` of his own. So an installation is believed only when the
//! authorization server confirms its tokens, and the portal, at the address that the server names,
//! says that they are an administrator's. Later requests are known by the `application_token`.

use super::context::Context;
use super::request::{Request, RequestKind};
use crate::engine::installation::Installation;
use crate::engine::known_tokens::RenewalResult;
use crate::engine::method::Request as MethodRequest;
use crate::engine::operation::Operation;
use crate::engine::renewal;
use crate::methods::application::{AppInfo, UserAdmin};
use crate::process::cancellation::{CallContext, CancelSource, Limits};
use crate::process::per_process::Process;
use crate::protocol::fields::Fields;
use crate::store::database::{Access, Transaction, parameters};
use crate::store::installations::{
    self, InstallationState, StoredInstallation, Verifier, bound_to_installation, mark_of,
};
use crate::store::shared_tokens::Place;
use crate::store::token_record::TokenRecord;
use crate::store::token_store::StoreError;
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::error::{Error, ErrorKind};
use crate::values::tokens::{Credentials, Tokens, unix_now};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// The portal's clock may be so much ahead of this one, in seconds. It matters where an installation
/// has no time of the portal's.
const CLOCK_SLACK: i64 = 300;

/// What `asked` is when the authorization server has given the pair of a delivery.
const RENEWED: i64 = 2;

/// So many deliveries may wait for the authorization server.
const MAX_DELIVERIES: i64 = 10_000;

/// Who brings tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Bringer {
    /// A portal's event or frame, which anybody may have sent.
    Request,
    /// The host program.
    Host,
}

/// What comes with a pair of tokens and is not believed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claim {
    from: Bringer,
    /// Empty if it does not say.
    member_id: String,
    /// Of the `application_token`; empty if there is none.
    token_hash: String,
    /// When the portal says that the installation was made, in Unix time, or [`NOT_TOLD`].
    ts: i64,
    /// The mark of the stored pair, if this one is known to have replaced it. That one is spent, and
    /// asking with it could lose both.
    #[serde(default)]
    replaced: Option<i64>,
}

/// A time that the portal does not tell.
const NOT_TOLD: i64 = i64::MAX;

impl Claim {
    /// The same when it arrives, at `now` by the store's clock in milliseconds. The installation was made
    /// by then, and a later time would have every uninstallation until then ignored. Of two clocks, one
    /// of which may be wrong, the earlier counts.
    fn arrived(&self, now: i64) -> Self {
        let now = (now / 1000).min(unix_now());
        let ts = match self.ts {
            NOT_TOLD => now - CLOCK_SLACK,
            told => told.min(now),
        };
        Self { ts, ..self.clone() }
    }

    fn verifier(&self) -> Verifier {
        if self.token_hash.is_empty() {
            Verifier::None
        } else {
            Verifier::Installation(self.token_hash.clone())
        }
    }
}

/// A pair that the authorization server has confirmed. Its portal and address are what the server
/// says.
struct Confirmed {
    pair: Credentials,
}

impl Confirmed {
    fn member_id(&self) -> &str {
        &self.pair.tokens.member_id
    }
}

/// The hash of an `application_token`, as the store has it; empty for none.
fn hash_of(application_token: &str) -> String {
    if application_token.is_empty() {
        return String::new();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, application_token.as_bytes());
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut hash, byte| {
            // Writing to a text cannot fail.
            let _ = write!(hash, "{byte:02x}");
            hash
        })
}

/// Whether a token is the one with this hash. An empty one never is. It takes the same time whatever
/// they are.
fn verifies(application_token: &str, hash: &str) -> bool {
    let given = hash_of(application_token);
    let differences = given
        .bytes()
        .zip(hash.bytes())
        .fold(0, |differences, (a, b)| black_box(differences | (a ^ b)));
    !hash.is_empty() && given.len() == hash.len() && differences == 0
}

fn not_proven() -> Error {
    Error::new(
        ErrorKind::AccessDenied,
        "the request is not proven to be of a portal that has this application: answer it with \
         HTTP 403, and do nothing that it asks for",
    )
}

fn not_confirmed(why: &str) -> Error {
    Error::new(
        ErrorKind::AccessDenied,
        format!(
            "the installation is not believed: {why}. If it is real, have the application installed \
             again by an administrator of the portal"
        ),
    )
}

fn other_portal() -> Error {
    not_confirmed("its tokens are another portal's")
}

/// Whether an error says that tokens do not work, and not that nobody could be asked. A page that a
/// proxy answers has no code, and a portal that has to be paid for may be paid for tomorrow.
fn denies(error: &Error) -> bool {
    let code = error.portal_code();
    let is_refusal = matches!(error.kind(), ErrorKind::Auth | ErrorKind::AccessDenied);
    (is_refusal && !code.is_empty() && !code.eq_ignore_ascii_case("PAYMENT_REQUIRED"))
        || code.eq_ignore_ascii_case("PORTAL_DELETED")
}

/// The error of a question that was not answered. Only what is denied is `AccessDenied`.
fn undecided(error: Error) -> Error {
    if error.kind() != ErrorKind::AccessDenied {
        return error;
    }
    Error::new(ErrorKind::Portal, error.message())
        .told_by_portal(error.portal_code(), error.description())
        .with_retryable(true)
}

/// Calls a method once.
fn ask<R: MethodRequest>(
    installation: &Arc<Installation>,
    request: &R,
) -> Result<R::Output, Error> {
    Operation::begin(installation, &Limits::default(), request.method())?.post(request)
}

impl Context {
    pub(super) fn receive(&self, content_type: &str, body: &[u8]) -> Result<Request, Error> {
        self.check_open()?;
        let process = Process::current();
        let _active = process.enter();
        let request = Request::read(content_type, body)?;
        let call = self.call(&process);
        match request.kind() {
            RequestKind::Message => self.verify(&request, &call)?,
            RequestKind::Uninstall => self.uninstall(&request, &call)?,
            RequestKind::Install => self.install_from(&request, &process, &call)?,
            RequestKind::Frame => {}
        }
        Ok(request)
    }

    /// Checks that a message is the portal's.
    fn verify(&self, request: &Request, call: &CallContext) -> Result<(), Error> {
        let member_id = request.member_id();
        let stored = self.look_up(call, member_id)?;
        let Some(stored) = stored.filter(|stored| stored.state == InstallationState::Active) else {
            // It takes as long as for a portal that is known.
            verifies(request.auth("application_token"), &hash_of("nobody's"));
            return Err(not_proven());
        };
        let token = request.auth("application_token");
        if verifies(token, stored.verifier.hash()) {
            return Ok(());
        }
        // If the tokens came without an application_token, the first message that is confirmed sets
        // it. Any user of the portal may have sent that one. So those with another are not refused,
        // if they are confirmed.
        let access_token = request.auth("access_token");
        if matches!(stored.verifier, Verifier::Installation(_))
            || token.is_empty()
            || access_token.is_empty()
        {
            return Err(not_proven());
        }
        let pair = Credentials {
            tokens: Tokens {
                access_token: access_token.to_owned(),
                ..Tokens::default()
            },
            expires_here: None,
        };
        let asked = self.at_authorization_server(&pair, Place::Server)?;
        match ask(&asked, &AppInfo) {
            Ok(told)
                if told.member_id == member_id && told.client_id == self.settings.client_id => {}
            Ok(_) => return Err(not_proven()),
            Err(error) if denies(&error) => return Err(not_proven()),
            Err(error) => return Err(undecided(error)),
        }
        let verifier = Verifier::Message(hash_of(token));
        self.run(call, Access::Add, |transaction| {
            installations::set_verifier(transaction, member_id, &verifier)
        })
    }

    fn look_up(
        &self,
        call: &CallContext,
        member_id: &str,
    ) -> Result<Option<StoredInstallation>, Error> {
        self.run(call, Access::Read, |transaction| {
            self.store.installation(transaction, member_id)
        })
    }

    fn uninstall(&self, request: &Request, call: &CallContext) -> Result<(), Error> {
        let member_id = request.member_id();
        let token = request.auth("application_token");
        let ts: i64 = match request.get("ts") {
            Some(ts) => ts.parse().map_err(|_| not_proven())?,
            None => i64::MAX,
        };
        let stored = self.look_up(call, member_id)?;
        let Some(stored) = stored.filter(|stored| verifies(token, stored.verifier.hash())) else {
            return Err(not_proven());
        };
        if stored.state == InstallationState::Active && ts < stored.installed_ts {
            return Ok(());
        }
        // Then the tokens do not work any more. The application_token alone proves little: newer
        // portals show it to every user who opens a page of the application. And the request may be
        // late, when the application was installed again.
        if stored.state == InstallationState::Active && self.works(member_id, &stored)? {
            return Err(not_proven());
        }
        // Their renewal may have been tried, which changes the number.
        let refused = self.look_up(call, member_id)?;
        let refused = refused.map(|refused| refused.generation);
        self.run(call, Access::Write, |transaction| {
            transaction.lock(&bound_to_installation(member_id))?;
            // It may have been installed again since it was looked up.
            match self.store.installation(transaction, member_id)? {
                Some(stored)
                    if stored.state == InstallationState::Active
                        && Some(stored.generation) == refused
                        && verifies(token, stored.verifier.hash())
                        && ts >= stored.installed_ts =>
                {
                    installations::remove(transaction, member_id)?;
                    log::info!(target: LOG, "portal {member_id} has removed the application");
                    Ok(())
                }
                _ => Ok(()),
            }
        })
    }

    /// Installs from an event or a frame.
    fn install_from(
        &self,
        request: &Request,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<(), Error> {
        let pair = pair_of(|name| request.auth(name))?;
        let ts: Option<i64> = request.get("ts").and_then(|ts| ts.parse().ok());
        let claim = Claim {
            from: Bringer::Request,
            member_id: request.member_id().to_owned(),
            token_hash: hash_of(request.auth("application_token")),
            ts: ts.unwrap_or(NOT_TOLD),
            replaced: None,
        };
        self.deliver(&pair, &claim, process, call)
    }

    pub(super) fn install_request(&self, frame: &Request) -> Result<(), Error> {
        self.check_open()?;
        if frame.kind() != RequestKind::Frame {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the request is not that of a frame: an event is installed by receive itself, and a \
                 message brings no tokens for this",
            ));
        }
        let process = Process::current();
        let _active = process.enter();
        self.install_from(frame, &process, &self.call(&process))
    }

    pub(super) fn install(&self, auth_json: &str, application_token: &str) -> Result<(), Error> {
        self.check_open()?;
        let process = Process::current();
        let _active = process.enter();
        let fields = Fields::read("application/json", auth_json.as_bytes()).map_err(|why| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "auth_json cannot be read: {why}. It takes the authorization server's answer, or \
                     the auth of an event"
                ),
            )
        })?;
        let member = |name: &str| {
            fields
                .get(name)
                .or_else(|| fields.get(&format!("auth[{name}]")))
                .unwrap_or_default()
        };
        let pair = pair_of(member)?;
        let token = if application_token.is_empty() {
            member("application_token")
        } else {
            application_token
        };
        let claim = Claim {
            from: Bringer::Host,
            member_id: member("member_id").to_owned(),
            token_hash: hash_of(token),
            ts: NOT_TOLD,
            replaced: None,
        };
        self.deliver(&pair, &claim, &process, &self.call(&process))
    }

    /// Installs tokens of a `state_dir`, which this machine has used itself.
    pub(super) fn install_record(&self, record: &TokenRecord) -> Result<(), Error> {
        let process = Process::current();
        let _active = process.enter();
        let call = self.call(&process);
        let pair = &record.credentials;
        let client_id = &self.settings.client_id;
        // The store has an older one if it was moved before, and then renewed in the directory.
        let stored = self.look_up(&call, &pair.tokens.member_id)?;
        let replaced = stored
            .and_then(|stored| stored.pair)
            .map(|stored| stored.tokens.refresh_token)
            .filter(|stored| {
                *stored != pair.tokens.refresh_token && record.knows(client_id, stored)
            })
            .map(|stored| mark_of(client_id, &stored));
        let claim = Claim {
            from: Bringer::Host,
            member_id: pair.tokens.member_id.clone(),
            token_hash: String::new(),
            ts: 0,
            replaced,
        };
        self.deliver(pair, &claim, &process, &call)
    }

    /// Confirms a pair and stores it. What is known already succeeds without effect.
    fn deliver(
        &self,
        pair: &Credentials,
        claim: &Claim,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<(), Error> {
        let mark = mark_of(&self.settings.client_id, &pair.tokens.refresh_token);
        let bound_to = Place::Delivery(mark).bound_to();
        let mut arrived = claim.clone();
        let sealed = self
            .store
            .seal(pair, &bound_to)
            .map_err(|error| error.in_a_call())?;
        // Before the server is asked, so that what it answers is not lost if this process ends.
        let known = self.run(call, Access::Add, |transaction| {
            let known = known_portal(transaction, mark)?;
            if known.is_some() {
                return Ok(known);
            }
            let count = transaction.query("SELECT count(*) FROM b24_delivery", parameters![])?;
            if count.first().is_some_and(|row| row.integer(0) >= MAX_DELIVERIES) {
                let what = "has too many installations that are not confirmed yet: try again later";
                return Err(self.store.database.error(what).that_passes());
            }
            arrived = claim.arrived(transaction.now());
            let note = serde_json::to_vec(&arrived).unwrap_or_default();
            transaction.execute(
                "INSERT INTO b24_delivery (mark, pair, claim, asked, arrived_at, lease_owner, lease_id,
                    lease_until)
                 VALUES ($1, $2, $3, 0, $4, 0, 0, 0) ON CONFLICT (mark) DO NOTHING",
                parameters![mark, &sealed, &note, transaction.now()],
            )?;
            Ok(None)
        })?;
        match known {
            Some(known) if claim.member_id.is_empty() || known == claim.member_id => return Ok(()),
            Some(_) => return Err(other_portal()),
            None => {}
        }
        let outcome = self
            .confirm(pair, mark, process, call)
            .and_then(|confirmed| self.admit_and_store(&confirmed, &arrived, mark, call));
        // Another process may have finished the same one meanwhile.
        if outcome.as_ref().is_err_and(|error| !is_decided(error))
            && let Ok(Some(known)) = self.run(call, Access::Read, |transaction| {
                known_portal(transaction, mark)
            })
            && (claim.member_id.is_empty() || known == claim.member_id)
        {
            return Ok(());
        }
        match &outcome {
            Err(error) if is_decided(error) => {
                self.run_surely(process, |transaction| drop_delivery(transaction, mark));
            }
            // Too many installations leave nothing behind, unless a pair was renewed for this one.
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                self.run_surely(process, |transaction| {
                    let sql = "DELETE FROM b24_delivery
                               WHERE mark = $1 AND asked = 0 AND lease_owner = 0";
                    transaction.execute(sql, parameters![mark]).map(drop)
                });
            }
            // A drain goes on with it.
            _ => {}
        }
        outcome
    }

    /// A step in the store that is made although the call was cancelled or its deadline has passed.
    fn run_surely(
        &self,
        process: &Arc<Process>,
        work: impl FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) {
        const WITHIN: Duration = Duration::from_secs(1);
        let own = Arc::new(CancelSource::new(None));
        let call = self.call_of(process, &own, WITHIN);
        if let Err(error) = self.run(&call, Access::Write, work) {
            // A drain comes to the same result.
            log::warn!(target: LOG, "an installation that is not finished stays in the store: {error}");
        }
    }

    /// Stores a confirmed pair, if what came with it may be believed.
    fn admit_and_store(
        &self,
        confirmed: &Confirmed,
        claim: &Claim,
        mark: i64,
        call: &CallContext,
    ) -> Result<(), Error> {
        if !claim.member_id.is_empty() && claim.member_id != confirmed.member_id() {
            return Err(other_portal());
        }
        let replaces = self.admit(claim, confirmed, call)?;
        let member_id = confirmed.member_id();
        self.run(call, Access::Add, |transaction| {
            transaction.lock(&bound_to_installation(member_id))?;
            if known_portal(transaction, mark)?.is_some() {
                return drop_delivery(transaction, mark);
            }
            let stored = self.store.installation(transaction, member_id)?;
            let active = stored.filter(|stored| stored.state == InstallationState::Active);
            let held = crate::store::lanes::is_held(transaction, member_id)?;
            match active {
                // What another process has stored since is not replaced.
                Some(stored) if !held && replaces != Some(stored.generation) => {
                    self.store
                        .keep_second(transaction, member_id, &confirmed.pair)?;
                    installations::set_verifier(transaction, member_id, &claim.verifier())?;
                }
                _ => {
                    self.store.install(
                        transaction,
                        member_id,
                        &confirmed.pair,
                        &claim.token_hash,
                        claim.ts,
                    )?;
                    log::info!(target: LOG, "portal {member_id} has installed the application");
                }
            }
            transaction.execute(
                "INSERT INTO b24_delivered (mark, member_id, arrived_at) VALUES ($1, $2, $3)
                 ON CONFLICT (mark) DO NOTHING",
                parameters![mark, member_id, transaction.now()],
            )?;
            drop_delivery(transaction, mark)
        })
    }

    /// Checks whether a confirmed pair may be stored. Returns the generation of the stored pair that
    /// it replaces, as that does not work any more.
    fn admit(
        &self,
        claim: &Claim,
        confirmed: &Confirmed,
        call: &CallContext,
    ) -> Result<Option<i64>, Error> {
        let member_id = confirmed.member_id();
        let stored = self.look_up(call, member_id)?;
        let mut replaces = None;
        if let Some(stored) = stored.filter(|stored| stored.state == InstallationState::Active) {
            // Its own address may be a former one, where nobody answers.
            let stored = StoredInstallation {
                client_endpoint: confirmed.pair.tokens.client_endpoint.clone(),
                ..stored
            };
            let mark = stored
                .pair
                .as_ref()
                .map(|pair| mark_of(&self.settings.client_id, &pair.tokens.refresh_token));
            if claim.replaced.is_some() && claim.replaced == mark {
                replaces = Some(stored.generation);
            } else if !self.works(member_id, &stored)? {
                // Its renewal may have been tried, which changes the number.
                let present = self.look_up(call, member_id)?;
                replaces = present.map(|present| present.generation);
            } else if claim.from == Bringer::Request
                && !claim.token_hash.is_empty()
                && matches!(&stored.verifier, Verifier::Installation(hash) if *hash != claim.token_hash)
            {
                return Err(not_confirmed(
                    "its application_token is not the one of the present installation, whose tokens \
                     work",
                ));
            }
        }
        if claim.from == Bringer::Host {
            return Ok(replaces);
        }
        let portal = Origin::parse(&confirmed.pair.tokens.client_endpoint).map_err(|_| {
            not_confirmed("the authorization server names no address of the portal")
        })?;
        let settings = self.settings_for_confirmation();
        let place = Place::Server;
        let mut pair = confirmed.pair.clone();
        // It is not to be renewed for this.
        pair.tokens.refresh_token.clear();
        let portal = Arc::new(self.make(settings, portal, place, &self.cancel, &pair)?);
        match ask(&portal, &UserAdmin) {
            Ok(true) => Ok(replaces),
            Ok(false) => Err(not_confirmed(
                "its tokens are not of an administrator of the portal",
            )),
            Err(error) if denies(&error) => {
                Err(not_confirmed("the portal does not accept its tokens"))
            }
            Err(error) => Err(undecided(error)),
        }
    }

    /// Whether the pair of a stored installation still works, renewed if necessary.
    fn works(&self, member_id: &str, stored: &StoredInstallation) -> Result<bool, Error> {
        let settings = self.settings.clone();
        let Some(installation) = self.installation(settings, member_id, stored, &self.cancel)?
        else {
            return Ok(false);
        };
        match ask(&Arc::new(installation), &AppInfo) {
            Ok(_) => Ok(true),
            Err(error) if denies(&error) => Ok(false),
            Err(error) => Err(undecided(error)),
        }
    }

    fn at_authorization_server(
        &self,
        pair: &Credentials,
        place: Place,
    ) -> Result<Arc<Installation>, Error> {
        let server = self.settings.oauth_url.clone();
        let settings = self.settings_for_confirmation();
        self.make(settings, server, place, &self.cancel, pair)
            .map(Arc::new)
    }

    /// Asks the authorization server whether a pair is of this application, and of which portal: by
    /// `app.info`, or if that does not say everything, by renewing the pair.
    fn confirm(
        &self,
        pair: &Credentials,
        mark: i64,
        process: &Arc<Process>,
        call: &CallContext,
    ) -> Result<Confirmed, Error> {
        let mut bare = Credentials {
            tokens: Tokens {
                access_token: pair.tokens.access_token.clone(),
                ..Tokens::default()
            },
            expires_here: None,
        };
        if !bare.tokens.access_token.is_empty() {
            let asked = self.at_authorization_server(&bare, Place::Server)?;
            match ask(&asked, &AppInfo) {
                Ok(told)
                    if !told.client_id.is_empty() && told.client_id != self.settings.client_id =>
                {
                    return Err(not_confirmed("its tokens are of another application"));
                }
                Ok(told) => {
                    let endpoint = self.usable(&told.client_endpoint);
                    if !told.client_id.is_empty()
                        && !told.member_id.is_empty()
                        && let Some(endpoint) = endpoint
                    {
                        let mut pair = pair.clone();
                        pair.tokens.member_id = told.member_id;
                        pair.tokens.client_endpoint = endpoint.client_endpoint();
                        return Ok(Confirmed { pair });
                    }
                }
                Err(error) if denies(&error) => {}
                Err(error) => return Err(undecided(error)),
            }
        }
        bare.tokens
            .refresh_token
            .clone_from(&pair.tokens.refresh_token);
        let asked = self.at_authorization_server(&bare, Place::Delivery(mark))?;
        let fresh = match renewal::renew(&asked, process, call, &bare) {
            Ok(RenewalResult::Renewed(fresh) | RenewalResult::TakenOver(fresh)) => fresh,
            Ok(RenewalResult::NoMeans | RenewalResult::Abandoned) => {
                return Err(not_confirmed("its tokens cannot be renewed"));
            }
            Err(error) if error.portal_code().eq_ignore_ascii_case("invalid_client") => {
                return Err(error);
            }
            Err(error) if denies(&error) => {
                return Err(not_confirmed(
                    "the authorization server does not accept its tokens",
                ));
            }
            Err(error) => return Err(undecided(error)),
        };
        let is_told = fresh.tokens.client_endpoint != self.settings.oauth_url.client_endpoint();
        let endpoint = self
            .usable(&fresh.tokens.client_endpoint)
            .filter(|_| is_told);
        if fresh.tokens.member_id.is_empty() || endpoint.is_none() {
            return Err(not_confirmed(
                "the authorization server does not say which portal its tokens are of",
            ));
        }
        Ok(Confirmed { pair: fresh })
    }

    /// An address that tokens may be sent to.
    fn usable(&self, client_endpoint: &str) -> Option<Origin> {
        let origin = Origin::parse(client_endpoint).ok()?;
        (origin.is_https() || self.settings.allow_http).then_some(origin)
    }

    /// A pair that the authorization server has given for a delivery, if its access token is valid.
    fn confirmed_before(&self, pair: &Credentials) -> Option<Confirmed> {
        let told = &pair.tokens;
        let is_valid = pair
            .expires_here
            .is_some_and(|expires| expires > unix_now().saturating_add(60));
        let is_of_portal = !told.member_id.is_empty()
            && told.client_endpoint != self.settings.oauth_url.client_endpoint()
            && self.usable(&told.client_endpoint).is_some();
        (is_valid && is_of_portal).then(|| Confirmed { pair: pair.clone() })
    }

    /// Goes on with deliveries that were not decided: their process has ended, or somebody could not
    /// be asked.
    pub(super) fn resume_deliveries(&self, cancel: &Arc<CancelSource>) -> Result<(), Error> {
        /// Whoever got the request has given up by then.
        const OLDER_THAN: i64 = 120_000;
        /// The longest time between two attempts.
        const PAUSE: i64 = 3_600_000;
        const DAY: i64 = 24 * 3_600_000;
        let process = Process::current();
        let call = self.call_of(&process, cancel, self.settings.timeout);
        let rows = self.run(&call, Access::Read, |transaction| {
            let now = transaction.now();
            // A lease without an owner is a pause.
            let rows = transaction.query(
                "SELECT mark, pair, claim, arrived_at, asked FROM b24_delivery
                 WHERE arrived_at <= $1
                    AND (lease_until <= $2 OR (lease_owner = 0 AND lease_until > $3))
                 ORDER BY lease_until LIMIT 5",
                parameters![now - OLDER_THAN, now, now + 2 * PAUSE],
            )?;
            Ok((now, rows))
        })?;
        let (now, rows) = rows;
        for row in rows {
            let (mark, age) = (row.integer(0), now - row.integer(3));
            let is_renewed = row.integer(4) == RENEWED;
            let claim = row
                .blob(2)
                .and_then(|claim| serde_json::from_slice(claim).ok());
            let pair = row.blob(1).map(|sealed| {
                let bound_to = Place::Delivery(mark).bound_to();
                self.store.unseal(sealed, &bound_to)
            });
            // The time of one does not count for the others.
            let call = self.call_of(&process, cancel, self.settings.timeout);
            let outcome = match (pair, claim) {
                (Some(Ok(pair)), Some(claim)) => Some(&pair)
                    .filter(|_| is_renewed)
                    .and_then(|pair| self.confirmed_before(pair))
                    .map_or_else(|| self.confirm(&pair, mark, &process, &call), Ok)
                    .and_then(|confirmed| self.admit_and_store(&confirmed, &claim, mark, &call)),
                (Some(Err(error)), _) => Err(error.in_a_call()),
                _ => Err(not_confirmed("its record is damaged")),
            };
            let Err(error) = outcome else {
                continue;
            };
            log::warn!(target: LOG, "an installation that was interrupted is not finished: {error}");
            // A pair that was renewed exists nowhere else.
            let give_up_after = if is_renewed { 30 * DAY } else { DAY };
            self.run_surely(&process, |transaction| {
                if is_decided(&error) || age >= give_up_after {
                    return drop_delivery(transaction, mark);
                }
                let pause = age.clamp(2 * OLDER_THAN, PAUSE);
                let until = transaction.now().saturating_add(pause);
                let sql = "UPDATE b24_delivery SET lease_until = $2
                           WHERE mark = $1 AND lease_owner = 0";
                transaction.execute(sql, parameters![mark, until]).map(drop)
            });
        }
        Ok(())
    }
}

/// Whether an error says that a delivery is not believed, and not that this was not found out.
fn is_decided(error: &Error) -> bool {
    error.kind() == ErrorKind::AccessDenied
}

/// The portal that this refresh token is of, if it was delivered before or is in use. A request may
/// claim it for another one, and confirming that would use it up.
fn known_portal(
    transaction: &mut dyn Transaction,
    mark: i64,
) -> Result<Option<String>, StoreError> {
    let rows = transaction.query(
        "SELECT member_id FROM b24_delivered WHERE mark = $1
         UNION ALL SELECT member_id FROM b24_installation
            WHERE state = 1 AND (pair_mark = $1 OR second_mark = $1)",
        parameters![mark],
    )?;
    Ok(rows.first().map(|row| row.text(0).to_owned()))
}

fn drop_delivery(transaction: &mut dyn Transaction, mark: i64) -> Result<(), StoreError> {
    transaction
        .execute(
            "DELETE FROM b24_delivery WHERE mark = $1",
            parameters![mark],
        )
        .map(drop)
}

/// The tokens of a request, without what it says of the portal.
fn pair_of<'a>(member: impl Fn(&str) -> &'a str) -> Result<Credentials, Error> {
    let token = |name: &str| {
        let value = member(name);
        let fault = if value.is_empty() {
            "is missing"
        } else if value.contains(|c: char| c.is_control() || c.is_whitespace()) {
            "contains a space or a control character"
        } else {
            return Ok(value.to_owned());
        };
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{name} {fault}: give the request of an installation as it came"),
        ))
    };
    let expires_in: Option<i64> = member("expires_in").parse().ok();
    let expires_here =
        expires_in.map(|seconds| unix_now().saturating_add(seconds.clamp(0, 86_400)));
    Ok(Credentials {
        tokens: Tokens {
            access_token: token("access_token")?,
            refresh_token: token("refresh_token")?,
            expires: expires_here,
            ..Tokens::default()
        },
        expires_here,
    })
}
