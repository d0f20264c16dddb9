//! TLS for connections to PostgreSQL: what `sslmode` asks of the server's certificate, over a socket
//! that does not block.

use super::postgres_socket::{Plain, Received, Socket, pending};
use crate::net::roots::{add_file, built_in};
use crate::values::error::{Error, ErrorKind};
use crate::values::postgres_url::{PostgresUrl, Trust};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use std::future::{Ready, ready};
use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Makes TLS connections to a store's servers.
#[derive(Clone)]
pub(super) struct TlsConnector(Option<Arc<ClientConfig>>);

impl TlsConnector {
    /// Trusts the certificates of `sslrootcert`, or else the built-in ones and those of `ca_file`.
    pub(super) fn new(url: &PostgresUrl, ca_file: Option<&Path>) -> Result<Self, Error> {
        if !url.uses_tls() {
            return Ok(Self(None));
        }
        let mut roots = match &url.root_certificates {
            Some(_) => RootCertStore::empty(),
            None => built_in(),
        };
        if let Some(file) = &url.root_certificates {
            add_file(&mut roots, "sslrootcert", file)?;
        } else if let Some(file) = ca_file {
            add_file(&mut roots, "ca_file", file)?;
        }
        let failed = |what: String| Error::new(ErrorKind::Internal, format!("TLS: {what}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| failed(e.to_string()))?;
        let verifier: Arc<dyn ServerCertVerifier> = match url.trust {
            Trust::IssuerAndName => verifier,
            trust => Arc::new(Lenient {
                trust,
                verifier,
                provider: Arc::clone(&provider),
            }),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|e| failed(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self(Some(Arc::new(config))))
    }

    /// For a connection to this host; empty for a socket of this machine.
    pub(super) fn to_host(&self, host: &str) -> Result<TlsToHost, String> {
        let connection = match &self.0 {
            Some(config) if !host.is_empty() => {
                let name = ServerName::try_from(host)
                    .map_err(|_| format!("{host} cannot be the name in a certificate"))?
                    .to_owned();
                let connection = ClientConnection::new(Arc::clone(config), name)
                    .map_err(|e| format!("TLS: {e}"))?;
                Some(connection)
            }
            _ => None,
        };
        Ok(TlsToHost(connection))
    }
}

/// For `sslmode` below `verify-full`: a certificate need not have the host's name, or nothing of it
/// matters.
#[derive(Debug)]
struct Lenient {
    trust: Trust,
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust == Trust::Any {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// TLS to one host, not begun yet.
pub(super) struct TlsToHost(Option<ClientConnection>);

impl TlsConnect<Plain> for TlsToHost {
    type Stream = TlsSocket;
    type Error = io::Error;
    type Future = Ready<io::Result<TlsSocket>>;

    /// The handshake is made by the first reads and writes. What is written before it is over is not
    /// sent before the certificate is verified.
    fn connect(self, socket: Plain) -> Self::Future {
        ready(match self.0 {
            Some(tls) => Ok(TlsSocket {
                tls,
                socket: socket.socket,
                received: Received::new(),
            }),
            None => Err(io::Error::other("TLS was not asked for")),
        })
    }
}

/// A socket with TLS.
pub(super) struct TlsSocket {
    tls: ClientConnection,
    socket: Arc<Socket>,
    received: Received,
}

/// The socket as rustls uses it.
struct Raw<'a>(&'a Socket);

impl Read for Raw<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.receive(into)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends what rustls has for the server.
fn send_all(tls: &mut ClientConnection, socket: &Socket) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut Raw(socket))?;
    }
    Ok(())
}

fn receive(tls: &mut ClientConnection, socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        // In the handshake it is our turn as well.
        match send_all(tls, socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => sent?,
        }
        tls.read_tls(&mut Raw(socket))?;
        if let Err(fault) = tls.process_new_packets() {
            // The server is told why, if it still listens. The fault is what counts.
            let _ = send_all(tls, socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            tls,
            socket,
            received,
        } = self.get_mut();
        received.read(into, |buffer| receive(tls, socket, buffer))
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.tls.writer().write(bytes) {
            // rustls holds as much as it takes.
            Ok(0) if !bytes.is_empty() => match send_all(&mut this.tls, &this.socket) {
                Ok(()) => pending(this.tls.writer().write(bytes)),
                Err(error) => pending(Err(error)),
            },
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        pending(send_all(&mut this.tls, &this.socket))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl TlsStream for TlsSocket {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
