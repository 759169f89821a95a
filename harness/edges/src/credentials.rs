//! What a client shows to a server over HTTP, and what it wants to be shown: certificates and
//! bearer tokens, from the files that flags name.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder};
use secrecy::SecretString;

use crate::trust::{Trusted, trusting};

/// Why files or variables cannot be used. It names the flag, and never shows a token.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{given} is of use only together with {missing}")]
    Alone { given: &'static str, missing: &'static str },
    #[error("cannot read {flag} {}", path.display())]
    Read { flag: &'static str, path: PathBuf, source: io::Error },
    #[error("{flag} {} is no PEM file that can be read", path.display())]
    Pem { flag: &'static str, path: PathBuf, source: pem::Error },
    #[error(
        "{flag} {} has no {wanted} in it: it needs a line -----BEGIN {wanted}-----",
        path.display()
    )]
    Missing { flag: &'static str, path: PathBuf, wanted: &'static str },
    #[error("{flag} {} has a certificate that cannot be trusted", path.display())]
    Authority { flag: &'static str, path: PathBuf, source: rustls::Error },
    #[error(
        "{} {} and {} {} cannot be used together",
        flags.certificate,
        files[0].display(),
        flags.key,
        files[1].display()
    )]
    ClientCertificate { flags: &'static TlsFlags, files: [PathBuf; 2], source: rustls::Error },
    #[error("this machine has no trusted certificates: name some with {flag}")]
    NoAuthorities { flag: &'static str },
    #[error("{flag} {} {fact}", path.display())]
    TokenFile { flag: &'static str, path: PathBuf, fact: &'static str },
    #[error("the environment variable {variable} {fact}")]
    TokenVariable { variable: &'static str, fact: &'static str },
}

/// The names of the flags for files of TLS.
#[derive(Debug, Clone, Copy)]
pub struct TlsFlags {
    pub authorities: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
}

/// The files of TLS that were named.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsFiles<'a> {
    /// Certificates to trust instead of this machine's.
    pub authorities: Option<&'a Path>,
    /// A certificate to show to the server, and its private key.
    pub certificate: Option<&'a Path>,
    pub key: Option<&'a Path>,
}

impl TlsFiles<'_> {
    /// Returns the flag of the first file that is named.
    pub fn first_named(&self, flags: &TlsFlags) -> Option<&'static str> {
        let Self { authorities, certificate, key } = self;
        let all =
            [(authorities, flags.authorities), (certificate, flags.certificate), (key, flags.key)];
        all.into_iter().find(|(path, _)| path.is_some()).map(|(_, flag)| flag)
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Returns [`CredentialsError`] with the flag and file that are wrong.
    pub fn config(&self, flags: &'static TlsFlags) -> Result<ClientConfig, CredentialsError> {
        let trusted = trusted(flags.authorities, self.authorities)?;
        self.with_client_certificate(trusting(trusted), flags)
    }

    fn with_client_certificate(
        &self,
        config: ConfigBuilder<ClientConfig, WantsClientCert>,
        flags: &'static TlsFlags,
    ) -> Result<ClientConfig, CredentialsError> {
        let alone = |given, missing| Err(CredentialsError::Alone { given, missing });
        match (self.certificate, self.key) {
            (None, None) => Ok(config.with_no_client_auth()),
            (Some(_), None) => alone(flags.certificate, flags.key),
            (None, Some(_)) => alone(flags.key, flags.certificate),
            (Some(certificate), Some(key)) => config
                .with_client_auth_cert(
                    read_certificates(flags.certificate, certificate)?,
                    read_key(flags.key, key)?,
                )
                .map_err(|source| CredentialsError::ClientCertificate {
                    flags,
                    files: [certificate.to_owned(), key.to_owned()],
                    source,
                }),
        }
    }
}

/// Returns the certificates of a file, or else those that this machine trusts.
fn trusted(flag: &'static str, file: Option<&Path>) -> Result<Trusted, CredentialsError> {
    let Some(path) = file else {
        let trusted = Trusted::of_machine();
        let none = CredentialsError::NoAuthorities { flag };
        return if trusted.is_empty() { Err(none) } else { Ok(trusted) };
    };
    Trusted::these(read_certificates(flag, path)?).map_err(|source| CredentialsError::Authority {
        flag,
        path: path.to_owned(),
        source,
    })
}

fn read_certificates(
    flag: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let text = read(flag, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|source| CredentialsError::Pem { flag, path: path.to_owned(), source })?;
    if certificates.is_empty() {
        let path = path.to_owned();
        return Err(CredentialsError::Missing { flag, path, wanted: "CERTIFICATE" });
    }
    Ok(certificates)
}

fn read_key(flag: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let path_buf = path.to_owned();
    PrivateKeyDer::from_pem_slice(&read(flag, path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            CredentialsError::Missing { flag, path: path_buf, wanted: "PRIVATE KEY" }
        }
        source => CredentialsError::Pem { flag, path: path_buf, source },
    })
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, CredentialsError> {
    fs::read(path).map_err(|source| CredentialsError::Read { flag, path: path.to_owned(), source })
}

/// Where a bearer token comes from. The token itself is never shown.
#[derive(Debug, Clone)]
pub enum Token {
    Fixed(SecretString),
    /// Read whenever it is needed, because tokens are rotated.
    File {
        flag: &'static str,
        path: PathBuf,
    },
}

impl Token {
    /// Finds the token that a flag or an environment variable names, and makes sure that it can be
    /// used. The flag wins. An empty variable is none.
    ///
    /// # Errors
    ///
    /// Returns [`CredentialsError`] if there is no token where it should be.
    pub fn find(
        (flag, file): (&'static str, Option<&Path>),
        variable: &'static str,
    ) -> Result<Option<Self>, CredentialsError> {
        if let Some(path) = file {
            from_file(flag, path, fs::read_to_string(path))?;
            return Ok(Some(Self::File { flag, path: path.to_owned() }));
        }
        let wrong = |fact| CredentialsError::TokenVariable { variable, fact };
        match env::var(variable) {
            Ok(text) if !text.is_empty() => {
                authorization(&text).map(Self::Fixed).map(Some).map_err(wrong)
            }
            Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(wrong(NO_TOKEN)),
        }
    }

    /// Returns the value of an `Authorization` header.
    ///
    /// # Errors
    ///
    /// Returns [`CredentialsError`] if the file no longer holds a token.
    pub async fn authorization(&self) -> Result<SecretString, CredentialsError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::File { flag, path } => {
                from_file(flag, path, tokio::fs::read_to_string(path).await)
            }
        }
    }
}

fn from_file(
    flag: &'static str,
    path: &Path,
    text: io::Result<String>,
) -> Result<SecretString, CredentialsError> {
    let path = || path.to_owned();
    let text = text.map_err(|source| CredentialsError::Read { flag, path: path(), source })?;
    authorization(&text).map_err(|fact| CredentialsError::TokenFile { flag, path: path(), fact })
}

/// Returns the header's value for a token; white space around it is not part of it.
fn authorization(text: &str) -> Result<SecretString, &'static str> {
    let token = text.trim();
    if token.is_empty() {
        return Err("is empty: put a bearer token into it");
    }
    if token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(NO_TOKEN);
    }
    Ok(format!("Bearer {token}").into())
}

const NO_TOKEN: &str = "holds no token: a token is one word, without line breaks";

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let value = authorization(" abc.def\n").unwrap();
        assert_eq!(value.expose_secret(), "Bearer abc.def");
        assert!(!format!("{:?}", Token::Fixed(value)).contains("abc"));
        for wrong in ["", " \n", "two words", "two\nlines", "bell\u{7}"] {
            assert!(authorization(wrong).is_err(), "{wrong:?}");
        }
    }
}
