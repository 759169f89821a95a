//! Addresses of archives. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use edges::address::without_secrets;

use crate::error::ArchiveError;

/// Where archives are kept, or where one of them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Folder(PathBuf),
    /// A bucket (Azure calls it a container) and a path in it, which may be empty.
    Bucket {
        service: Service,
        bucket: String,
        path: String,
    },
}

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    S3,
    Google,
    Azure,
}

impl Service {
    const ALL: [(&'static str, Self); 3] =
        [("s3", Self::S3), ("gs", Self::Google), ("az", Self::Azure)];

    fn scheme(self) -> &'static str {
        Self::ALL.iter().find(|(_, service)| *service == self).map_or("", |(scheme, _)| scheme)
    }
}

impl Address {
    /// Reads an address: a directory, or `file://`, `s3://`, `gs://` or `az://`.
    pub(crate) fn read(text: &str) -> Result<Self, ArchiveError> {
        let wrong = |fact| ArchiveError::Address { address: without_secrets(text), fact };
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() { Err(wrong("is empty")) } else { Ok(Self::folder(text)) };
        };
        if scheme == "file" {
            let is_absolute = rest.starts_with('/');
            return is_absolute.then(|| Self::folder(rest)).ok_or(wrong(NOT_ABSOLUTE));
        }
        let known = Service::ALL.into_iter().find(|(name, _)| *name == scheme);
        let (_, service) = known.ok_or(wrong(SCHEMES))?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_bucket = !bucket.is_empty() && bucket.chars().all(is_of_name);
        let path = path.trim_end_matches('/');
        if !is_bucket {
            return Err(wrong("has no bucket after ://, of letters, digits, . _ and - alone"));
        }
        if !path.is_empty() && !is_name(path) {
            return Err(wrong(NOT_A_PATH));
        }
        Ok(Self::Bucket { service, bucket: bucket.to_owned(), path: path.to_owned() })
    }

    fn folder(path: &str) -> Self {
        Self::Folder(Path::new(path).to_owned())
    }

    /// The address of something under this one.
    pub(crate) fn join(&self, name: &str) -> Result<Self, ArchiveError> {
        if !is_name(name) {
            return Err(ArchiveError::Name { name: name.to_owned() });
        }
        Ok(match self {
            Self::Folder(path) => Self::Folder(path.join(name)),
            Self::Bucket { service, bucket, path } => {
                let path = if path.is_empty() { name.into() } else { format!("{path}/{name}") };
                Self::Bucket { service: *service, bucket: bucket.clone(), path }
            }
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket { service, bucket, path } if path.is_empty() => {
                write!(f, "{}://{bucket}", service.scheme())
            }
            Self::Bucket { service, bucket, path } => {
                write!(f, "{}://{bucket}/{path}", service.scheme())
            }
        }
    }
}

const SCHEMES: &str = "has a scheme that is none of file, s3, gs and az";
const NOT_ABSOLUTE: &str = "is not absolute: write file:///path, or the path alone";
const NOT_A_PATH: &str = "has a path that is not made of names, of letters, digits, . _ and -";

/// Whether it is a relative path of names that no store and no shell takes for anything else.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(is_of_name);
    name.split('/').all(is_part)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match Address::read(text) {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{text}: {found}");
    }

    #[test]
    fn an_address_is_a_directory_or_a_bucket_with_a_path() {
        check("runs/1", "runs/1");
        check("file:///srv/kept", "/srv/kept");
        check("s3://bucket/perf/", "s3://bucket/perf");
        check("gs://bucket", "gs://bucket");
        check("az://container/a/b", "az://container/a/b");
    }

    #[test]
    fn anything_else_is_refused_and_its_secrets_are_not_repeated() {
        check("", "is empty");
        check("file://srv", "not absolute");
        check("ftp://bucket/x", "none of file, s3, gs and az");
        check("s3://", "has no bucket");
        check("s3:///x", "has no bucket");
        check("s3://bucket/a/../b", "not made of names");
        check("s3://bucket/a//b", "not made of names");
        for secret in ["s3://key:secret@bucket/x", "az://container/x?sig=secret"] {
            let error = Address::read(secret).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_name_stays_under_its_prefix() {
        let address = Address::read("s3://bucket/perf").unwrap();
        assert_eq!(address.join("a/b-1").unwrap().to_string(), "s3://bucket/perf/a/b-1");
        for wrong in ["", "/a", "a/", "..", "a/../b", "a b", "a\nb"] {
            assert!(address.join(wrong).is_err(), "{wrong:?}");
        }
    }
}
