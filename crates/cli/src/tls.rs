//! TLS of websockets. Plain requests get theirs from the HTTP library, by the same arguments.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_tungstenite::Connector;

use crate::args::ClientArgs;
use crate::error::CliError;

/// How to connect by TLS; `None` is the library's way, with the system's certificate authorities.
pub(crate) fn connector(args: &ClientArgs) -> Result<Option<Connector>, CliError> {
    if !args.tls_skip_verify && args.ca_cert.is_none() {
        return Ok(None);
    }
    let refused = |error: &dyn std::fmt::Display| CliError::Usage(format!("TLS: {error}"));
    let mut roots = RootCertStore::empty();
    if let Some(file) = &args.ca_cert {
        let found = CertificateDer::pem_file_iter(file).map_err(|error| refused(&error))?;
        for certificate in found {
            let certificate = certificate.map_err(|error| refused(&error))?;
            roots.add(certificate).map_err(|error| refused(&error))?;
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)
                .map_err(|error| refused(&error))?
                .collect();
            let chain = chain.map_err(|error| refused(&error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| refused(&error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| refused(&error))?
        }
        _ => builder.with_no_client_auth(),
    };
    if args.tls_skip_verify {
        let provider = Arc::clone(config.crypto_provider());
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Unverified(provider)));
    }
    Ok(Some(Connector::Rustls(Arc::new(config))))
}

/// Believes any certificate, as `--tls-skip-verify` asks for.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
