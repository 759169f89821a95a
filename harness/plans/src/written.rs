//! Values of a profile as a user wrote them. They are read once, and mistakes are kept. Pure.

use std::fmt;
use std::str::FromStr;

use garde::{Path, Validate};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that is read from a text once, when the profile is read.
///
/// A `Deserialize` could return a mistake as an error. But serde ends at the first error, and
/// serde-saphyr cannot continue after one, so the user would not see later mistakes. All mistakes
/// should be shown at once. So a mistake is kept beside a stand-in for the value, and the rules of
/// the profile report it: garde checks all fields, and serde-saphyr knows line and column of each.
/// [`crate::profile::Profile::parse`] returns no profile with a mistake, so nobody uses the
/// stand-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    value: T,
    mistake: Option<String>,
}

impl<T: Copy> Written<T> {
    /// The value, in a profile that has passed its rules.
    pub fn get(&self) -> T {
        self.value
    }

    /// Whether the value is only a stand-in. Rules that need the value then check nothing.
    pub(crate) fn is_wrong(&self) -> bool {
        self.mistake.is_some()
    }
}

impl<T> Written<T> {
    /// The value, in a file that has passed its rules.
    pub fn value(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for Written<T> {
    fn from(value: T) -> Self {
        Self { value, mistake: None }
    }
}

impl<T: Default> Default for Written<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<'de, T: FromStr<Err = String> + Default> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.parse() {
            Ok(value) => Self { value, mistake: None },
            Err(mistake) => Self { value: T::default(), mistake: Some(mistake) },
        })
    }
}

impl<T: fmt::Display> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.value)
    }
}

impl<T> Validate for Written<T> {
    type Context = ();

    fn validate_into(
        &self,
        _context: &(),
        parent: &mut dyn FnMut() -> Path,
        report: &mut garde::Report,
    ) {
        if let Some(mistake) = &self.mistake {
            report.append(parent(), garde::Error::new(mistake));
        }
    }
}
