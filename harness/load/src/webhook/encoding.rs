//! Compression of request bodies.

use clap::ValueEnum;
use flate2::{Compress, Compression, FlushCompress, Status};
use hyper::header::HeaderValue;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

/// How bodies are compressed. API servers do not compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    None,
    Gzip,
    Zstd,
}

impl Encoding {
    /// Returns the value of the `Content-Encoding` header, if there is to be one.
    pub(super) fn content_encoding(self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }
}

/// Compresses one body after the other, with the same memory.
pub struct Encoder(State);

enum State {
    Gzip(Compress),
    Zstd(Compressor<'static>),
}

impl Encoder {
    /// Returns an encoder; none for [`Encoding::None`].
    pub(super) fn new(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::None => None,
            Encoding::Gzip => Some(Self(State::Gzip(Compress::new(Compression::fast(), false)))),
            Encoding::Zstd => Some(Self(State::Zstd(
                Compressor::new(ZSTD_LEVEL).expect("there is memory for a compressor"),
            ))),
        }
    }

    /// Replaces what is in `out` by the compressed body. Bodies are shorter than 4 GiB.
    pub fn encode(&mut self, body: &[u8], out: &mut Vec<u8>) {
        out.clear();
        match &mut self.0 {
            State::Gzip(compress) => gzip(compress, body, out),
            State::Zstd(compressor) => {
                out.reserve(compress_bound(body.len()));
                compressor.compress_to_buffer(body, out).expect("the longest result has room");
            }
        }
    }
}

/// The fastest level that still compresses well: making events needs the processor more.
const ZSTD_LEVEL: i32 = 1;

/// Magic, deflate, no flags, no time, no level, system unknown (RFC 1952, section 2.3).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Appends a gzip member: header, deflated body, checksum and length.
fn gzip(compress: &mut Compress, body: &[u8], out: &mut Vec<u8>) {
    compress.reset();
    out.extend_from_slice(&GZIP_HEADER);
    let mut status = Status::Ok;
    while status != Status::StreamEnd {
        out.reserve(body.len() / 4 + 64);
        let taken = usize::try_from(compress.total_in()).expect("at most the body");
        status = compress
            .compress_vec(&body[taken..], out, FlushCompress::Finish)
            .expect("deflating has no errors but of its caller");
    }
    let length = u32::try_from(body.len()).expect("bodies are shorter than 4 GiB");
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match encoding {
            Encoding::None => body.extend_from_slice(bytes),
            Encoding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut body).unwrap();
            }
            Encoding::Zstd => body = zstd::stream::decode_all(bytes).unwrap(),
        }
        body
    }

    #[test]
    fn bodies_come_back_one_after_the_other() {
        // The last one does not compress.
        let noise: Vec<u8> = (0..100_000u32).flat_map(|i| crc(i).to_le_bytes()).collect();
        let bodies = [b"{}".to_vec(), Vec::new(), b"event ".repeat(50_000), noise];
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let mut encoder = Encoder::new(encoding).unwrap();
            let mut out = b"left over".to_vec();
            for body in &bodies {
                encoder.encode(body, &mut out);
                assert!(decode(encoding, &out) == *body, "{encoding:?} of {} B", body.len());
            }
        }
        assert!(Encoder::new(Encoding::None).is_none());
    }

    fn crc(number: u32) -> u32 {
        crc32fast::hash(&number.to_le_bytes())
    }
}
