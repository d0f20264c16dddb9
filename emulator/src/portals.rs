//! The portals: the main one, which has every host name that no other has, and further ones. Each
//! has its own messages and senders. They are numbered; the main one is 0.

use std::collections::HashMap;

use crate::fault::At;
use crate::limits::OperatingTime;
use crate::messages::Messages;
use crate::senders::Senders;
use crate::settings::Settings;

/// What follows `pI` in the name of the portal of number I.
const DOMAIN: &str = ".bitrix24.test";
/// The main portal's address as long as it has not been called.
const FIRST_ORIGIN: &str = "https://portal.bitrix24.test";

/// What one portal has for itself, besides its tokens.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) member_id: String,
    /// What the portal's requests to the provider prove themselves with.
    pub(crate) application_token: String,
    pub(crate) messages: Messages,
    pub(crate) senders: Senders,
    /// The time budget of each application and method.
    pub(crate) operating: HashMap<(String, At), OperatingTime>,
}

impl Data {
    fn new(number: usize, settings: &Settings) -> Self {
        let (member_id, application_token) = match number {
            0 => (
                settings.member_id.clone(),
                settings.application_token.clone(),
            ),
            _ => (
                further_member_id(number),
                format!("application-p{number}-0000000000000001"),
            ),
        };
        Self {
            member_id,
            application_token,
            messages: Messages::default(),
            senders: Senders::preset(&settings.senders),
            operating: HashMap::new(),
        }
    }
}

/// The `member_id` of a portal other than the main one.
pub(crate) fn further_member_id(number: usize) -> String {
    format!("{number:032x}")
}

/// The portals.
#[derive(Debug)]
pub(crate) struct Portals {
    main: Data,
    further: Vec<Data>,
    /// The one that executes a request now.
    current: usize,
    /// Scheme and authority under which the main portal was last called.
    origin: Option<String>,
    /// The port in the addresses of the others.
    https_port: u16,
}

impl Portals {
    pub(crate) fn new(settings: &Settings, https_port: u16) -> Self {
        let mut portals = Self {
            main: Data::new(0, settings),
            further: Vec::with_capacity(settings.portals),
            current: 0,
            origin: None,
            https_port,
        };
        portals.set_number(settings);
        portals
    }

    /// Tells the port in the addresses.
    pub(crate) fn listen(&mut self, https_port: u16) {
        self.https_port = https_port;
    }

    /// As many portals as the settings say, besides the main one.
    pub(crate) fn set_number(&mut self, settings: &Settings) {
        self.further.truncate(settings.portals);
        for number in self.further.len()..settings.portals {
            self.further.push(Data::new(number + 1, settings));
        }
    }

    /// Replaces the senders of every portal.
    pub(crate) fn set_senders(&mut self, codes: &[String]) {
        for data in self.further.iter_mut().chain([&mut self.main]) {
            data.senders = Senders::preset(codes);
        }
    }

    /// The number of the portal that has this name.
    pub(crate) fn number(&self, host: &str) -> usize {
        let number = host
            .strip_prefix('p')
            .and_then(|rest| rest.strip_suffix(DOMAIN))
            .filter(|digits| !digits.starts_with(['0', '+']))
            .and_then(|digits| digits.parse().ok());
        number
            .filter(|number| *number <= self.further.len())
            .unwrap_or(0)
    }

    /// The portal of this number.
    pub(crate) fn get(&self, number: usize) -> &Data {
        let further = number.checked_sub(1);
        further
            .and_then(|index| self.further.get(index))
            .unwrap_or(&self.main)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, number: usize) -> &mut Data {
        let further = number.checked_sub(1);
        match further.and_then(|index| self.further.get_mut(index)) {
            Some(data) => data,
            None => &mut self.main,
        }
    }

    /// Chooses the portal that executes a request.
    pub(crate) fn enter(&mut self, number: usize) {
        self.current = number;
    }

    /// The number of the portal that executes a request.
    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// The portal that executes a request.
    pub(crate) fn here(&self) -> &Data {
        self.get(self.current)
    }

    /// The same, to change it.
    pub(crate) fn here_mut(&mut self) -> &mut Data {
        self.get_mut(self.current)
    }

    /// The name and the data of each portal; the main one's name is empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, &Data)> {
        let further = (1..).zip(&self.further);
        let further = further.map(|(number, data)| (further_host(number), data));
        std::iter::once((String::new(), &self.main)).chain(further)
    }

    /// Notes under which address the portal that executes a request was called.
    pub(crate) fn note_origin(&mut self, scheme: &str, authority: &str) {
        if self.current != 0 {
            return;
        }
        let known = self
            .origin
            .as_deref()
            .and_then(|known| known.strip_prefix(scheme)?.strip_prefix("://"));
        if known != Some(authority) {
            self.origin = Some(format!("{scheme}://{authority}"));
        }
    }

    /// Lets the main portal have this name from now on; with none, a name if it has none yet.
    pub(crate) fn call_main(&mut self, host: Option<&str>) {
        match host {
            Some(host) => self.origin = Some(self.origin_of(host)),
            None if self.origin.is_none() => {
                let host = FIRST_ORIGIN.trim_start_matches("https://");
                self.origin = Some(self.origin_of(host));
            }
            None => {}
        }
    }

    fn origin_of(&self, host: &str) -> String {
        match self.https_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }

    /// Scheme and authority of a portal.
    fn origin(&self, number: usize) -> String {
        match number {
            0 => self.origin.as_deref().unwrap_or(FIRST_ORIGIN).to_owned(),
            _ => self.origin_of(&further_host(number)),
        }
    }

    /// The address of a portal's methods. A setting replaces the main one's.
    pub(crate) fn client_endpoint(&self, number: usize, settings: &Settings) -> String {
        match &settings.client_endpoint {
            Some(endpoint) if number == 0 => endpoint.clone(),
            _ => format!("{}/rest/", self.origin(number)),
        }
    }

    /// The host name of a portal.
    pub(crate) fn domain(&self, number: usize, settings: &Settings) -> String {
        let endpoint = self.client_endpoint(number, settings);
        let authority = endpoint.split("//").nth(1).unwrap_or_default();
        let end = authority.find([':', '/']).unwrap_or(authority.len());
        authority.get(..end).unwrap_or_default().to_owned()
    }
}

fn further_host(number: usize) -> String {
    format!("p{number}{DOMAIN}")
}
