//! The portal as a whole, for use in tests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::connection::Role;
use crate::control::Control;
use crate::directory::Directory;
use crate::fault::Fault;
use crate::listener::Listener;
use crate::requests;
use crate::settings::Settings;
use crate::state::{Ports, Seen, Shared};
use crate::tls::{Authority, Tls, server_config};

/// A running portal. It listens on free ports of 127.0.0.1 and stops when it is dropped.
///
/// Any number of threads may use it at once. Its methods do what the control API's commands do.
#[derive(Debug)]
pub struct Portal {
    // The ports are closed before the directory is removed.
    https: Listener,
    http: Listener,
    oauth: Listener,
    control_api: Listener,
    control: Arc<Control>,
    ca_file: PathBuf,
    _directory: Directory,
}

impl Portal {
    /// Starts a portal; its root certificate is in a temporary directory of its own.
    ///
    /// # Errors
    /// Those of the system: no free port, no temporary directory.
    pub fn start(settings: Settings) -> io::Result<Self> {
        Self::start_in(Directory::temporary()?, settings)
    }

    /// Starts a portal; its root certificate becomes `ca.pem` in `directory`, which is made if needed.
    ///
    /// # Errors
    /// Those of the system: no free port, a directory that cannot be written.
    pub fn start_in_directory(directory: &Path, settings: Settings) -> io::Result<Self> {
        Self::start_in(Directory::given(directory)?, settings)
    }

    fn start_in(directory: Directory, settings: Settings) -> io::Result<Self> {
        let authority = Arc::new(Authority::new()?);
        let ca_file = directory.path().join("ca.pem");
        fs::write(&ca_file, authority.pem())?;
        let tls = Arc::new(Tls(Mutex::new(server_config(&authority)?)));
        let shared = Arc::new(Shared::new(settings));
        let control = Arc::new(Control {
            shared: shared.clone(),
            authority,
            tls: tls.clone(),
        });
        let portal = Self {
            https: Listener::start(&shared, Role::PortalTls(tls.clone()))?,
            http: Listener::start(&shared, Role::Portal)?,
            oauth: Listener::start(&shared, Role::Oauth(tls))?,
            control_api: Listener::start(&shared, Role::Control(control.clone()))?,
            control,
            ca_file,
            _directory: directory,
        };
        shared.listen(Ports {
            https: portal.https_port(),
            oauth: portal.oauth_port(),
        });
        Ok(portal)
    }

    /// The port of the portal over TLS. It answers for any host name.
    pub fn https_port(&self) -> u16 {
        self.https.port()
    }

    /// The port of the portal without TLS.
    pub fn http_port(&self) -> u16 {
        self.http.port()
    }

    /// The port of the authorization server, over TLS. It answers for any host name.
    pub fn oauth_port(&self) -> u16 {
        self.oauth.port()
    }

    /// The origin of the control API.
    pub fn control_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.control_api.port())
    }

    /// The root certificate that clients are to trust, in PEM.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The addresses as the binary prints them.
    pub fn to_json(&self) -> Value {
        json!({
            "https_port": self.https_port(),
            "http_port": self.http_port(),
            "oauth_port": self.oauth_port(),
            "control": self.control_url(),
            "ca_file": self.ca_file,
            "pid": process::id(),
        })
    }

    /// Forgets everything, ends every connection and TLS session, and starts again with these
    /// settings.
    ///
    /// # Errors
    /// The system has no randomness for a new ticket key.
    pub fn reset(&self, settings: Settings) -> io::Result<()> {
        self.control.reset(settings)
    }

    /// Changes the settings that the members of a JSON object name.
    ///
    /// # Errors
    /// A text that names the member that is unknown or has a wrong value.
    pub fn set(&self, changes: &Value) -> Result<(), String> {
        self.control.set(changes)
    }

    /// Queues faults, after those that are waiting already.
    pub fn fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.control.fault(faults);
    }

    /// What was received since the last reset.
    pub fn seen(&self) -> Seen {
        self.control.seen()
    }

    /// The present status of each message, under `CODE|MESSAGE_ID`, and in `history` all of each.
    pub fn messages(&self) -> Value {
        self.control.messages("")
    }

    /// The same of the portal that has this host name.
    pub fn messages_of(&self, host: &str) -> Value {
        self.control.messages(host)
    }

    /// The same of every portal that was told a status, by host names; the main portal's is empty.
    pub fn all_messages(&self) -> Value {
        self.control.all_messages()
    }

    /// The senders that are installed, under their codes, as `GET /senders` tells them.
    pub fn senders(&self) -> Value {
        self.control.senders("")
    }

    /// The present tokens, as `GET /tokens` tells them.
    pub fn tokens(&self) -> Value {
        self.control.tokens("")
    }

    /// The same of the portal that has this host name.
    pub fn tokens_of(&self, host: &str) -> Value {
        self.control.tokens(host)
    }

    /// Installs the application as `POST /install` does, and gives the request that tells a provider.
    ///
    /// # Errors
    /// A text that names what is wrong with the order.
    pub fn install(&self, order: Value) -> Result<Value, String> {
        requests::install(&self.control.shared, order)
    }

    /// A message for a provider, as of `POST /message`.
    ///
    /// # Errors
    /// A text that names what is wrong with the order.
    pub fn message(&self, order: Value) -> Result<Value, String> {
        requests::message(&self.control.shared, order)
    }

    /// Uninstalls the application as `POST /uninstall` does, and gives the request that tells a
    /// provider.
    ///
    /// # Errors
    /// A text that names what is wrong with the order.
    pub fn uninstall(&self, order: Value) -> Result<Value, String> {
        requests::uninstall(&self.control.shared, order)
    }

    /// Lets a pair of tokens not be renewed any more, as `POST /spend` does.
    ///
    /// # Errors
    /// A text: there is no such pair.
    pub fn spend(&self, order: Value) -> Result<(), String> {
        self.control.spend(order)
    }

    /// Continues with every request that a fault or a latency holds.
    pub fn release(&self) {
        self.control.shared.release();
    }

    /// Waits until that many requests came to the portal since the last reset, or the time is over.
    /// Gives how many there are.
    pub fn wait(&self, requests: u64, timeout: Duration) -> u64 {
        self.control.shared.wait(requests, 0, timeout).requests
    }

    /// Waits until a renewal was asked for that many times since the last reset, or the time is
    /// over. Gives how often it was.
    pub fn wait_for_renewals(&self, renewal_requests: u64, timeout: Duration) -> u64 {
        let awaited = self.control.shared.wait(0, renewal_requests, timeout);
        awaited.renewal_requests
    }

    /// Whether a used refresh token was sent again, after which the authorization server renews
    /// nothing.
    pub fn lost(&self) -> bool {
        self.control.shared.lock().tokens.any_lost()
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        // Their threads end with the connections.
        self.control.shared.reset(Settings::default());
    }
}
