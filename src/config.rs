//! Configuration: one table of options, set by name or by method.

use crate::{Error, Tokens};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Called with a renewed pair of tokens before it is first used.
pub(crate) type OnRenewal = Arc<dyn Fn(&Tokens) + Send + Sync>;
/// Asked, when a signal arrives during a wait, whether the call must end.
pub(crate) type OnInterrupt = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a [`Client`](crate::Client) is made from. `Debug` shows no secret.
#[derive(Clone, Default)]
pub struct Config {
    pub(crate) on_renewal: Option<OnRenewal>,
    pub(crate) on_interrupt: Option<OnInterrupt>,
}

impl Config {
    /// A configuration with the defaults, and no portal yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option by its name, from its text.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), naming the option and what it takes.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, Error> {
        let _ = (name, value);
        todo!()
    }

    /// A function that is given each renewed pair before it is used, to be stored.
    pub fn on_renewal(&mut self, callback: impl Fn(&Tokens) + Send + Sync + 'static) -> &mut Self {
        self.on_renewal = Some(Arc::new(callback));
        self
    }

    /// A function asked when a signal interrupts a wait: `true` ends the call with `Cancelled`.
    pub fn on_interrupt(&mut self, callback: impl Fn() -> bool + Send + Sync + 'static) -> &mut Self {
        self.on_interrupt = Some(Arc::new(callback));
        self
    }

    /// `timeout_ms`, as a duration.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        let _ = timeout;
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}
