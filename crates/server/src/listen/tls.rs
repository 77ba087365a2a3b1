//! The certificate of a listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
}

impl TlsConfig {
    /// Whether clients are to speak TLS.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.cert_file.as_os_str().is_empty() || !self.key_file.as_os_str().is_empty()
    }

    /// What takes connections; none without a certificate.
    pub(super) fn acceptor(&self) -> Result<Option<TlsAcceptor>, TlsError> {
        if !self.is_enabled() {
            return Ok(None);
        }
        if self.cert_file.as_os_str().is_empty() || self.key_file.as_os_str().is_empty() {
            return Err(TlsError::Half);
        }
        let cannot_read = |path: &Path| {
            let path = path.to_owned();
            move |cause: rustls::pki_types::pem::Error| TlsError::File {
                path,
                cause: cause.to_string(),
            }
        };
        let certificates = CertificateDer::pem_file_iter(&self.cert_file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(cannot_read(&self.cert_file))?;
        let key = PrivateKeyDer::from_pem_file(&self.key_file);
        let key = key.map_err(cannot_read(&self.key_file))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, key);
        let mut config = config.map_err(|source| TlsError::Unusable {
            path: self.cert_file.clone(),
            source,
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
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
        assert!(config("", "").acceptor().unwrap().is_none());
        for half in [config("a.pem", ""), config("", "a.pem")] {
            assert!(matches!(half.acceptor(), Err(TlsError::Half)));
        }
        let error = config("/nowhere/a.pem", "/nowhere/b.pem").acceptor().err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("/nowhere/a.pem"), "{text}");
    }
}
