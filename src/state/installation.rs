//! Installations in the state directory: which file and lock a client's are, whatever its settings
//! call them.
//!
//! Settings name a host and a refresh token; hosts are renamed and tokens replaced. So the file of
//! tokens (`NAME.tokens`) and its lock go by the portal's `member_id` once a renewal has told it,
//! and links (`NAME.link`) lead there from each host and each refresh token that was used:
//!
//! | name | of |
//! |---|---|
//! | `member-ID~CLIENT` | an installation whose portal has told its `member_id` |
//! | `token-HASH` | one that is known by its refresh token only |
//! | `host-HOST~CLIENT` | one that is known by its host only |
//!
//! An answer is first written into the link of the token that was spent for it, together with the
//! place it leads to; then into the file there. A process killed in between leaves a link with a
//! pair in it, which whoever comes next moves to its place.

use super::{Fault, Record, escaped};
use crate::tokens::{Credentials, fingerprint};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use super::lock::{Lock, Unlocked};
#[cfg(unix)]
use super::{Room, StateDir, file_name};
#[cfg(unix)]
use crate::address::Origin;
#[cfg(unix)]
use crate::wait::Call;

/// What the name of an installation begins with when its portal's `member_id` is known.
const MEMBER: &str = "member-";

/// What a link holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    version: u32,
    /// The name that it leads to.
    to: String,
    /// A pair that has not been moved there yet.
    pending: Option<Credentials>,
}

impl Link {
    const VERSION: u32 = 2;

    fn new(to: &str, pending: Option<&Credentials>) -> Self {
        Self {
            version: Self::VERSION,
            to: to.to_owned(),
            pending: pending.cloned(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let link: Self = serde_json::from_slice(bytes).ok()?;
        // A name that would lead out of the directory is not one of ours.
        let plain = [MEMBER, "token-", "host-"]
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
    format!("token-{:016x}", fingerprint(client_id, refresh_token))
}

/// Whose installation is looked for.
#[cfg(unix)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeker<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) refresh_token: &'a str,
    /// The addresses under which the client knows the portal.
    pub(crate) portals: &'a [Origin],
}

/// The name of an installation, and a pair that waits in a link to be moved there.
#[cfg(unix)]
#[derive(Debug, PartialEq)]
struct Place {
    name: String,
    pending: Option<Pending>,
}

#[cfg(unix)]
#[derive(Debug, PartialEq)]
struct Pending {
    link: String,
    pair: Credentials,
}

/// An installation's tokens, which no other process or copy of this library changes until this is
/// dropped.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Held<'a> {
    directory: &'a StateDir,
    client_id: String,
    portals: Vec<Origin>,
    name: String,
    pub(crate) record: Option<Record>,
    room: Option<Room<'a>>,
    _lock: Lock,
}

#[cfg(unix)]
impl StateDir {
    /// The record of an installation, if any process has stored one. Nothing is locked: it may be
    /// replaced at any moment.
    pub(crate) fn look_up(&self, seeker: Seeker<'_>) -> Result<Option<Record>, Fault> {
        let place = match self.linked(seeker)? {
            Some(place) => place,
            None => unlinked(seeker),
        };
        let mut record = self.read_record(&place.name)?;
        if let Some(pending) = &place.pending {
            merge(&mut record, seeker, &pending.pair);
        }
        Ok(record)
    }

    /// Waits until nobody else renews the tokens of this installation, and reads them. `go_on` is
    /// asked from time to time whether anybody still waits for them.
    pub(crate) fn hold(
        &self,
        seeker: Seeker<'_>,
        call: &Call,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Held<'_>, Unlocked> {
        let mut token = seeker.refresh_token.to_owned();
        loop {
            call.check()?;
            let seeker = Seeker {
                refresh_token: &token,
                ..seeker
            };
            let name = match self.linked(seeker)? {
                Some(place) => place.name,
                None => match self.search(seeker)? {
                    Some(name) => name,
                    None => unlinked(seeker).name,
                },
            };
            let lock = self.lock(&name, call, go_on)?;
            // Whoever had the lock before may have found out where the installation belongs.
            let place = self.linked(seeker)?;
            if place.as_ref().is_some_and(|now| now.name != name) {
                continue;
            }
            let mut record = self.read_record(&name)?;
            // What is known by host alone is known by the token in its file from now on.
            if !name.starts_with(MEMBER)
                && let Some(known) = &record
                && let newest = &known.credentials.tokens.refresh_token
                && !newest.is_empty()
                && let by_token = self.resolve(token_name(seeker.client_id, newest))?
                && by_token.name.starts_with(MEMBER)
            {
                token = newest.clone();
                continue;
            }
            if let Some(pending) = place.and_then(|place| place.pending) {
                merge(&mut record, seeker, &pending.pair);
                if let Some(record) = &record {
                    self.write_record(&name, record)?;
                }
                self.link(&pending.link, &name)?;
            }
            return Ok(Held {
                directory: self,
                client_id: seeker.client_id.to_owned(),
                portals: seeker.portals.to_vec(),
                name,
                record,
                room: None,
                _lock: lock,
            });
        }
    }

    /// Where links lead: the one of the refresh token, or one of a host if the refresh token is of
    /// the installation there, or if there is none to know it by.
    fn linked(&self, seeker: Seeker<'_>) -> Result<Option<Place>, Fault> {
        let Seeker {
            client_id,
            refresh_token,
            portals,
        } = seeker;
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
                || self
                    .read_record(&place.name)?
                    .is_some_and(|record| record.knows(client_id, refresh_token))
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Follows the links that begin at a name.
    fn resolve(&self, name: String) -> Result<Place, Fault> {
        /// One leads from a token or host to a token, and one from there to a member.
        const LONGEST: usize = 4;
        let mut place = Place {
            name,
            pending: None,
        };
        for _ in 0..LONGEST {
            if place.name.starts_with(MEMBER) {
                break;
            }
            let Some(link) = self.read_link(&place.name)? else {
                break;
            };
            let from = std::mem::replace(&mut place.name, link.to);
            place.pending = link
                .pending
                .map(|pair| Pending { link: from, pair })
                .or(place.pending);
        }
        Ok(place)
    }

    /// The installation, of all that are here, whose refresh token it is or was. It is looked for
    /// when settings are renewed whose host and token are both new here: at an installation's
    /// first renewal, or after its portal was renamed.
    fn search(&self, seeker: Seeker<'_>) -> Result<Option<String>, Fault> {
        if seeker.refresh_token.is_empty() {
            return Ok(None);
        }
        let fault = |e: &std::io::Error| super::io_fault(&self.path, "cannot be read", e);
        let of_client = format!("~{}", escaped(seeker.client_id));
        for entry in std::fs::read_dir(&self.path).map_err(|e| fault(&e))? {
            let file = entry.map_err(|e| fault(&e))?.file_name();
            let Some(name) = file.to_str().and_then(|name| name.strip_suffix(".tokens")) else {
                continue;
            };
            if (name.ends_with(&of_client) || name.starts_with("token-"))
                && self
                    .read_record(name)?
                    .is_some_and(|record| record.knows(seeker.client_id, seeker.refresh_token))
            {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    fn read_link(&self, name: &str) -> Result<Option<Link>, Fault> {
        self.read_as(&format!("{name}.link"), Link::from_bytes)
    }

    fn read_record(&self, name: &str) -> Result<Option<Record>, Fault> {
        self.read_as(&format!("{name}.tokens"), Record::from_bytes)
    }

    /// What a file holds; `None` if there is no such file.
    fn read_as<T>(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        let damaged = || {
            Fault::new(
                &self.path.join(name),
                "is not a file of this library's, or was damaged; if the tokens in your settings \
                 are the newest there are, remove the file",
            )
        };
        parse(&bytes).map(Some).ok_or_else(damaged)
    }

    fn write_record(&self, name: &str, record: &Record) -> Result<(), Fault> {
        let name = format!("{name}.tokens");
        self.replace(&name, &self.written(&name, record.to_bytes())?)
    }

    /// Makes a link lead to a name, with nothing left to be moved.
    fn link(&self, from: &str, to: &str) -> Result<(), Fault> {
        let link = Link::new(to, None);
        if from == to || self.read_link(from)?.as_ref() == Some(&link) {
            return Ok(());
        }
        let name = format!("{from}.link");
        self.replace_any_time(&name, &self.written(&name, serde_json::to_vec(&link))?)
    }

    /// Text always makes JSON; if it should not, what is there stays.
    fn written(&self, name: &str, bytes: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, Fault> {
        bytes.map_err(|e| Fault::new(&self.path.join(name), format!("cannot be written: {e}")))
    }
}

#[cfg(unix)]
impl Held<'_> {
    /// Makes sure that the answer can be stored before the refresh token is spent for it.
    pub(crate) fn make_room(&mut self) -> Result<(), Fault> {
        /// More than two tokens and addresses take.
        const PAIR: usize = 8 * 1024;
        let size = match &self.record {
            Some(record) => self.directory.written(&self.name, record.to_bytes())?.len(),
            None => 0,
        };
        let new = format!("{}.new", self.name);
        self.room = Some(self.directory.make_room(&new, size + PAIR)?);
        Ok(())
    }

    /// Stores the pair that the renewal of `used` has brought. When this returns it is on the disk.
    pub(crate) fn store(
        mut self,
        used: &Credentials,
        fresh: &Credentials,
        call: &Call,
    ) -> Result<(), Fault> {
        let member_id = &fresh.tokens.member_id;
        let name = if member_id.is_empty() {
            self.name.clone()
        } else {
            member_name(&self.client_id, member_id)
        };
        if name != self.name {
            return self.store_elsewhere(&name, used, fresh, call);
        }
        // A link that cannot be written must not keep the pair from being written.
        let linked = self.link_hosts(&name, fresh);
        let mut record = self.record.take().unwrap_or_default();
        record.renew(&self.client_id, used, fresh);
        let file = format!("{name}.tokens");
        let bytes = self.directory.written(&file, record.to_bytes())?;
        self.write(&file, &bytes)?;
        linked
    }

    /// Until now it was known by its token or host only, or another portal has its host now.
    fn store_elsewhere(
        mut self,
        name: &str,
        used: &Credentials,
        fresh: &Credentials,
        call: &Call,
    ) -> Result<(), Fault> {
        let spent = token_name(&self.client_id, &used.tokens.refresh_token);
        let file = format!("{spent}.link");
        let pending = serde_json::to_vec(&Link::new(name, Some(fresh)));
        self.write(&file, &self.directory.written(&file, pending)?)?;
        let _lock = match self.directory.lock(name, call, &|| true) {
            Ok(lock) => lock,
            Err(Unlocked::Storage(fault)) => return Err(fault),
            // Another process renews it just now. Whoever comes next moves the pair.
            Err(Unlocked::Stopped(_)) => return Ok(()),
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
        self.directory.write_record(name, &record)?;
        self.directory.link(&spent, name)?;
        if !self.name.starts_with(MEMBER) {
            self.directory.link(&self.name, name)?;
            // Nobody comes here any more: they are harmless where they cannot be removed.
            for ending in ["tokens", "lock"] {
                let file = format!("{}.{ending}", self.name);
                let _ = std::fs::remove_file(self.directory.path.join(file));
            }
        }
        linked
    }

    /// Makes the portal's addresses lead to a name, as far as it can be done.
    fn link_hosts(&self, name: &str, fresh: &Credentials) -> Result<(), Fault> {
        let told = Origin::parse(&fresh.tokens.client_endpoint).ok();
        let mut linked = Ok(());
        for portal in self.portals.iter().chain(&told) {
            let host = host_name(&self.client_id, portal);
            linked = linked.and(self.directory.link(&host, name));
        }
        linked
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Result<(), Fault> {
        match self.room.take() {
            Some(room) => room.fill(name, content),
            None => self.directory.replace(name, content),
        }
    }
}

/// The name of an installation that no link leads to yet.
#[cfg(unix)]
fn unlinked(seeker: Seeker<'_>) -> Place {
    let name = match seeker.portals {
        [portal, ..] if seeker.refresh_token.is_empty() => host_name(seeker.client_id, portal),
        _ => token_name(seeker.client_id, seeker.refresh_token),
    };
    Place {
        name,
        pending: None,
    }
}

/// Records a pair that waited in a link, unless it has been recorded already.
#[cfg(unix)]
fn merge(record: &mut Option<Record>, seeker: Seeker<'_>, pair: &Credentials) {
    let record = record.get_or_insert_default();
    let is_newer = match (record.credentials.expires_here, pair.expires_here) {
        (Some(recorded), Some(waiting)) => waiting > recorded,
        _ => true,
    };
    if is_newer && !record.knows(seeker.client_id, &pair.tokens.refresh_token) {
        let mut used = Credentials::default();
        seeker
            .refresh_token
            .clone_into(&mut used.tokens.refresh_token);
        record.renew(seeker.client_id, &used, pair);
    }
}

#[cfg(unix)]
fn host_name(client_id: &str, portal: &Origin) -> String {
    format!("host-{}~{}", file_name(portal), escaped(client_id))
}
