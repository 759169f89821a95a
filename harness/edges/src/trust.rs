//! Which servers TLS clients trust.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

/// Certificates to trust: those who are signed by one of them, and those who have one of them.
#[derive(Debug)]
pub struct Trusted {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Takes the certificates of a file.
    ///
    /// # Errors
    ///
    /// Returns rustls's error for the first that cannot be trusted.
    pub fn these(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        certificates.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
        Ok(Self { roots, certificates })
    }

    /// Takes the certificates that this machine trusts, or that the file has that the environment's
    /// `SSL_CERT_FILE` names; none, if there are none.
    pub fn of_machine() -> Self {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        // Some of them may be unusable. That matters only if a server needs one of these.
        roots.add_parsable_certificates(certificates.iter().cloned());
        Self { roots, certificates }
    }

    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }
}

/// Begins the configuration of a client that trusts these. There must be one at least.
pub fn trusting(trusted: Trusted) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let Trusted { roots, certificates } = trusted;
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let signed = verifier.build().expect("there are roots, and no revocations");
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { signed, certificates }))
}

/// Verifies servers as the library does, with one exception: a server may show a certificate that
/// is marked as an authority's, if it is itself one of those to trust, byte by byte. That is what
/// `openssl req -x509` makes.
#[derive(Debug)]
struct Verifier {
    signed: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.signed.verify_server_cert(own, between, server, ocsp, now) {
            Err(error) if is_for_authority(&error) && self.certificates.contains(own) => {
                // Its validity was checked before it was found to be an authority's certificate.
                verify_server_name(&ParsedCertificate::try_from(own)?, server)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, own, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, own, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// Whether all that is wrong with a certificate is that it is an authority's.
///
/// Source: rustls-webpki, `verify_cert.rs`, `check_issuer_independent_properties`: validity comes
/// first, then this. rustls has no name of its own for the error; should it get one, this says no.
fn is_for_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.0.to_string() == "CaUsedAsEndEntity"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate for `vector.example` that signs itself, marked as an authority's.
    fn authority(until: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["vector.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verify(trusted: &CertificateDer<'static>, own: &CertificateDer<'_>, name: &str) -> String {
        let Trusted { roots, certificates } = Trusted::these(vec![trusted.clone()]).unwrap();
        let provider = Arc::new(default_provider());
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = Verifier { signed: signed.build().unwrap(), certificates };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        // The first of January 2026.
        let now = UnixTime::since_unix_epoch(Duration::from_hours(490_896));
        match verifier.verify_server_cert(own, &[], &name, &[], now) {
            Ok(_) => "trusted".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_authority_that_is_named_itself_is_trusted_under_its_name_and_in_its_time() {
        let (named, other, expired) = (authority(2100), authority(2100), authority(2021));
        assert_eq!(verify(&named, &named, "vector.example"), "trusted");
        let told = verify(&named, &named, "elsewhere.example");
        assert!(told.contains("not valid for name"), "{told}");
        // It has the same names, and is another.
        let told = verify(&named, &other, "vector.example");
        assert!(told.contains("CaUsedAsEndEntity"), "{told}");
        let told = verify(&expired, &expired, "vector.example");
        assert!(told.contains("expired"), "{told}");
    }
}
