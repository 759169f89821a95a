//! The envelope of a signed statement: DSSE, as in-toto uses it. Pure.
//!
//! Source: secure-systems-lab/dsse, `protocol.md` and `envelope.md`, version 1.0.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Serialize};

/// What statements of in-toto are called in an envelope.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A signed statement. Fields that it does not know are ignored, as the specification demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    /// A hint as to which key it was, which nothing may rely on.
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Puts a signed payload into an envelope.
    pub(crate) fn new(payload: &[u8], key_id: String, signature: &[u8]) -> Self {
        Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature { keyid: key_id, sig: STANDARD.encode(signature) }],
        }
    }

    /// Returns the payload, and whether one of the signatures verifies.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the envelope.
    pub(crate) fn open(
        &self,
        verify: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<(Vec<u8>, bool), String> {
        let payload = decode(&self.payload).ok_or("its payload is not base64")?;
        if self.payload_type != PAYLOAD_TYPE {
            return Err(format!("its payloadType is {:?}, not {PAYLOAD_TYPE}", self.payload_type));
        }
        let message = signed_bytes(&self.payload_type, &payload);
        let is_good = |one: &Signature| decode(&one.sig).is_some_and(|sig| verify(&message, &sig));
        let is_signed = self.signatures.iter().any(is_good);
        Ok((payload, is_signed))
    }
}

/// The bytes that are signed: PAE, the pre-authentication encoding.
pub(crate) fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    [&head, payload].concat()
}

/// Both alphabets are allowed.
fn decode(text: &str) -> Option<Vec<u8>> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let with = |alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok();
    with(&alphabet::STANDARD).or_else(|| with(&alphabet::URL_SAFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_as_the_specification_shows_it() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(signed_bytes("http://example.com/HelloWorld", b"hello world"), expected);
        assert_eq!(signed_bytes("ä", b""), "DSSEv1 2 ä 0 ".as_bytes());
    }

    #[test]
    fn either_alphabet_is_read_and_any_good_signature_is_enough() {
        let text = r#"{"payloadType": "application/vnd.in-toto+json", "payload": "-_8", "other": 1,
            "signatures": [{"sig": "!"}, {"keyid": "x", "sig": "AAAA"}, {"sig": "+/8="}]}"#;
        let envelope: Envelope = serde_json::from_str(text).unwrap();
        let is_second = |_: &[u8], signature: &[u8]| signature == [0xfb, 0xff];
        assert_eq!(envelope.open(is_second).unwrap(), (vec![0xfb, 0xff], true));
        assert_eq!(envelope.open(|_, _| false).unwrap(), (vec![0xfb, 0xff], false));
        let other = text.replace("application/vnd.in-toto+json", "text/plain");
        let other: Envelope = serde_json::from_str(&other).unwrap();
        assert!(other.open(|_, _| true).unwrap_err().contains("payloadType"));
    }
}
