//! Opens what a command works with: a client of one portal, or a provider on the store.

use crate::configuration::Options;
use crate::stop::Stop;
use b24_messageservice::tables::UsedBy;
use b24_messageservice::{Client, Error, Provider};
use clap::ArgMatches;

/// The options of the program, and the signals that end its calls.
pub(crate) struct Opening<'a> {
    pub(crate) options: &'a Options,
    pub(crate) stop: &'a Stop,
}

impl Opening<'_> {
    /// A provider on the store.
    pub(crate) fn provider(&self) -> Result<Provider, Error> {
        Provider::open(&self.options.config(UsedBy::Provider, self.stop)?)
    }

    /// A client of the portal of the options.
    pub(crate) fn direct_client(&self) -> Result<Client, Error> {
        Client::new(&self.options.config(UsedBy::Client, self.stop)?)
    }

    /// A client of the portal that `--member-id` names in the store, or else of that of the options.
    pub(crate) fn client(&self, matches: &ArgMatches) -> Result<Client, Error> {
        match matches.get_one::<String>("member_id") {
            Some(member_id) => self.provider()?.client(member_id),
            None => self.direct_client(),
        }
    }
}
