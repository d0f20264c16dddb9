//! What this process knows about installations: the newest pair of each, and the renewal under way.
//!
//! An installation is recognized by its tokens: a client that has one of them belongs to it,
//! whatever its host. Hosts count only if the client has no refresh token, because it is in a state
//! directory.

use crate::process::cancellation::{CallContext, Interrupt};
use crate::process::pending::Pending;
use crate::process::per_process::{Local, PerProcess, Process};
use crate::process::registry::{Entry, Registry};
use crate::process::sync::{Mutex, MutexGuard, now};
use crate::values::address::Origin;
use crate::values::error::Error;
use crate::values::tokens::{Credentials, fingerprint};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The key by which an installation is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InstallationKey(u64);

impl InstallationKey {
    /// Its refresh token, or its portal if there is none.
    pub(crate) fn of(client_id: &str, portal: &Origin, credentials: &Credentials) -> Self {
        match credentials.tokens.refresh_token.as_str() {
            "" => Self(fingerprint(client_id, &portal.to_string())),
            token => Self(fingerprint(client_id, token)),
        }
    }
}

/// The installations that this process knows.
pub(crate) fn known_tokens(process: &Arc<Process>) -> Local<KnownTokens> {
    static KNOWN: PerProcess<KnownTokens> = PerProcess::new();
    KNOWN.of(process)
}

/// The installations whose tokens this process has renewed, or renews.
#[derive(Debug, Default)]
pub(crate) struct KnownTokens(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    ids: HashMap<InstallationKey, u64>,
    installations: Registry<u64, KnownInstallation>,
    next_id: u64,
}

#[derive(Default)]
struct KnownInstallation {
    newest: Option<Credentials>,
    /// The state directory of the client that got the newest pair; the pair is stored there too.
    home: Option<PathBuf>,
    /// All keys by which it is found, oldest first.
    keys: VecDeque<InstallationKey>,
    /// What the authorization server refused for good, and how.
    refused: Option<(RequesterId, Error)>,
    renewal: Option<Arc<PendingRenewal>>,
}

impl Entry for KnownInstallation {
    const MAX_ENTRIES: usize = 16 * 1024;

    fn is_idle(&self) -> bool {
        self.renewal.is_none()
    }
}

impl std::fmt::Debug for KnownInstallation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownInstallation").finish_non_exhaustive()
    }
}

/// What the authorization server is asked with. With other values it may answer differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequesterId(u64);

impl RequesterId {
    pub(crate) fn new(oauth: &Origin, client_id: &str, secret: &str, refresh_token: &str) -> Self {
        let who = format!("{oauth}\0{client_id}\0{secret}");
        Self(fingerprint(&who, refresh_token))
    }
}

/// What a client can do whose token is no longer valid.
pub(crate) enum NextStep {
    /// A newer pair.
    Newer(Credentials),
    /// A renewal that is under way.
    Wait(RenewalWaiter),
    /// The caller must start a renewal of this pair, the newest that the process knows. If it is
    /// valid, only the caller's state directory does not have it yet.
    Begin(RenewalWaiter, Credentials),
}

impl KnownTokens {
    /// How many keys an installation has that is in no state directory.
    const MAX_KEYS: usize = 128;
    /// How many it has if a state directory has all the others.
    const MAX_STORED_KEYS: usize = 8;

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a client with these credentials and this state directory can do, whose call may wait
    /// until then.
    pub(crate) fn next_step(
        &self,
        key: InstallationKey,
        mine: &Credentials,
        home: Option<&Path>,
        until: Instant,
    ) -> NextStep {
        let mut known = self.lock();
        let installation = known.get_or_make(key);
        if let Some(renewal) = &installation.renewal {
            return NextStep::Wait(renewal.want(until));
        }
        let newest = installation.newest.as_ref().unwrap_or(mine);
        let is_at_home = home.is_none() || installation.home.as_deref() == home;
        if is_at_home && newest.are_good_after(mine) {
            return NextStep::Newer(newest.clone());
        }
        let stale = newest.clone();
        let renewal = Arc::<PendingRenewal>::default();
        let waiter = renewal.want(until);
        installation.renewal = Some(renewal);
        NextStep::Begin(waiter, stale)
    }

    /// The refusal of these very credentials, if there was one.
    pub(crate) fn refusal(&self, key: InstallationKey, requester: RequesterId) -> Option<Error> {
        let mut known = self.lock();
        let (refused, error) = known.get_or_make(key).refused.as_ref()?;
        (*refused == requester).then(|| error.clone())
    }

    /// Notes that these credentials were refused for good.
    pub(crate) fn refuse(&self, key: InstallationKey, requester: RequesterId, error: &Error) {
        self.lock().get_or_make(key).refused = Some((requester, error.clone()));
    }

    /// Notes the newest pair, which a client with this state directory has got, and further keys by
    /// which the installation is found from now on.
    pub(crate) fn note(
        &self,
        key: InstallationKey,
        also: InstallationKey,
        newest: &Credentials,
        home: Option<&Path>,
    ) {
        let mut known = self.lock();
        let installation = known.get_or_make(key);
        installation.newest = Some(newest.clone());
        installation.home = home.map(Path::to_owned);
        let max = home.map_or(Self::MAX_KEYS, |_| Self::MAX_STORED_KEYS);
        known.add_key(key, also, max);
    }

    /// Notes that a renewal has ended.
    pub(crate) fn finish(&self, key: InstallationKey) {
        self.lock().get_or_make(key).renewal = None;
    }

    /// The fingerprints of the refresh tokens by which the installation is found. (If there was no
    /// token, the fingerprint of its host is among them.)
    pub(crate) fn tokens_of(&self, key: InstallationKey) -> Vec<u64> {
        let mut known = self.lock();
        let keys = &known.get_or_make(key).keys;
        keys.iter().map(|key| key.0).collect()
    }

    /// Whether this process has replaced one pair of an installation by the other, or by one that led
    /// to it.
    pub(crate) fn has_replaced(
        &self,
        key: InstallationKey,
        former: InstallationKey,
        newest: InstallationKey,
    ) -> bool {
        let mut known = self.lock();
        let keys = &known.get_or_make(key).keys;
        former != newest && keys.contains(&former) && keys.back() == Some(&newest)
    }

    /// The renewals that are under way.
    pub(crate) fn pending(&self) -> Vec<Arc<PendingRenewal>> {
        let known = self.lock();
        let installations = known.installations.values();
        installations
            .filter_map(|installation| installation.renewal.clone())
            .collect()
    }
}

impl Known {
    fn get_or_make(&mut self, key: InstallationKey) -> &mut KnownInstallation {
        let id = if let Some(id) = self.ids.get(&key) {
            *id
        } else {
            if self.installations.make_room() {
                let left = &self.installations;
                self.ids.retain(|_, id| left.contains(id));
            }
            self.next_id += 1;
            self.ids.insert(key, self.next_id);
            self.next_id
        };
        let installation = self.installations.get_or_insert_with(id, Default::default);
        if installation.keys.is_empty() {
            installation.keys.push_back(key);
        }
        installation
    }

    /// Settings may have the first tokens as well as those that were replaced just now. So an
    /// eighth of the keys are the first ones.
    fn add_key(&mut self, key: InstallationKey, also: InstallationKey, max: usize) {
        let Some(id) = self.ids.get(&key).copied() else {
            return;
        };
        let Some(installation) = self.installations.get(&id) else {
            return;
        };
        if self.ids.insert(also, id) != Some(id) {
            installation.keys.push_back(also);
        }
        // Not the key by which the renewal under way is going to be ended.
        let oldest = max / 8;
        let oldest = oldest + usize::from(installation.keys.get(oldest) == Some(&key));
        if installation.keys.len() > max
            && let Some(old) = installation.keys.remove(oldest)
        {
            self.ids.remove(&old);
        }
    }
}

/// The outcome of a renewal.
#[derive(Clone)]
pub(crate) struct RenewalOutcome {
    /// With what the authorization server was asked.
    pub(crate) requester: RequesterId,
    pub(crate) result: Result<RenewalResult, Error>,
}

/// Where a newer pair came from, if there is one.
#[derive(Clone)]
pub(crate) enum RenewalResult {
    /// From the authorization server.
    Renewed(Credentials),
    /// Another process had renewed already.
    TakenOver(Credentials),
    /// There is no refresh token to renew with.
    NoMeans,
    /// Nobody waited for it any more, and the server had not been asked yet.
    Abandoned,
}

/// A renewal under way, on a thread of its own, and who waits for it.
#[derive(Default)]
pub(crate) struct PendingRenewal {
    outcome: Pending<RenewalOutcome>,
    demand: Mutex<Demand>,
}

/// How many calls would use the outcome, and their latest deadline.
#[derive(Default)]
struct Demand {
    calls: usize,
    until: Option<Instant>,
}

impl std::fmt::Debug for PendingRenewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRenewal").finish_non_exhaustive()
    }
}

impl PendingRenewal {
    fn demand(&self) -> MutexGuard<'_, Demand> {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(self: &Arc<Self>, until: Instant) -> RenewalWaiter {
        let mut demand = self.demand();
        demand.calls += 1;
        demand.until = demand.until.max(Some(until));
        RenewalWaiter(Arc::clone(self))
    }

    /// Whether a call would use the outcome.
    pub(crate) fn is_wanted(&self) -> bool {
        self.demand().calls > 0
    }

    /// How long calls will still wait for the outcome.
    pub(crate) fn patience(&self) -> Duration {
        let until = self.demand().until;
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(now())
        })
    }

    /// Gives the outcome to everybody who waits. The first outcome stands.
    pub(crate) fn end(&self, outcome: RenewalOutcome) {
        self.outcome.set(outcome);
    }

    /// Waits for the outcome, until the call's deadline at the latest.
    pub(crate) fn wait(&self, call: &CallContext) -> Result<RenewalOutcome, Interrupt> {
        self.outcome.wait(call)
    }
}

/// A call that would use the outcome of a renewal.
#[derive(Debug)]
pub(crate) struct RenewalWaiter(Arc<PendingRenewal>);

impl RenewalWaiter {
    pub(crate) fn renewal(&self) -> &Arc<PendingRenewal> {
        &self.0
    }
}

impl Drop for RenewalWaiter {
    fn drop(&mut self) {
        self.0.demand().calls -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = KnownTokens::MAX_KEYS;

    fn pair(number: usize) -> Credentials {
        let mut pair = Credentials::default();
        pair.tokens.access_token = format!("access-{number}");
        pair.tokens.refresh_token = format!("refresh-{number}");
        pair
    }

    fn name(pair: &Credentials) -> InstallationKey {
        InstallationKey::of("app.1", &Origin::default_oauth(), pair)
    }

    /// As a renewal of the first pair does, and of each later one.
    fn renew(known: &KnownTokens, from: usize, to: usize) {
        for number in from..to {
            let (old, new) = (pair(number), pair(number + 1));
            let NextStep::Begin(waiter, stale) =
                known.next_step(name(&old), &old, None, Instant::now())
            else {
                panic!("pair {number} is not the newest");
            };
            assert!(stale == old);
            assert!(waiter.renewal().is_wanted());
            known.note(name(&old), name(&new), &new, None);
            known.finish(name(&old));
        }
    }

    #[test]
    fn a_pair_that_was_replaced_here_is_known() {
        let known = KnownTokens::default();
        let key = |name| InstallationKey(fingerprint("app", name));
        known.note(key("1"), key("2"), &pair(2), None);
        assert!(known.has_replaced(key("1"), key("1"), key("2")));
        assert!(!known.has_replaced(key("1"), key("2"), key("1")));
        assert!(!known.has_replaced(key("1"), key("2"), key("2")));
        assert!(!known.has_replaced(key("1"), key("another process's"), key("2")));
    }

    #[test]
    fn whoever_has_a_token_of_the_installation_gets_the_newest_pair() {
        let known = KnownTokens::default();
        renew(&known, 0, 500);
        for number in (0..16).chain(389..500) {
            let next_step =
                known.next_step(name(&pair(number)), &pair(number), None, Instant::now());
            let NextStep::Newer(newest) = next_step else {
                panic!("pair {number} is not known");
            };
            assert!(newest == pair(500));
        }
        let names = known.lock().ids.len();
        assert_eq!(names, MAX);
    }

    #[test]
    fn a_renewal_under_way_is_waited_for() {
        let known = KnownTokens::default();
        let NextStep::Begin(first, _) =
            known.next_step(name(&pair(0)), &pair(0), None, Instant::now())
        else {
            panic!("nothing is under way");
        };
        let NextStep::Wait(second) =
            known.next_step(name(&pair(0)), &pair(0), None, Instant::now())
        else {
            panic!("a renewal is under way");
        };
        drop(second);
        assert!(first.renewal().is_wanted());
        let renewal = Arc::clone(first.renewal());
        drop(first);
        assert!(!renewal.is_wanted());
        assert_eq!(known.pending().len(), 1);
        known.finish(name(&pair(0)));
        assert_eq!(known.pending().len(), 0);
    }

    #[test]
    fn the_least_recently_used_are_forgotten() {
        let known = KnownTokens::default();
        for number in 0..=KnownInstallation::MAX_ENTRIES {
            known.finish(name(&pair(number)));
        }
        let known = known.lock();
        let installations = known.installations.values().count();
        assert_eq!(installations, known.ids.len());
        assert!(installations <= KnownInstallation::MAX_ENTRIES * 7 / 8 + 1);
        assert!(!known.ids.contains_key(&name(&pair(0))));
        assert!(
            known
                .ids
                .contains_key(&name(&pair(KnownInstallation::MAX_ENTRIES)))
        );
    }

    /// Otherwise its outcome would be taken for that of the next one, again and again.
    #[test]
    fn a_renewal_is_ended_whichever_key_it_was_begun_with() {
        const KEYS: usize = KnownTokens::MAX_STORED_KEYS;
        let home = Some(Path::new("/state"));
        for number in 0..KEYS {
            let known = KnownTokens::default();
            let mut expired = pair(KEYS - 1);
            expired.expires_here = Some(0);
            for later in 1..KEYS {
                known.note(name(&pair(0)), name(&pair(later)), &expired, home);
            }
            let old = pair(number);
            let next_step = known.next_step(name(&old), &old, home, Instant::now());
            assert!(matches!(next_step, NextStep::Begin(..)), "{number}");
            known.note(name(&old), name(&pair(KEYS)), &pair(KEYS), home);
            known.finish(name(&old));
            assert_eq!(known.pending().len(), 0, "{number}");
        }
    }

    /// What docs/operations.md says about memory.
    #[cfg(target_os = "linux")]
    #[test]
    fn ten_thousand_installations_take_what_the_manual_says() {
        // In a process of its own, since the other tests take memory at the same time.
        const ALONE: &str = "B24_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let name =
                "engine::known_tokens::tests::ten_thousand_installations_take_what_the_manual_says";
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(ALONE, "1")
                .status();
            assert!(status.unwrap().success());
            return;
        }
        let resident = || -> i64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|rest| rest.split_whitespace().next())
                .and_then(|kib| kib.parse().ok())
                .unwrap()
        };
        // The smaller first: memory that was freed does not count as grown.
        for (home, limit) in [(Some(Path::new("/state")), 24), (None, 80)] {
            let known = KnownTokens::default();
            let before = resident();
            for portal in 0..10_000_u64 {
                let first = InstallationKey(fingerprint("", &format!("{portal}")));
                let mut newest = pair(0);
                // What the vendor's tokens and addresses are like.
                newest.tokens.access_token = "a".repeat(70);
                newest.tokens.refresh_token = "r".repeat(70);
                newest.tokens.client_endpoint = "https://portal.bitrix24.com/rest/".to_owned();
                newest.tokens.member_id = "m".repeat(32);
                for number in 0..264_u64 {
                    let also = InstallationKey(fingerprint("", &format!("{portal}-{number}")));
                    known.note(first, also, &newest, home);
                }
            }
            let grown = resident() - before;
            println!("10,000 installations, state_dir {home:?}: {grown} KiB");
            assert!(grown < limit * 1024, "{grown} KiB");
        }
    }
}
