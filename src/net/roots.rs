//! The root certificates that are trusted.

use crate::options::invalid;
use crate::values::error::Error;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// Those that are built in.
pub(crate) fn built_in() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// Adds the certificates of a PEM file, which the option `name` names.
pub(crate) fn add_file(roots: &mut RootCertStore, name: &str, file: &Path) -> Result<(), Error> {
    let fault = |what: String| {
        invalid(
            name,
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
            .map_err(|e| fault(format!("contains a certificate that cannot be read: {e}")))?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(fault("contains no certificate".to_owned()))
    }
}
