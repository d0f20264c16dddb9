//! A throwaway certificate authority, and certificates for whatever name a client asks for.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, version};

/// How many certificates are kept; above this number all are made again.
const MAX_CERTIFICATES: usize = 20_000;

/// The TLS configuration for new connections; a reset puts another one in its place.
#[derive(Debug)]
pub(crate) struct Tls(pub(crate) Mutex<Arc<ServerConfig>>);

/// The authority and the certificates that it has issued.
pub(crate) struct Authority {
    trusted: CertifiedIssuer<'static, KeyPair>,
    untrusted: CertifiedIssuer<'static, KeyPair>,
    leaf_key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
    issued: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Authority {
    pub(crate) fn new() -> io::Result<Self> {
        let leaf_key = KeyPair::generate().map_err(io::Error::other)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        Ok(Self {
            trusted: root("b24-portal throwaway CA").map_err(io::Error::other)?,
            untrusted: root("b24-portal CA that nobody trusts").map_err(io::Error::other)?,
            signing_key: ring::sign::any_ecdsa_type(&der).map_err(io::Error::other)?,
            leaf_key,
            issued: Mutex::default(),
        })
    }

    /// The root certificate that clients are to trust.
    pub(crate) fn pem(&self) -> String {
        self.trusted.pem()
    }

    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = issued.get(name) {
            return Some(known.clone());
        }
        let chain = vec![self.issue(name).ok()?];
        let certified = Arc::new(CertifiedKey::new(chain, self.signing_key.clone()));
        if issued.len() >= MAX_CERTIFICATES {
            issued.clear();
        }
        issued.insert(name.to_owned(), certified.clone());
        Some(certified)
    }

    fn issue(&self, name: &str) -> Result<CertificateDer<'static>, rcgen::Error> {
        let kind = name.split('.').next().unwrap_or_default();
        let subject = match kind {
            "wrongname" => "another.name.test",
            _ => name,
        };
        let mut params = CertificateParams::new([subject.to_owned()])?;
        params
            .distinguished_name
            .push(DnType::CommonName, "b24-portal");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = match kind {
            "expired" => date_time_ymd(2021, 1, 1),
            _ => date_time_ymd(2120, 1, 1),
        };
        let issuer = match kind {
            "untrusted" => &self.untrusted,
            _ => &self.trusted,
        };
        Ok(params.signed_by(&self.leaf_key, issuer)?.into())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(hello.server_name().unwrap_or("127.0.0.1"))
    }
}

fn root(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A server configuration with a ticket key of its own: sessions of an earlier one are not resumed.
pub(crate) fn server_config(authority: &Arc<Authority>) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(authority.clone());
    config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
