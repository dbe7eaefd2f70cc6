//! TLS to the server, by rustls with the provider of the whole house.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{Roots, Tls};
use crate::StoreError;

/// What makes connections secure as `tls` asks for; `None` where they are in the plain.
pub(super) fn connector(tls: &Tls) -> Result<Option<MakeRustlsConnect>, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Misuse(error.to_string()))?;
    let config = match tls {
        Tls::Plain => return Ok(None),
        Tls::Full(roots) => builder.with_root_certificates(load(roots)?),
        Tls::Chain(roots) => {
            let roots = Some(load(roots)?);
            let verifier = Arc::new(AnyName { roots, provider });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        }
        Tls::Unchecked => {
            let verifier = Arc::new(AnyName {
                roots: None,
                provider,
            });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        }
    };
    Ok(Some(MakeRustlsConnect::new(config.with_no_client_auth())))
}

fn load(roots: &Roots) -> Result<RootCertStore, StoreError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return misconfigured(format!(
                    "the system has no root certificates (Debian: ca-certificates), and sslrootcert \
                     names none: {}",
                    errors.join("; ")
                ));
            }
        }
        Roots::File(path) => {
            for certificate in read(path)? {
                if let Err(error) = store.add(certificate) {
                    return misconfigured(format!("sslrootcert {}: {error}", path.display()));
                }
            }
            if store.is_empty() {
                return misconfigured(format!(
                    "sslrootcert {} holds no certificate as PEM",
                    path.display()
                ));
            }
        }
    }
    Ok(store)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    found.or_else(|error| {
        misconfigured(format!(
            "sslrootcert {} cannot be read: {error}",
            path.display()
        ))
    })
}

fn misconfigured<T>(why: String) -> Result<T, StoreError> {
    Err(StoreError::Misconfigured(why))
}

/// Takes a certificate for any name: by the roots, or anybody's.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                between,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
