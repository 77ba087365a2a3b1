//! TLS as it was typed, for requests and for websockets.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_tungstenite::Connector;

use crate::args::ClientArgs;
use crate::error::CliError;

/// What was typed about TLS.
pub(crate) struct TlsArgs<'a> {
    pub(crate) ca_cert: Option<&'a Path>,
    pub(crate) skip_verify: bool,
    /// The files with this client's certificate and its key.
    pub(crate) identity: Option<(&'a Path, &'a Path)>,
}

/// How to speak TLS; `None` is the library's way, with the system's certificate authorities.
pub(crate) fn config(args: &TlsArgs<'_>) -> Result<Option<ClientConfig>, CliError> {
    if !args.skip_verify && args.ca_cert.is_none() {
        return Ok(None);
    }
    let trusted = args.ca_cert.map(certificates).transpose()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trusted {
        Some(trusted) if !args.skip_verify => {
            Arc::new(Trusting::new(trusted, Arc::clone(&provider))?)
        }
        _ => Arc::new(Unverified(Arc::clone(&provider))),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((cert, key)) = args.identity else {
        return Ok(Some(builder.with_no_client_auth()));
    };
    let key_of = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    let config = builder.with_client_auth_cert(certificates(cert)?, key_of);
    Ok(Some(config.map_err(|error| named(cert, &error))?))
}

/// The same for a websocket.
pub(crate) fn connector(args: &ClientArgs) -> Result<Option<Connector>, CliError> {
    let config = config(&args.tls())?;
    Ok(config.map(|config| Connector::Rustls(Arc::new(config))))
}

fn refused(error: &dyn Display) -> CliError {
    CliError::Usage(format!("TLS: {error}"))
}

fn named(file: &Path, error: &dyn Display) -> CliError {
    CliError::Usage(format!("{}: {error}", file.display()))
}

/// The certificates of a file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| named(file, &error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| named(file, &error))?;
    match found.is_empty() {
        true => Err(named(file, &"there is no certificate in it")),
        false => Ok(found),
    }
}

/// Believes certificates of the authorities that it was given, and those that it was given themselves:
/// one that somebody made for a server of his own is often marked as an authority's.
#[derive(Debug)]
struct Trusting {
    authorities: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl Trusting {
    fn new(
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, CliError> {
        let mut roots = RootCertStore::empty();
        for certificate in &given {
            let added = roots.add(certificate.clone());
            added.map_err(|error| refused(&error))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            authorities: verifier.build().map_err(|error| refused(&error))?,
            given,
        })
    }
}

/// Whether all that is wrong with a certificate is that it is an authority's: its time was looked at
/// before.
fn is_only_an_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(why)) = error else {
        return false;
    };
    let why = why.0.downcast_ref::<webpki::Error>();
    why == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match found {
            Err(error) if is_only_an_authority(&error) && self.given.contains(end_entity) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            found => found,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
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
