//! TLS: one configuration and one session cache for all connections of a transport.

use super::Exchange;
use crate::Error;
use crate::config::invalid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

/// Room for the sessions of as many portals as one process calls within a ticket's life.
const SESSIONS: usize = 1024;
const BUFFER: usize = 16 * 1024;

/// Wraps connections to `https` addresses in TLS.
pub(super) struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// Trusts the built-in roots, and those of `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(file) = ca_file {
            add_roots(&mut roots, file)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|e| Error::new(crate::ErrorKind::Internal, format!("TLS: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS);
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

fn add_roots(roots: &mut RootCertStore, file: &Path) -> Result<(), Error> {
    let fault = |what: String| {
        invalid(
            "ca_file",
            &format!(
                "{} {what}; it takes a file of PEM certificates",
                file.display()
            ),
        )
    };
    let mut found = false;
    for certificate in
        CertificateDer::pem_file_iter(file).map_err(|e| fault(format!("cannot be read: {e}")))?
    {
        certificate
            .map_err(|e| e.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|e| e.to_string()))
            .map_err(|e| fault(format!("holds a certificate that cannot be read: {e}")))?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(fault("holds no certificate".to_owned()))
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            Exchange::ready()?;
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare)
            .map_err(|_| ureq::Error::Tls("the host name is no name for a certificate"))?
            .to_owned();
        Exchange::opening()?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        let socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        let mut stream = StreamOwned::new(connection, socket);
        // Until the handshake is done, so that a certificate's fault is told as such.
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(as_tls_error)?;
        }
        Exchange::ready()?;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            stream,
        })))
    }
}

/// The fault that rustls wrapped for the sake of `io::Write`.
fn as_tls_error(error: io::Error) -> ureq::Error {
    match error.downcast::<rustls::Error>() {
        Ok(fault) => ureq::Error::Rustls(fault),
        Err(error) => ureq::Error::Io(error),
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

/// A connection with TLS on top. The one below keeps what is written until input is awaited.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}
