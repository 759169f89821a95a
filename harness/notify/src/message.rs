//! What people are told. Pure.

use serde::Serialize;

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// What it is about, like the name of a suite.
    pub title: String,
    /// How that ended, in a word or two.
    pub verdict: String,
    pub colour: Colour,
    /// Figures with their names.
    pub fields: Vec<Field>,
    /// More, line by line.
    pub lines: Vec<String>,
    /// Where there is more to read.
    pub link: Option<Link>,
}

/// A figure with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    pub name: String,
    pub value: String,
}

/// How glad one can be of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    Good,
    /// Not known, or not as good as it should be.
    Warning,
    Danger,
}

/// Where there is more to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    pub text: String,
    pub url: String,
}

impl Message {
    pub fn new(title: impl Into<String>, verdict: impl Into<String>, colour: Colour) -> Self {
        let (title, verdict) = (title.into(), verdict.into());
        Self { title, verdict, colour, fields: Vec::new(), lines: Vec::new(), link: None }
    }

    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push(Field { name: name.into(), value: value.into() });
        self
    }

    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    #[must_use]
    pub fn link(mut self, text: impl Into<String>, url: impl Into<String>) -> Self {
        self.link = Some(Link { text: text.into(), url: url.into() });
        self
    }
}
