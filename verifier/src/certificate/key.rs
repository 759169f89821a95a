//! The keys that certificates are signed and checked with: Ed25519, or ECDSA over P-256 with
//! SHA-256, in PEM files as OpenSSL and others write them.

use std::fs;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha256};

use super::statement::hex;

/// Why a key cannot be used. Nothing of the key is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the key {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} has no private key that can be used: {fact}", path.display())]
    Private { path: PathBuf, fact: &'static str },
    #[error("{} has no public key that can be used: {fact}", path.display())]
    Public { path: PathBuf, fact: &'static str },
    #[error("the key in {} did not sign", path.display())]
    Sign { path: PathBuf },
}

/// A private key.
pub(crate) struct SigningKey {
    path: PathBuf,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

impl SigningKey {
    /// Reads a private key in PKCS#8.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read(path)?;
        let wrong = |fact| KeyError::Private { path: path.to_owned(), fact };
        let has = |label: &str| String::from_utf8_lossy(&text).contains(label);
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| {
            wrong(match () {
                () if has("ENCRYPTED") => ENCRYPTED,
                () if has("-----BEGIN EC PRIVATE KEY-----") => SEC1,
                () => NO_PRIVATE_KEY,
            })
        })?;
        let der = der.secret_pkcs8_der();
        // OpenSSL writes no public key beside the private one of Ed25519.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self { path: path.to_owned(), pair: Pair::Ed25519(pair) });
        }
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random);
        let pair = pair.map_err(|_| wrong(OTHER_KIND))?;
        Ok(Self { path: path.to_owned(), pair: Pair::P256(pair, random) })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair, random) => {
                let signature = pair.sign(random, message);
                let failed = |_| KeyError::Sign { path: self.path.clone() };
                signature.map(|it| it.as_ref().to_vec()).map_err(failed)
            }
        }
    }

    /// Identifies the key: the SHA-256 of its public key in DER, in hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        let (prefix, key) = match &self.pair {
            Pair::Ed25519(pair) => (&ED25519_PREFIX[..], pair.public_key().as_ref()),
            Pair::P256(pair, _) => (&P256_PREFIX[..], pair.public_key().as_ref()),
        };
        hex(&Sha256::new().chain_update(prefix).chain_update(key).finalize())
    }
}

/// A public key.
pub(crate) struct PublicKey {
    key: Vec<u8>,
    algorithm: &'static dyn VerificationAlgorithm,
}

impl PublicKey {
    /// Reads a public key.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read(path)?;
        let wrong = |fact| KeyError::Public { path: path.to_owned(), fact };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&text);
        let der = der.map_err(|_| wrong(NO_PUBLIC_KEY))?;
        let of = |prefix: &[u8], bytes: usize| {
            der.strip_prefix(prefix).filter(|key| key.len() == bytes).map(<[u8]>::to_vec)
        };
        if let Some(key) = of(&ED25519_PREFIX, 32) {
            return Ok(Self { key, algorithm: &ED25519 });
        }
        let key = of(&P256_PREFIX, 65).ok_or(wrong(OTHER_KIND))?;
        Ok(Self { key, algorithm: &ECDSA_P256_SHA256_ASN1 })
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.key).verify(message, signature).is_ok()
    }
}

/// What stands before the key itself in the DER of a public key (RFC 8410, RFC 5480).
const ED25519_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

const NO_PRIVATE_KEY: &str = "it needs a line -----BEGIN PRIVATE KEY-----; make one with \
    `openssl genpkey -algorithm ed25519 -out key.pem`";
const ENCRYPTED: &str = "it is encrypted; decrypt it, or write the statement with \
    --unsigned-statement and sign it with the tool that the key is for";
const SEC1: &str = "it is in an older form; convert it with `openssl pkcs8 -topk8 -nocrypt`";
const OTHER_KIND: &str = "it is neither Ed25519 nor ECDSA over P-256";
const NO_PUBLIC_KEY: &str = "it needs a line -----BEGIN PUBLIC KEY-----; get it with \
    `openssl pkey -in key.pem -pubout`";

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })
}
