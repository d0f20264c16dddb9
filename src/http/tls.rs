//! TLS: one configuration and one session cache for all connections of a client.
//!
//! ureq's connector trusts either the built-in roots or those of a file, but not both. It reports a
//! certificate that is not trusted like any broken connection. And it wraps only transports of
//! ureq.

use super::wire::Wire;
use crate::net::roots::{add_file, built_in};
use crate::values::error::{Error, ErrorKind};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// For the sessions of as many portals as one process calls while a ticket is valid.
const SESSIONS: usize = 1024;

/// TLS for connections to `https` addresses.
pub(super) struct Tls(Arc<ClientConfig>);

pub(super) type TlsWire = StreamOwned<ClientConnection, Box<dyn Wire>>;

impl Wire for TlsWire {
    /// What the server sent after its answer may have been received together with it. Then it is
    /// here, and not in the socket.
    fn is_open(&mut self) -> bool {
        let received = self.conn.process_new_packets();
        let is_quiet = received
            .is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed());
        is_quiet && self.sock.is_open()
    }
}

impl Tls {
    /// Trusts the built-in roots and those of `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        let mut roots = built_in();
        if let Some(file) = ca_file {
            add_file(&mut roots, "ca_file", file)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("TLS: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS);
        Ok(Self(Arc::new(config)))
    }

    /// The whole handshake, so that an error of the certificate is reported as such.
    pub(super) fn handshake(
        &self,
        host: &str,
        wire: Box<dyn Wire>,
    ) -> Result<TlsWire, ureq::Error> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare)
            .map_err(|_| ureq::Error::Tls("the host name cannot be in a certificate"))?
            .to_owned();
        let connection = ClientConnection::new(Arc::clone(&self.0), name)?;
        let mut stream = StreamOwned::new(connection, wire);
        stream.conn.complete_io(&mut stream.sock).map_err(|error| {
            match error.downcast::<rustls::Error>() {
                Ok(fault) => ureq::Error::Rustls(fault),
                Err(error) => ureq::Error::Io(error),
            }
        })?;
        Ok(stream)
    }
}

/// A version of a file: it changes when the file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version {
    length: u64,
    written: Option<SystemTime>,
    /// The file's number, and the time of the last change of it or of its attributes.
    #[cfg(unix)]
    inode: (u64, i64, i64),
}

impl Version {
    /// None if there is no such file.
    pub(super) fn of(file: &Path) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;

        let metadata = std::fs::metadata(file).ok()?;
        Some(Self {
            length: metadata.len(),
            written: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};
    use std::io::{self, Read, Write};

    /// A server that answers each request at once, and a network that delivers all of it.
    struct Server {
        tls: ServerConnection,
        answer: fn(&mut ServerConnection) -> io::Result<()>,
    }

    impl Read for Server {
        fn read(&mut self, mut into: &mut [u8]) -> io::Result<usize> {
            let room = into.len();
            while self.tls.wants_write() && !into.is_empty() {
                self.tls.write_tls(&mut into)?;
            }
            Ok(room - into.len())
        }
    }

    impl Write for Server {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.tls.read_tls(&mut &*bytes)?;
            let received = self
                .tls
                .process_new_packets()
                .map_err(io::Error::other)?
                .plaintext_bytes_to_read();
            if received > 0 {
                self.tls.reader().read_exact(&mut vec![0; received])?;
                (self.answer)(&mut self.tls)?;
            }
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Wire for Server {
        fn is_open(&mut self) -> bool {
            true
        }
    }

    /// Whether a connection is used again after a request was answered in this way with six bytes.
    fn is_open_after(answer: fn(&mut ServerConnection) -> io::Result<()>) -> bool {
        let issued = rcgen::generate_simple_self_signed(["portal.test".to_owned()]).unwrap();
        let name = format!(
            "b24-tls-test-{}-{:x}.pem",
            std::process::id(),
            answer as usize
        );
        let ca_file = std::env::temp_dir().join(name);
        std::fs::write(&ca_file, issued.cert.pem()).unwrap();
        let client = Tls::new(Some(&ca_file)).unwrap();
        std::fs::remove_file(&ca_file).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let tls = ServerConnection::new(Arc::new(config)).unwrap();
        let server = Box::new(Server { tls, answer });
        let mut wire = client.handshake("portal.test", server).unwrap();
        wire.write_all(b"request").unwrap();
        wire.read_exact(&mut [0; 6]).unwrap();
        wire.is_open()
    }

    #[test]
    fn a_connection_is_open_if_nothing_came_after_the_answer() {
        assert!(is_open_after(|server| server.writer().write_all(b"answer")));
        assert!(!is_open_after(|server| server
            .writer()
            .write_all(b"answer, and one that nobody asked for")));
        assert!(!is_open_after(|server| {
            server.writer().write_all(b"answer")?;
            server.send_close_notify();
            Ok(())
        }));
    }
}
