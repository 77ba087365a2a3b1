//! The certificate of a listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

/// Files in PEM with what a listener shows its clients. Without them it speaks plain HTTP. They are
/// read once, at the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate, followed by those that lead from it to one that clients trust.
    pub cert_file: PathBuf,
    /// The certificate's private key.
    pub key_file: PathBuf,
}

/// Which certificates a listener asks its clients for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificates {
    /// A file in PEM with the authorities that clients' certificates must be of.
    pub ca_file: PathBuf,
    /// Whether a client without one is turned away.
    pub are_required: bool,
}

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Only one of the two files is configured.
    #[error("cert_file and key_file are needed together, and only one of them is configured")]
    Half,
    /// A file cannot be read, or has not in it what it should.
    #[error("cannot read {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The two do not belong together, or are of a kind that is not known.
    #[error("cannot use the certificate of {path}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities of clients' certificates cannot be used.
    #[error("cannot use the authorities of {path}: {cause}")]
    Authorities {
        /// Their file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
}

impl TlsConfig {
    /// Whether clients are to speak TLS.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.cert_file.as_os_str().is_empty() || !self.key_file.as_os_str().is_empty()
    }

    /// What takes connections that speak one of `protocols` (any, if there are none); nothing
    /// without a certificate.
    ///
    /// # Errors
    /// If the certificate, its key or the authorities of clients cannot be used.
    pub fn acceptor(
        &self,
        clients: Option<&ClientCertificates>,
        protocols: &[&str],
    ) -> Result<Option<TlsAcceptor>, TlsError> {
        if !self.is_enabled() {
            return Ok(None);
        }
        if self.cert_file.as_os_str().is_empty() || self.key_file.as_os_str().is_empty() {
            return Err(TlsError::Half);
        }
        let certificates = certificates_in(&self.cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&self.key_file);
        let key = key.map_err(cannot_read(&self.key_file))?;
        let config = match clients {
            Some(clients) => ServerConfig::builder().with_client_cert_verifier(clients.verifier()?),
            None => ServerConfig::builder().with_no_client_auth(),
        };
        let config = config.with_single_cert(certificates, key);
        let mut config = config.map_err(|source| TlsError::Unusable {
            path: self.cert_file.clone(),
            source,
        })?;
        let names = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = names.collect();
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

impl ClientCertificates {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let unusable = |cause: String| TlsError::Authorities {
            path: self.ca_file.clone(),
            cause,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates_in(&self.ca_file)? {
            let added = roots.add(certificate);
            added.map_err(|error| unusable(error.to_string()))?;
        }
        let mut builder = WebPkiClientVerifier::builder(Arc::new(roots));
        if !self.are_required {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| unusable(error.to_string()))
    }
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(cannot_read(path))
}

fn cannot_read(path: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |cause| TlsError::File {
        path,
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cert_file: &str, key_file: &str) -> TlsConfig {
        TlsConfig {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert!(config("", "").acceptor(None, &[]).unwrap().is_none());
        for half in [config("a.pem", ""), config("", "a.pem")] {
            assert!(matches!(half.acceptor(None, &[]), Err(TlsError::Half)));
        }
        let error = config("/nowhere/a.pem", "/nowhere/b.pem")
            .acceptor(None, &[])
            .err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("/nowhere/a.pem"), "{text}");
    }
}
