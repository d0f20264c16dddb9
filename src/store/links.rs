//! Installations in the state directory: which file and lock a client uses, whatever host and
//! tokens its settings have.
//!
//! Settings have a host and a refresh token, but hosts are renamed and tokens replaced. So the file
//! of tokens (`NAME.tokens`) and its lock are named by the portal's `member_id` as soon as a
//! renewal has returned it. Links (`NAME.link`) lead there from each host and each refresh token
//! that was used:
//!
//! | name | of |
//! |---|---|
//! | `member-ID~CLIENT` | an installation whose portal has told its `member_id` |
//! | `token-HASH` | one that is known by its refresh token only |
//! | `host-HOST~CLIENT` | one that is known by its host only |
//!
//! An answer is first written into the link of the token that was used for it, together with the
//! name to which the link leads, and then into the file of that name. If the process is killed in
//! between, the link still has the pair, and the next process moves it. A token that has a link was
//! used: the newest token is where the links end.

use super::file_lock::FileLock;
use super::state_dir::{ReservedFile, StateDir, escaped, file_name, io_error};
use super::token_record::TokenRecord;
use super::token_store::{InstallationQuery, LockError, LockedInstallation, StoreError};
use crate::process::cancellation::CallContext;
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::tokens::{Credentials, fingerprint};
use serde::{Deserialize, Serialize};

/// How the name of an installation begins if the `member_id` of its portal is known.
const MEMBER: &str = "member-";
/// How a name begins that is known only by a refresh token.
const TOKEN: &str = "token-";

/// The content of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    version: u32,
    /// The name to which it leads.
    to: String,
    pending: Option<Pending>,
}

/// A pair that has not been moved yet to the name to which its link leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    pair: Credentials,
    /// The fingerprint of the refresh token that was the newest there. If it still is, this pair is
    /// newer. Clocks are not compared, because they may be wrong.
    over: Option<u64>,
}

impl Link {
    const VERSION: u32 = 2;

    fn new(to: &str, pending: Option<Pending>) -> Self {
        Self {
            version: Self::VERSION,
            to: to.to_owned(),
            pending,
        }
    }

    /// Whether the pair with this refresh token waits here to be moved.
    fn brings(&self, refresh_token: &str) -> bool {
        let pair = self.pending.as_ref().map(|pending| &pending.pair);
        pair.is_some_and(|pair| pair.tokens.refresh_token == refresh_token)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let link: Self = serde_json::from_slice(bytes).ok()?;
        // A name that leads out of the directory is not ours.
        let plain = [MEMBER, TOKEN, "host-"]
            .iter()
            .any(|kind| link.to.starts_with(kind))
            && !link.to.contains('/');
        (link.version == Self::VERSION && plain).then_some(link)
    }
}

#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(link) = Link::from_bytes(bytes) {
        assert!(!link.to.contains('/'));
    }
}

fn member_name(client_id: &str, member_id: &str) -> String {
    format!("{MEMBER}{}~{}", escaped(member_id), escaped(client_id))
}

fn token_name(client_id: &str, refresh_token: &str) -> String {
    format!("{TOKEN}{:016x}", fingerprint(client_id, refresh_token))
}

/// The fingerprint of the refresh token in a name.
fn named_token(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(TOKEN)?, 16).ok()
}

/// The name of an installation, and the links that led to it, by name.
#[derive(Debug, Default)]
struct Place {
    name: String,
    links: Vec<(String, Link)>,
}

/// What is known under a name.
#[derive(Debug)]
struct Found {
    record: Option<TokenRecord>,
    /// Whether the record is the one in the file.
    stored: bool,
    /// The links whose pairs it contains now.
    moved: Vec<String>,
    /// The newest refresh token here, if its link leads to another name.
    further: Option<String>,
}

/// An installation's tokens, which no other process or copy of this library changes until this is
/// dropped.
#[derive(Debug)]
pub(super) struct LockedTokens<'a> {
    directory: &'a StateDir,
    client_id: String,
    portals: Vec<Origin>,
    name: String,
    record: Option<TokenRecord>,
    room: Option<ReservedFile<'a>>,
    _lock: FileLock,
}

impl StateDir {
    pub(super) fn find(
        &self,
        query: InstallationQuery<'_>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let mut former = Former::default();
        let client_id = query.client_id;
        loop {
            let query = former.newest_of(query);
            let place = self.linked(query)?.unwrap_or_else(|| unlinked(query));
            let found = self.gather(client_id, &place)?;
            if let Some(found) = former.follow(client_id, &place.name, found) {
                self.refuse_moved(&place.name, found.record.as_ref())?;
                return Ok(found.record);
            }
        }
    }

    fn refuse_moved(&self, name: &str, record: Option<&TokenRecord>) -> Result<(), StoreError> {
        if record.is_some_and(|record| record.moved_to_store) {
            return Err(StoreError::new(
                &self.path.join(format!("{name}.tokens")),
                "the tokens were moved to a provider's store: use the clients of that provider",
            ));
        }
        Ok(())
    }

    /// The newest pairs of an application's installations here, and of those whose application is
    /// not known.
    #[cfg(feature = "provider")]
    pub(super) fn pairs(&self, client_id: &str) -> Result<Vec<Credentials>, StoreError> {
        let error_at = |e: &std::io::Error| io_error(&self.path, "cannot be read", e);
        let of_client = format!("~{}", escaped(client_id));
        let mut pairs = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(|e| error_at(&e))? {
            let file = entry.map_err(|e| error_at(&e))?.file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(".tokens"));
            let Some(name) =
                name.filter(|name| name.ends_with(&of_client) || name.starts_with(TOKEN))
            else {
                continue;
            };
            if let Some(record) = self.read_record(name)?
                && !record.moved_to_store
            {
                pairs.push(record.credentials);
            }
        }
        Ok(pairs)
    }

    pub(super) fn lock_installation(
        &self,
        query: InstallationQuery<'_>,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<LockedTokens<'_>, LockError> {
        let mut former = Former::default();
        let (client_id, portals) = (query.client_id, query.portals);
        loop {
            call.check()?;
            let query = former.newest_of(query);
            let name = match self.linked(query)? {
                Some(place) => place.name,
                None => match self.search(query)? {
                    Some(name) => name,
                    None => unlinked(query).name,
                },
            };
            let lock = self.lock_name(&name, call, go_on)?;
            // The previous holder of the lock may have found out the name of the installation.
            let place = match self.linked(query)? {
                Some(now) if now.name != name => continue,
                Some(now) => now,
                None => Place {
                    name,
                    links: Vec::new(),
                },
            };
            let found = self.gather(client_id, &place)?;
            let Some(found) = former.follow(client_id, &place.name, found) else {
                continue;
            };
            let name = place.name;
            self.refuse_moved(&name, found.record.as_ref())?;
            if !found.stored
                && let Some(record) = &found.record
            {
                self.write_record(&name, record)?;
            }
            let left = former.names.iter().filter(|name| !name.starts_with(MEMBER));
            for link in found.moved.iter().chain(left) {
                self.link(link, &name)?;
            }
            return Ok(LockedTokens {
                directory: self,
                client_id: client_id.to_owned(),
                portals: portals.to_vec(),
                name,
                record: found.record,
                room: None,
                _lock: lock,
            });
        }
    }

    /// The record of a name, with the pairs in links that have not been moved there yet.
    fn gather(&self, client_id: &str, place: &Place) -> Result<Found, StoreError> {
        let stored = self.read_record(&place.name)?;
        let mut found = Found {
            record: stored.clone(),
            stored: true,
            moved: Vec::new(),
            further: None,
        };
        for (from, link) in &place.links {
            found.take_over(client_id, from, link);
        }
        while let Some(record) = &found.record
            && let newest = &record.credentials.tokens.refresh_token
            && !newest.is_empty()
        {
            let from = token_name(client_id, newest);
            let next = self.resolve(from.clone())?;
            if next.name != place.name && next.name != from {
                found.further = Some(newest.clone());
                break;
            }
            match next.links.first() {
                Some((_, link)) if link.pending.is_some() && !found.moved.contains(&from) => {
                    found.take_over(client_id, &from, link);
                }
                _ => break,
            }
        }
        found.stored = found.record == stored;
        Ok(found)
    }

    /// Where links lead: the link of the refresh token; or that of a host, if the refresh token
    /// belongs to the installation there, if its tokens were moved, or if there is no refresh token.
    fn linked(&self, query: InstallationQuery<'_>) -> Result<Option<Place>, StoreError> {
        let InstallationQuery {
            client_id,
            refresh_token,
            portals,
        } = query;
        if !refresh_token.is_empty() {
            let from = token_name(client_id, refresh_token);
            let place = self.resolve(from.clone())?;
            if place.name != from {
                return Ok(Some(place));
            }
        }
        for portal in portals {
            let from = host_name(client_id, portal);
            let place = self.resolve(from.clone())?;
            if place.name == from {
                continue;
            }
            if refresh_token.is_empty()
                || self.read_record(&place.name)?.is_some_and(|record| {
                    record.moved_to_store || record.knows(client_id, refresh_token)
                })
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Follows the links that begin at a name.
    fn resolve(&self, name: String) -> Result<Place, StoreError> {
        /// One link leads from a token or host to a token, and one from there to a member.
        const LONGEST: usize = 4;
        let mut place = Place {
            name,
            links: Vec::new(),
        };
        for _ in 0..LONGEST {
            if place.name.starts_with(MEMBER) {
                break;
            }
            let Some(link) = self.read_link(&place.name)? else {
                break;
            };
            let from = std::mem::replace(&mut place.name, link.to.clone());
            place.links.push((from, link));
        }
        Ok(place)
    }

    /// The installation, of all in the directory, to which the refresh token belongs or belonged.
    /// It is searched for if both host and token of the settings are new here: at the first renewal
    /// of an installation, after its portal was renamed, or with a pair that has not been moved
    /// from a link.
    fn search(&self, query: InstallationQuery<'_>) -> Result<Option<String>, StoreError> {
        let InstallationQuery {
            client_id,
            refresh_token,
            ..
        } = query;
        if refresh_token.is_empty() {
            return Ok(None);
        }
        let error_at = |e: &std::io::Error| io_error(&self.path, "cannot be read", e);
        let of_client = format!("~{}", escaped(client_id));
        for entry in std::fs::read_dir(&self.path).map_err(|e| error_at(&e))? {
            let file = entry.map_err(|e| error_at(&e))?.file_name();
            let Some((name, kind)) = file.to_str().and_then(|name| name.rsplit_once('.')) else {
                continue;
            };
            if kind == "tokens" && (name.ends_with(&of_client) || name.starts_with(TOKEN)) {
                let record = self.read_record(name)?;
                if record.is_some_and(|record| record.knows(client_id, refresh_token)) {
                    return Ok(Some(name.to_owned()));
                }
            } else if kind == "link" && name.starts_with(TOKEN) {
                let link = self.read_link(name)?;
                if let Some(link) = link.filter(|link| link.brings(refresh_token)) {
                    return Ok(Some(link.to));
                }
            }
        }
        Ok(None)
    }

    fn read_link(&self, name: &str) -> Result<Option<Link>, StoreError> {
        self.read_as(&format!("{name}.link"), Link::from_bytes)
    }

    fn read_record(&self, name: &str) -> Result<Option<TokenRecord>, StoreError> {
        self.read_as(&format!("{name}.tokens"), TokenRecord::from_bytes)
    }

    /// The content of a file; `None` if there is no such file.
    fn read_as<T>(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        let damaged = || {
            StoreError::new(
                &self.path.join(name),
                "is not a file of this library's, or was damaged; if the tokens in your settings \
                 are the newest there are, remove the file",
            )
        };
        parse(&bytes).map(Some).ok_or_else(damaged)
    }

    fn write_record(&self, name: &str, record: &TokenRecord) -> Result<(), StoreError> {
        let name = format!("{name}.tokens");
        self.replace(&name, &self.written(&name, record.to_bytes())?)
    }

    /// Makes a link lead to a name, without a pair in it.
    fn link(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let link = Link::new(to, None);
        if from == to || self.read_link(from)?.as_ref() == Some(&link) {
            return Ok(());
        }
        let name = format!("{from}.link");
        self.replace_any_time(&name, &self.written(&name, serde_json::to_vec(&link))?)
    }

    /// Text can always be written as JSON. If it cannot, the file stays as it is.
    fn written(
        &self,
        name: &str,
        bytes: serde_json::Result<Vec<u8>>,
    ) -> Result<Vec<u8>, StoreError> {
        bytes.map_err(|e| StoreError::new(&self.path.join(name), format!("cannot be written: {e}")))
    }
}

#[cfg(feature = "provider")]
impl LockedTokens<'_> {
    /// The tokens are in a provider's store now.
    pub(super) fn move_to_store(&mut self) -> Result<(), StoreError> {
        let mut record = self.record.take().unwrap_or_default();
        record.move_to_store(&self.client_id);
        self.directory.write_record(&self.name, &record)
    }
}

impl LockedInstallation for LockedTokens<'_> {
    fn record(&self) -> Option<&TokenRecord> {
        self.record.as_ref()
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        /// More than two tokens and addresses need.
        const PAIR: usize = 8 * 1024;
        let size = match &self.record {
            Some(record) => self.directory.written(&self.name, record.to_bytes())?.len(),
            None => 0,
        };
        let new = format!("{}.new", self.name);
        self.room = Some(self.directory.make_room(&new, size + PAIR)?);
        Ok(())
    }

    fn store(
        mut self: Box<Self>,
        used: &Credentials,
        fresh: &Credentials,
        former: &[u64],
        call: &CallContext,
    ) -> Result<(), StoreError> {
        let member_id = &fresh.tokens.member_id;
        let name = if member_id.is_empty() {
            self.name.clone()
        } else {
            member_name(&self.client_id, member_id)
        };
        if name != self.name {
            return self.store_elsewhere(&name, used, fresh, former, call);
        }
        // A link that cannot be written must not keep the pair from being written.
        let linked = self.link_hosts(&name, fresh);
        let mut record = self.record.take().unwrap_or_default();
        record.renew(&self.client_id, used, fresh);
        record.replace(&self.client_id, former.iter().copied());
        let file = format!("{name}.tokens");
        let bytes = self.directory.written(&file, record.to_bytes())?;
        self.write(&file, &bytes)?;
        linked
    }
}

impl LockedTokens<'_> {
    /// Until now it was known only by its token or host, or another portal has its host now.
    fn store_elsewhere(
        mut self,
        name: &str,
        used: &Credentials,
        fresh: &Credentials,
        former: &[u64],
        call: &CallContext,
    ) -> Result<(), StoreError> {
        let spent = token_name(&self.client_id, &used.tokens.refresh_token);
        // A damaged file is reported when it is read to be used.
        let there = self.directory.read_record(name).ok().flatten();
        let pending = Link::new(
            name,
            Some(Pending {
                pair: fresh.clone(),
                over: there.and_then(|record| record.newest(&self.client_id)),
            }),
        );
        let file = format!("{spent}.link");
        let bytes = self
            .directory
            .written(&file, serde_json::to_vec(&pending))?;
        self.write(&file, &bytes)?;
        let _lock = match self.directory.lock_name(name, call, &|| true) {
            Ok(lock) => lock,
            Err(LockError::Storage(error)) => return Err(error),
            // Another process is renewing it. The next one moves the pair.
            Err(LockError::Interrupted(_)) => return Ok(()),
        };
        let linked = self.link_hosts(name, fresh);
        let mut record = self.directory.read_record(name)?.unwrap_or_default();
        if let Some(former) = self
            .record
            .take()
            .filter(|_| !self.name.starts_with(MEMBER))
        {
            record.absorb(&self.client_id, &former);
        }
        record.renew(&self.client_id, used, fresh);
        record.replace(&self.client_id, former.iter().copied());
        self.directory.write_record(name, &record)?;
        self.directory.link(&spent, name)?;
        if !self.name.starts_with(MEMBER) {
            self.directory.link(&self.name, name)?;
            // Nothing uses them any more. If they cannot be removed, they do no harm.
            for ending in ["tokens", "lock"] {
                let file = format!("{}.{ending}", self.name);
                let _ = std::fs::remove_file(self.directory.path.join(file));
            }
        }
        linked
    }

    /// Makes the portal's addresses lead to a name, as far as possible.
    fn link_hosts(&self, name: &str, fresh: &Credentials) -> Result<(), StoreError> {
        let told = Origin::parse(&fresh.tokens.client_endpoint).ok();
        let mut linked = Ok(());
        for portal in self.portals.iter().chain(&told) {
            let host = host_name(&self.client_id, portal);
            linked = linked.and(self.directory.link(&host, name));
        }
        linked
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        if let Some(room) = self.room.take() {
            match room.fill(name, content) {
                Ok(()) => return Ok(()),
                Err(error) => log::warn!(target: LOG, "{error}; it is written again"),
            }
        }
        self.directory.replace(name, content)
    }
}

/// The name of an installation to which no link leads yet.
fn unlinked(query: InstallationQuery<'_>) -> Place {
    let name = match query.portals {
        [portal, ..] if query.refresh_token.is_empty() => host_name(query.client_id, portal),
        _ => token_name(query.client_id, query.refresh_token),
    };
    Place {
        name,
        links: Vec::new(),
    }
}

impl Found {
    /// Records what a link says about the installation: its pair, if that is newer than the
    /// recorded one, and that the token in its name was replaced.
    fn take_over(&mut self, client_id: &str, from: &str, link: &Link) {
        let token = named_token(from);
        if let Some(Pending { pair, over }) = &link.pending {
            let record = self.record.get_or_insert_default();
            let newest = record.newest(client_id);
            let is_newer = newest.is_none() || newest == *over || newest == token;
            if is_newer && !record.knows(client_id, &pair.tokens.refresh_token) {
                record.renew(client_id, &Credentials::default(), pair);
            }
            let waited = fingerprint(client_id, &pair.tokens.refresh_token);
            record.replace(client_id, [waited]);
            self.moved.push(from.to_owned());
        }
        if let Some(record) = &mut self.record {
            record.replace(client_id, token);
        }
    }
}

/// The names that were passed on the way to that of an installation.
#[derive(Debug, Default)]
struct Former {
    record: TokenRecord,
    names: Vec<String>,
    /// The newest refresh token that they know.
    newest: Option<String>,
}

impl Former {
    /// Looks up the newest token that is known so far.
    fn newest_of<'a>(&'a self, query: InstallationQuery<'a>) -> InstallationQuery<'a> {
        InstallationQuery {
            refresh_token: self.newest.as_deref().unwrap_or(query.refresh_token),
            ..query
        }
    }

    /// Remembers a name whose newest token leads further, and then returns nothing. At the end of
    /// the way it adds to what is found there all that was known on the way.
    fn follow(&mut self, client_id: &str, name: &str, mut found: Found) -> Option<Found> {
        if let Some(token) = found.further.take()
            && !self.names.iter().any(|known| known == name)
        {
            if let Some(record) = &found.record {
                self.record.absorb(client_id, record);
            }
            self.names.push(name.to_owned());
            self.newest = Some(token);
            return None;
        }
        if let Some(record) = &mut found.record {
            let before = record.clone();
            record.absorb(client_id, &self.record);
            found.stored &= *record == before;
        }
        Some(found)
    }
}

fn host_name(client_id: &str, portal: &Origin) -> String {
    format!("host-{}~{}", file_name(portal), escaped(client_id))
}
