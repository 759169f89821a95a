//! Passwords: where they come from, and that nobody sees them.
//!
//! A [`SecretString`] cannot be printed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

pub use secrecy::{ExposeSecret, SecretString};

/// Why there is no password where one should be.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the password file {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the environment variable {variable} is no text that can be a password")]
    Variable { variable: &'static str },
}

/// Finds a password: that of the flag, else that in the file, else that of the environment
/// variable, where an empty one is none. The last line break of a file is not part of it.
///
/// # Errors
///
/// Returns [`SecretError`] if the file cannot be read, or the variable is no text.
pub fn password(
    flag: Option<&SecretString>,
    file: Option<&Path>,
    variable: &'static str,
) -> Result<Option<SecretString>, SecretError> {
    if let Some(password) = flag {
        return Ok(Some(password.clone()));
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::File { path: path.to_owned(), source })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        return Ok(Some(line.strip_suffix('\r').unwrap_or(line).into()));
    }
    match env::var(variable) {
        Ok(text) => Ok((!text.is_empty()).then(|| text.into())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(SecretError::Variable { variable }),
    }
}

/// The flags with a password in them that others can see, each with the flag to use instead.
const SHOWN: [(&str, &str, &str); 2] = [
    ("--clickhouse-password", "--clickhouse-password-file", "CLICKHOUSE_PASSWORD"),
    ("--nats-password", "--nats-password-file", "NATS_PASSWORD"),
];

/// Warns of passwords in the arguments of a program: whoever may list processes sees them.
pub fn warnings(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    let arguments: Vec<OsString> = arguments.collect();
    let is_given = |flag: &str| {
        let holds = |argument: &OsStr| {
            let rest = argument.to_str().and_then(|text| text.strip_prefix(flag));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        arguments.iter().any(|argument| holds(argument))
    };
    let warning = |(flag, file, variable): (&str, &str, &str)| {
        is_given(flag).then(|| {
            format!("others on this machine can see {flag}; use {file} or {variable} instead")
        })
    };
    SHOWN.into_iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_VARIABLE: &str = "AUDITSTORM_TEST_HAS_NO_SUCH_VARIABLE";

    #[test]
    fn a_flag_wins_over_a_file_and_a_file_over_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of the file\r\n").unwrap();
        let found = |flag: Option<&str>, file: Option<&Path>, variable| {
            let flag = flag.map(SecretString::from);
            let found = password(flag.as_ref(), file, variable).unwrap();
            found.map(|it| it.expose_secret().to_owned())
        };
        let path = Some(file.path());
        assert_eq!(found(Some("of the flag"), path, "PATH").as_deref(), Some("of the flag"));
        assert_eq!(found(None, path, "PATH").as_deref(), Some("of the file"));
        assert_eq!(found(None, None, "PATH"), env::var("PATH").ok());
        assert_eq!(found(None, None, NO_VARIABLE), None);
        let missing = password(None, Some(Path::new("/none/here")), NO_VARIABLE).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read the password file /none/here");
    }

    #[test]
    fn what_a_secret_shows_is_not_the_secret() {
        let shown = format!("{:?}", Some(SecretString::from("hidden")));
        assert!(!shown.contains("hidden"), "{shown}");
        // A panic shows what it was about in the same way.
        let secret = SecretString::from("hidden");
        let wrong = || panic!("it is wrong: {secret:?}");
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wrong)).unwrap_err();
        let said = said.downcast_ref::<String>().unwrap();
        assert!(said.starts_with("it is wrong: ") && !said.contains("hidden"), "{said}");
    }

    #[test]
    fn only_passwords_among_the_arguments_are_warned_of() {
        let of = |arguments: &[&str]| warnings(arguments.iter().map(OsString::from)).len();
        assert_eq!(of(&["run", "--clickhouse-password", "x", "--nats-password=y"]), 2);
        assert_eq!(of(&["--clickhouse-password-file", "x", "--nats-password-file=y"]), 0);
        assert_eq!(of(&["--clickhouse-user", "--clickhouse-password"]), 1);
    }
}
