//! The client: what a caller holds.

use crate::{Config, Error, Tokens, Update};

/// A light handle to a portal. Cheap to clone; any number of threads may use it at once.
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// Makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), naming the option.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let _ = config;
        todo!()
    }

    /// The process's one client for an equal configuration.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn shared(config: &Config) -> Result<Self, Error> {
        Self::new(config)
    }

    /// Tells the portal the status of one message.
    ///
    /// # Errors
    /// Any [`ErrorKind`](crate::ErrorKind); see each kind for when it occurs.
    pub fn message_status_update(
        &self,
        code: &str,
        message_id: &str,
        status: impl AsRef<str>,
    ) -> Result<(), Error> {
        let _ = (code, message_id, status.as_ref());
        todo!()
    }

    /// Tells the portal the status of any number of messages, 50 a request. The fates come in
    /// the order of the updates.
    pub fn message_status_update_batch(
        &self,
        updates: impl IntoIterator<Item = Update>,
    ) -> Vec<Result<(), Error>> {
        let _ = updates.into_iter();
        todo!()
    }

    /// Ends the calls of this client that are in flight, from any thread, with `Cancelled`.
    /// Calls made later are not affected.
    pub fn cancel(&self) {}

    /// The tokens as they are now.
    pub fn tokens(&self) -> Tokens {
        Tokens::default()
    }
}
