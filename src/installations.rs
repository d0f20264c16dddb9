//! What this process knows of installations: the newest pair of each, and the renewal under way.
//!
//! An installation is known by its tokens: whoever has one of them, under whatever host, is of it.
//! Hosts count only where there is no refresh token, because a state directory has it.

use crate::Error;
use crate::address::Origin;
use crate::tokens::{Credentials, fingerprint};
use crate::wait::{Call, Event, Stop};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What an installation is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name(u64);

impl Name {
    /// By its refresh token, or by its portal where there is none.
    pub(crate) fn of(client_id: &str, portal: &Origin, credentials: &Credentials) -> Self {
        match credentials.tokens.refresh_token.as_str() {
            "" => Self(fingerprint(client_id, &portal.to_string())),
            token => Self(fingerprint(client_id, token)),
        }
    }
}

/// The installations whose tokens this process has renewed, or renews.
#[derive(Debug, Default)]
pub(crate) struct Installations(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    ids: HashMap<Name, u64>,
    installations: HashMap<u64, Installation>,
    next_id: u64,
    /// Counts what is asked: whose last time was the lowest is forgotten first.
    clock: u64,
}

#[derive(Default)]
struct Installation {
    newest: Option<Credentials>,
    /// The state directory of the client that got the newest pair, which has it too.
    home: Option<PathBuf>,
    /// All that it is found by, oldest first.
    names: VecDeque<Name>,
    /// What the authorization server refused for good, and how.
    refused: Option<(Asking, Error)>,
    attempt: Option<Arc<Attempt>>,
    used: u64,
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").finish_non_exhaustive()
    }
}

/// With what the authorization server is asked: who asks otherwise may be answered otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking(u64);

impl Asking {
    pub(crate) fn new(oauth: &Origin, client_id: &str, secret: &str, refresh_token: &str) -> Self {
        let who = format!("{oauth}\0{client_id}\0{secret}");
        Self(fingerprint(&who, refresh_token))
    }
}

/// What there is for a client whose token is no longer good.
pub(crate) enum Standing {
    /// A newer pair.
    Newer(Credentials),
    /// A renewal that is under way.
    Renewing(Wanting),
    /// A renewal that the caller is to begin, of this pair: the newest that the process knows. If it
    /// is good, only the caller's state directory does not know it yet.
    Begin(Wanting, Credentials),
}

impl Installations {
    const MANY: usize = 16 * 1024;
    /// By how many tokens an installation is found that no state directory knows.
    const MANY_NAMES: usize = 128;
    /// By how many where a state directory knows all the others.
    const FEW_NAMES: usize = 8;

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How things stand for a client with these credentials and this state directory, whose call may
    /// wait until then.
    pub(crate) fn standing(
        &self,
        name: Name,
        mine: &Credentials,
        home: Option<&Path>,
        until: Instant,
    ) -> Standing {
        let mut known = self.lock();
        let installation = known.get_or_make(name);
        if let Some(attempt) = &installation.attempt {
            return Standing::Renewing(attempt.want(until));
        }
        let newest = installation.newest.as_ref().unwrap_or(mine);
        let is_at_home = home.is_none() || installation.home.as_deref() == home;
        if is_at_home && newest.are_good_after(mine) {
            return Standing::Newer(newest.clone());
        }
        let stale = newest.clone();
        let attempt = Attempt::new();
        let wanting = attempt.want(until);
        installation.attempt = Some(attempt);
        Standing::Begin(wanting, stale)
    }

    /// The refusal of these very credentials, if there was one.
    pub(crate) fn refusal(&self, name: Name, asking: Asking) -> Option<Error> {
        let mut known = self.lock();
        let (refused, error) = known.get_or_make(name).refused.as_ref()?;
        (*refused == asking).then(|| error.clone())
    }

    /// Notes that these credentials were refused for good.
    pub(crate) fn refuse(&self, name: Name, asking: Asking, error: &Error) {
        self.lock().get_or_make(name).refused = Some((asking, error.clone()));
    }

    /// Notes the newest pair, which a client with this state directory has got, and what else the
    /// installation is found by from now on.
    pub(crate) fn note(&self, name: Name, also: Name, newest: &Credentials, home: Option<&Path>) {
        let mut known = self.lock();
        let installation = known.get_or_make(name);
        installation.newest = Some(newest.clone());
        installation.home = home.map(Path::to_owned);
        let max = home.map_or(Self::MANY_NAMES, |_| Self::FEW_NAMES);
        known.add_name(name, also, max);
    }

    /// Notes that an attempt has ended.
    pub(crate) fn finish(&self, name: Name) {
        self.lock().get_or_make(name).attempt = None;
    }

    /// The refresh tokens, as fingerprints, that the installation is found by. (A host's is among
    /// them where there was no token; it is no token's.)
    pub(crate) fn tokens_of(&self, name: Name) -> Vec<u64> {
        let mut known = self.lock();
        let names = &known.get_or_make(name).names;
        names.iter().map(|name| name.0).collect()
    }

    /// The renewals that are under way.
    pub(crate) fn attempts(&self) -> Vec<Arc<Attempt>> {
        let known = self.lock();
        let installations = known.installations.values();
        installations
            .filter_map(|installation| installation.attempt.clone())
            .collect()
    }
}

impl Known {
    fn get_or_make(&mut self, name: Name) -> &mut Installation {
        self.clock += 1;
        let id = if let Some(id) = self.ids.get(&name) {
            *id
        } else {
            if self.installations.len() >= Installations::MANY {
                self.forget_some();
            }
            self.next_id += 1;
            self.ids.insert(name, self.next_id);
            self.next_id
        };
        let installation = self.installations.entry(id).or_default();
        installation.used = self.clock;
        if installation.names.is_empty() {
            installation.names.push_back(name);
        }
        installation
    }

    /// The tokens that somebody's settings were written with count as much as those that were
    /// replaced just now, so that an eighth is of the first ones.
    fn add_name(&mut self, name: Name, also: Name, max: usize) {
        let Some(id) = self.ids.get(&name).copied() else {
            return;
        };
        let Some(installation) = self.installations.get_mut(&id) else {
            return;
        };
        if self.ids.insert(also, id) != Some(id) {
            installation.names.push_back(also);
        }
        if installation.names.len() > max
            && let Some(old) = installation.names.remove(max / 8)
        {
            self.ids.remove(&old);
        }
    }

    /// Forgets those that were not asked for longest, an eighth of all.
    fn forget_some(&mut self) {
        let idle = |installation: &&Installation| installation.attempt.is_none();
        let mut used: Vec<u64> = self
            .installations
            .values()
            .filter(idle)
            .map(|installation| installation.used)
            .collect();
        used.sort_unstable();
        let Some(limit) = used.get(used.len() / 8).copied() else {
            return;
        };
        self.installations
            .retain(|_, installation| installation.attempt.is_some() || installation.used > limit);
        let left = &self.installations;
        self.ids.retain(|_, id| left.contains_key(id));
    }
}

/// What a renewal came to.
#[derive(Clone)]
pub(crate) struct Outcome {
    /// Who has asked the authorization server.
    pub(crate) asker: Asking,
    pub(crate) result: Result<Renewal, Error>,
}

/// How a newer pair was got, if there is one.
#[derive(Clone)]
pub(crate) enum Renewal {
    /// From the authorization server.
    Renewed(Credentials),
    /// Another process had renewed already.
    TakenOver(Credentials),
    /// There is nothing to renew with.
    NoMeans,
    /// Nobody waited for it any more, before anything was asked for that could be lost.
    Abandoned,
}

/// A renewal under way, on a thread of its own, and who waits for it.
pub(crate) struct Attempt(Mutex<Progress>);

#[derive(Default)]
struct Progress {
    outcome: Option<Outcome>,
    waiting: Vec<Arc<Event>>,
    /// How many calls would use the outcome, and the last deadline of those that came.
    wanted_by: usize,
    until: Option<Instant>,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Attempt {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(self: &Arc<Self>, until: Instant) -> Wanting {
        let mut progress = self.lock();
        progress.wanted_by += 1;
        progress.until = progress.until.max(Some(until));
        Wanting(Arc::clone(self))
    }

    /// Whether a call would use the outcome.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().wanted_by > 0
    }

    /// How long calls wait for the outcome yet.
    pub(crate) fn patience(&self) -> Duration {
        let until = self.lock().until;
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Tells everybody who waits what it came to. The first outcome stands.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut progress = self.lock();
        progress.outcome.get_or_insert(outcome);
        for event in progress.waiting.drain(..) {
            event.notify();
        }
    }

    /// Waits for the outcome, until the call's deadline at the latest.
    pub(crate) fn wait(&self, call: &Call) -> Result<Outcome, Stop> {
        let event = Event::new().map_err(|_| Stop::NoDescriptor)?;
        {
            let mut progress = self.lock();
            if let Some(outcome) = &progress.outcome {
                return Ok(outcome.clone());
            }
            progress.waiting.push(Arc::clone(&event));
        }
        loop {
            let stopped = call.wait(&event, call.deadline).err();
            let mut progress = self.lock();
            if let Some(outcome) = &progress.outcome {
                return Ok(outcome.clone());
            }
            if let Some(stop) = stopped {
                progress.waiting.retain(|other| !Arc::ptr_eq(other, &event));
                return Err(stop);
            }
        }
    }
}

/// A call that would use the outcome of an attempt.
#[derive(Debug)]
pub(crate) struct Wanting(Arc<Attempt>);

impl Wanting {
    pub(crate) fn attempt(&self) -> &Arc<Attempt> {
        &self.0
    }
}

impl Drop for Wanting {
    fn drop(&mut self) {
        self.0.lock().wanted_by -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = Installations::MANY_NAMES;

    fn pair(number: usize) -> Credentials {
        let mut pair = Credentials::default();
        pair.tokens.access_token = format!("access-{number}");
        pair.tokens.refresh_token = format!("refresh-{number}");
        pair
    }

    fn name(pair: &Credentials) -> Name {
        Name::of("app.1", &Origin::default_oauth(), pair)
    }

    /// As a renewal of the first pair does, and of each that follows.
    fn renew(known: &Installations, from: usize, to: usize) {
        for number in from..to {
            let (old, new) = (pair(number), pair(number + 1));
            let Standing::Begin(wanting, stale) =
                known.standing(name(&old), &old, None, Instant::now())
            else {
                panic!("pair {number} is not the newest");
            };
            assert!(stale == old);
            assert!(wanting.attempt().is_wanted());
            known.note(name(&old), name(&new), &new, None);
            known.finish(name(&old));
        }
    }

    #[test]
    fn whoever_has_a_token_of_the_installation_gets_the_newest_pair() {
        let known = Installations::default();
        renew(&known, 0, 500);
        for number in (0..16).chain(389..500) {
            let standing = known.standing(name(&pair(number)), &pair(number), None, Instant::now());
            let Standing::Newer(newest) = standing else {
                panic!("pair {number} is not known");
            };
            assert!(newest == pair(500));
        }
        let names = known.lock().ids.len();
        assert_eq!(names, MAX);
    }

    #[test]
    fn a_renewal_under_way_is_waited_for() {
        let known = Installations::default();
        let Standing::Begin(first, _) =
            known.standing(name(&pair(0)), &pair(0), None, Instant::now())
        else {
            panic!("nothing is under way");
        };
        let Standing::Renewing(second) =
            known.standing(name(&pair(0)), &pair(0), None, Instant::now())
        else {
            panic!("a renewal is under way");
        };
        drop(second);
        assert!(first.attempt().is_wanted());
        let attempt = Arc::clone(first.attempt());
        drop(first);
        assert!(!attempt.is_wanted());
        assert_eq!(known.attempts().len(), 1);
        known.finish(name(&pair(0)));
        assert_eq!(known.attempts().len(), 0);
    }

    #[test]
    fn the_least_recently_used_are_forgotten() {
        let known = Installations::default();
        for number in 0..=Installations::MANY {
            known.finish(name(&pair(number)));
        }
        let known = known.lock();
        assert_eq!(known.installations.len(), known.ids.len());
        assert!(known.installations.len() <= Installations::MANY * 7 / 8 + 1);
        assert!(!known.ids.contains_key(&name(&pair(0))));
        assert!(known.ids.contains_key(&name(&pair(Installations::MANY))));
    }

    /// What docs/operations.md says of memory.
    #[cfg(target_os = "linux")]
    #[test]
    fn ten_thousand_installations_take_what_the_manual_says() {
        let resident = || -> i64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|rest| rest.split_whitespace().next())
                .and_then(|kib| kib.parse().ok())
                .unwrap()
        };
        // The smaller first: memory that was freed does not count as grown.
        for (home, limit) in [(Some(Path::new("/state")), 24), (None, 80)] {
            let known = Installations::default();
            let before = resident();
            for portal in 0..10_000_u64 {
                let first = Name(fingerprint("", &format!("{portal}")));
                let mut newest = pair(0);
                // What the vendor's tokens and addresses are like.
                newest.tokens.access_token = "a".repeat(70);
                newest.tokens.refresh_token = "r".repeat(70);
                newest.tokens.client_endpoint = "https://portal.bitrix24.com/rest/".to_owned();
                newest.tokens.member_id = "m".repeat(32);
                for number in 0..264_u64 {
                    let also = Name(fingerprint("", &format!("{portal}-{number}")));
                    known.note(first, also, &newest, home);
                }
            }
            let grown = resident() - before;
            println!("10,000 installations, state_dir {home:?}: {grown} KiB");
            assert!(grown < limit * 1024, "{grown} KiB");
        }
    }
}
