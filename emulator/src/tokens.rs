//! The tokens of all portals: each of them can be found without knowing whose it is.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::settings::Settings;

/// Who a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The one who installed the application, whom the settings describe.
    Installer,
    /// Another one, who is no administrator.
    Other,
}

impl User {
    pub(crate) fn id(self, settings: &Settings) -> u64 {
        match self {
            Self::Installer => settings.user_id,
            Self::Other => settings.user_id.saturating_add(1),
        }
    }

    pub(crate) fn is_admin(self, settings: &Settings) -> bool {
        self == Self::Installer && settings.admin
    }
}

/// An access token and the refresh token that came with it.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) user: User,
    /// The refresh token is refused: it was ordered, or a used one was sent again. Only a new
    /// installation helps.
    pub(crate) lost: bool,
    /// Makes the tokens of two pairs different.
    first_refresh: String,
    granted: u64,
}

/// An access token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    /// The number of the portal.
    pub(crate) portal: usize,
    pub(crate) user: User,
    /// Until when it is valid, in Unix time.
    pub(crate) expires: i64,
    installation: u64,
}

/// The installation of the application on one portal.
#[derive(Debug)]
struct Installation {
    pairs: Vec<Pair>,
    /// Counts the installations: tokens of earlier ones are not valid.
    number: u64,
    installed: bool,
    /// Makes the tokens of two portals different.
    first_refresh: String,
    /// How many pairs were made after the first.
    made: u64,
    /// The access tokens that come with messages, of the installer and of the other user.
    message_tokens: [Option<String>; 2],
}

/// Where a refresh token belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    portal: usize,
    installation: u64,
    pair: usize,
}

/// The tokens of all portals.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The main portal's, then those of the others.
    installations: Vec<Installation>,
    grants: HashMap<String, Grant>,
    /// Refresh tokens, used ones as well.
    places: HashMap<String, Place>,
    /// Refresh tokens of the renewals that wait for their execution.
    pub(crate) renewing: Vec<String>,
}

/// Whether an access token is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Good(Grant),
    Expired,
    /// It was good until the application was uninstalled.
    Uninstalled,
    Unknown,
}

/// Whether a refresh token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// It is; the pair has this place.
    Good {
        portal: usize,
        pair: usize,
    },
    /// It was used before.
    Spent {
        portal: usize,
        pair: usize,
    },
    Uninstalled,
    Unknown,
}

impl Tokens {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut tokens = Self {
            installations: Vec::with_capacity(settings.portals + 1),
            grants: HashMap::with_capacity(settings.portals + 1),
            places: HashMap::with_capacity(settings.portals + 1),
            renewing: Vec::new(),
        };
        let (access, refresh) = (&settings.access_token, &settings.refresh_token);
        tokens.add_portal(access.clone(), refresh.clone(), settings);
        tokens.set_portals(settings);
        tokens
    }

    fn add_portal(&mut self, access: String, refresh: String, settings: &Settings) {
        let portal = self.installations.len();
        self.installations.push(Installation {
            pairs: Vec::new(),
            number: 0,
            installed: true,
            first_refresh: refresh.clone(),
            made: 0,
            message_tokens: [None, None],
        });
        self.add(portal, access, refresh, User::Installer, lifetime(settings));
    }

    /// As many portals as the settings say, besides the main one.
    pub(crate) fn set_portals(&mut self, settings: &Settings) {
        self.installations.truncate(settings.portals + 1);
        for number in self.installations.len()..=settings.portals {
            let access = format!("access-p{number}-0000000000000001");
            let refresh = format!("refresh-p{number}-0000000000000001");
            self.add_portal(access, refresh, settings);
        }
    }

    /// Changes what `changes` names: the main portal's tokens, and how long the present ones of all
    /// are valid.
    pub(crate) fn set(&mut self, settings: &Settings, changes: &serde_json::Value) {
        let named = |name: &str| changes.get(name).is_some();
        if let Some(pair) = self.pair_mut(0, 0) {
            if named("access_token") {
                pair.access.clone_from(&settings.access_token);
            }
            if named("refresh_token") {
                let refresh = settings.refresh_token.clone();
                let former = std::mem::replace(&mut pair.refresh, refresh.clone());
                pair.lost = false;
                self.places.remove(&former);
                self.place(0, 0, refresh);
            }
        }
        let all = named("expired") || named("expires_in");
        let portals = if all { self.installations.len() } else { 1 };
        for portal in 0..portals {
            let pairs = if all { self.pairs(portal).len() } else { 1 };
            for pair in 0..pairs {
                if let Some(pair) = self.pairs(portal).get(pair) {
                    let (access, user) = (pair.access.clone(), pair.user);
                    self.grant(portal, access, user, lifetime(settings));
                }
            }
        }
    }

    fn installation(&self, portal: usize) -> Option<&Installation> {
        self.installations.get(portal)
    }

    /// The pairs of a portal, the installer's first.
    pub(crate) fn pairs(&self, portal: usize) -> &[Pair] {
        self.installation(portal)
            .map_or(&[], |installation| installation.pairs.as_slice())
    }

    fn pair_mut(&mut self, portal: usize, pair: usize) -> Option<&mut Pair> {
        self.installations.get_mut(portal)?.pairs.get_mut(pair)
    }

    /// Whether the application is installed on the portal.
    pub(crate) fn installed(&self, portal: usize) -> bool {
        self.installation(portal)
            .is_some_and(|installation| installation.installed)
    }

    fn number(&self, portal: usize) -> u64 {
        self.installation(portal)
            .map_or(0, |installation| installation.number)
    }

    fn place(&mut self, portal: usize, pair: usize, refresh: String) {
        let installation = self.number(portal);
        let place = Place {
            portal,
            installation,
            pair,
        };
        self.places.insert(refresh, place);
    }

    fn grant(&mut self, portal: usize, access: String, user: User, lifetime: i64) {
        let grant = Grant {
            portal,
            user,
            expires: unix_now().saturating_add(lifetime),
            installation: self.number(portal),
        };
        self.grants.insert(access, grant);
    }

    fn add(
        &mut self,
        portal: usize,
        access: String,
        refresh: String,
        user: User,
        lifetime: i64,
    ) -> usize {
        let number = self.pairs(portal).len();
        if let Some(installation) = self.installations.get_mut(portal) {
            installation.pairs.push(Pair {
                access: access.clone(),
                refresh: refresh.clone(),
                user,
                lost: false,
                first_refresh: refresh.clone(),
                granted: 0,
            });
        }
        self.place(portal, number, refresh);
        self.grant(portal, access, user, lifetime);
        number
    }

    /// Makes a further pair, and tells its number.
    pub(crate) fn add_pair(&mut self, portal: usize, user: User, lifetime: i64) -> usize {
        let name = self.made_up(portal);
        self.add(portal, format!("access-of-{name}"), name, user, lifetime)
    }

    /// A name that no token of the portal had.
    fn made_up(&mut self, portal: usize) -> String {
        let Some(installation) = self.installations.get_mut(portal) else {
            return String::new();
        };
        installation.made += 1;
        format!("{}.pair{}", installation.first_refresh, installation.made)
    }

    /// Installs the application again: the former tokens are no longer valid, and the first pair is
    /// another one.
    pub(crate) fn install(&mut self, portal: usize, lifetime: i64) {
        if let Some(installation) = self.installations.get_mut(portal) {
            installation.number += 1;
            installation.installed = true;
            installation.pairs.clear();
            installation.message_tokens = [None, None];
        }
        self.add_pair(portal, User::Installer, lifetime);
    }

    /// Uninstalls the application: no token is valid.
    pub(crate) fn uninstall(&mut self, portal: usize) {
        if let Some(installation) = self.installations.get_mut(portal) {
            installation.installed = false;
        }
    }

    /// The access token that comes with the messages of a user.
    pub(crate) fn message_token(&mut self, portal: usize, user: User, lifetime: i64) -> String {
        let index = usize::from(user == User::Other);
        let known = self
            .installation(portal)
            .and_then(|installation| installation.message_tokens.get(index)?.clone())
            .filter(|token| matches!(self.find(token), Access::Good(_)));
        if let Some(token) = known {
            return token;
        }
        let token = format!("access-with-message-of-{}", self.made_up(portal));
        if let Some(slot) = self
            .installations
            .get_mut(portal)
            .and_then(|installation| installation.message_tokens.get_mut(index))
        {
            *slot = Some(token.clone());
        }
        self.grant(portal, token.clone(), user, lifetime);
        token
    }

    /// Whether any portal accepts the access token.
    pub(crate) fn find(&self, token: &str) -> Access {
        let Some(grant) = self.grants.get(token).or_else(|| self.grants.get("*")) else {
            return Access::Unknown;
        };
        match self.installation(grant.portal) {
            Some(installation) if installation.number == grant.installation => {
                if !installation.installed {
                    Access::Uninstalled
                } else if grant.expires > unix_now() {
                    Access::Good(*grant)
                } else {
                    Access::Expired
                }
            }
            _ => Access::Unknown,
        }
    }

    /// Whether that portal accepts the access token.
    pub(crate) fn access(&self, portal: usize, token: &str) -> Access {
        let elsewhere = |grant: &Grant| grant.portal != portal;
        if self.grants.get(token).is_some_and(elsewhere) {
            return Access::Unknown;
        }
        match self.find(token) {
            Access::Good(grant) if elsewhere(&grant) => Access::Unknown,
            access => access,
        }
    }

    /// Makes an access token of the portal expire.
    pub(crate) fn expire(&mut self, portal: usize, token: &str) {
        match self.grants.get_mut(token) {
            Some(grant) => grant.expires = 0,
            None => self.grant(portal, token.to_owned(), User::Installer, i64::MIN),
        }
    }

    /// Until when an access token is valid, in Unix time.
    pub(crate) fn expires(&self, token: &str) -> i64 {
        self.grants.get(token).map_or(0, |grant| grant.expires)
    }

    /// Whether the authorization server accepts the refresh token, unless its pair is lost.
    pub(crate) fn refresh(&self, token: &str) -> Refresh {
        let Some(place) = self.places.get(token) else {
            return Refresh::Unknown;
        };
        let Place { portal, pair, .. } = *place;
        let Some(installation) = self.installation(portal) else {
            return Refresh::Unknown;
        };
        let current = installation.number == place.installation;
        match installation.pairs.get(pair) {
            Some(known) if current => {
                if !installation.installed {
                    Refresh::Uninstalled
                } else if known.refresh == token {
                    Refresh::Good { portal, pair }
                } else {
                    Refresh::Spent { portal, pair }
                }
            }
            _ => Refresh::Unknown,
        }
    }

    /// Whether the pair is not renewed any more.
    pub(crate) fn is_lost(&self, portal: usize, pair: usize) -> bool {
        self.pairs(portal).get(pair).is_some_and(|pair| pair.lost)
    }

    /// Whether the refresh token of any pair was sent again after its use.
    pub(crate) fn any_lost(&self) -> bool {
        let mut pairs = self.installations.iter().flat_map(|one| &one.pairs);
        pairs.any(|pair| pair.lost)
    }

    /// Lets the pair not be renewed any more. False if there is none of that number.
    pub(crate) fn lose(&mut self, portal: usize, pair: usize) -> bool {
        let pair = self.pair_mut(portal, pair);
        pair.map(|pair| pair.lost = true).is_some()
    }

    /// Replaces a pair by a new one; the old refresh token no longer works.
    pub(crate) fn renew(&mut self, portal: usize, number: usize, lifetime: i64) {
        let Some(pair) = self.pair_mut(portal, number) else {
            return;
        };
        pair.granted += 1;
        pair.refresh = format!("{}.{}", pair.first_refresh, pair.granted + 1);
        pair.access = format!("access-of-{}", pair.refresh);
        let (access, refresh, user) = (pair.access.clone(), pair.refresh.clone(), pair.user);
        self.place(portal, number, refresh);
        self.grant(portal, access, user, lifetime);
    }
}

fn lifetime(settings: &Settings) -> i64 {
    if settings.expired {
        0
    } else {
        settings.expires_in
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
