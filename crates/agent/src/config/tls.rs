//! What the agent's own listeners show their clients, and ask them for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use server::{ClientCertificates, Listener, TlsAcceptor, TlsError};

use super::TlsConfig;

/// The certificate of an HTTP server of the agent's; without one it speaks plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpTlsConfig {
    /// The certificate, followed by those that lead from it to one that clients trust.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// `NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`.
    pub client_auth_type: String,
    /// Authorities of clients' certificates.
    pub client_ca_file: PathBuf,
}

fn is_given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

impl HttpTlsConfig {
    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<String> {
        let kind = self.client_auth_type.as_str();
        let is_half = is_given(&self.cert_file) != is_given(&self.key_file);
        if is_half || (is_given(&self.client_ca_file) && !is_given(&self.cert_file)) {
            return Some("cert_file and key_file: one of them is missing".to_owned());
        }
        match kind {
            "" | "NoClientCert" if is_given(&self.client_ca_file) => Some(
                "client_auth_type: is missing, or there is no use for client_ca_file".to_owned(),
            ),
            "" | "NoClientCert" => None,
            "VerifyClientCertIfGiven" | "RequireAndVerifyClientCert" => {
                let is_missing = !is_given(&self.client_ca_file);
                is_missing.then(|| "client_ca_file: is missing".to_owned())
            }
            // These would take any certificate for a proof.
            "RequestClientCert" | "RequireAnyClientCert" => {
                Some(format!("client_auth_type: {kind}: not supported"))
            }
            _ => Some(format!("client_auth_type: {kind:?} is not known")),
        }
    }

    /// The same port, spoken to in TLS if there is a certificate.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn secured(&self, listener: Listener) -> Result<Listener, TlsError> {
        let own = server::TlsConfig {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        };
        if !is_given(&self.client_ca_file) {
            return listener.with_tls(&own);
        }
        let clients = ClientCertificates {
            ca_file: self.client_ca_file.clone(),
            are_required: self.client_auth_type == "RequireAndVerifyClientCert",
        };
        listener.with_mutual_tls(&own, &clients)
    }
}

impl TlsConfig {
    /// What is wrong with it where it is that of a listener.
    pub(super) fn listener_fault(&self) -> Option<&'static str> {
        if *self == Self::default() {
            return None;
        }
        let texts = [&self.ca, &self.cert, &self.key];
        if texts.iter().any(|text| !text.is_empty()) {
            return Some("tls_config: ca, cert and key are not supported here: use files");
        }
        if !is_given(&self.cert_file) || !is_given(&self.key_file) {
            return Some("tls_config: cert_file and key_file are needed");
        }
        None
    }

    /// What takes connections of a listener; nothing if they are not in TLS. With authorities,
    /// clients need certificates of theirs.
    pub(crate) fn acceptor(&self) -> Result<Option<TlsAcceptor>, TlsError> {
        let own = server::TlsConfig {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        };
        let clients = is_given(&self.ca_file).then(|| ClientCertificates {
            ca_file: self.ca_file.clone(),
            are_required: true,
        });
        own.acceptor(clients.as_ref(), &[])
    }
}
