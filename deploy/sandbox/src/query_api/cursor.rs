//! Where a page ended: `continue` as text, and the checks that it must pass.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::go_base64;
use super::go_json;
use super::times::{Moment, go_duration, read_absolute, to_go_text};

/// What is known of the last row that was shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cursor {
    /// When the event's stage was, which is not the time of its row.
    pub(super) stage: Moment,
    /// Its audit ID, which need not be a UUID.
    pub(super) audit_id: String,
    /// Its place in the order. The real server's cursor has none.
    pub(super) key: Option<Key>,
}

/// The place of a row in the order of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The row's time, since 1970.
    pub(super) millis: i64,
    /// The columns between time and audit ID.
    pub(super) columns: Vec<String>,
    /// The audit ID as the table has it.
    pub(super) audit_id: String,
    /// Of the event's JSON, if rows behind this one are in the same place.
    pub(super) digest: Option<u64>,
}

/// The parts of a query to which a cursor belongs, as they were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters<'a> {
    pub(super) start: &'a str,
    pub(super) end: &'a str,
    pub(super) filter: &'a str,
    pub(super) limit: i32,
}

/// The JSON inside, in the real server's order.
#[derive(Serialize)]
struct Form<'a> {
    t: String,
    a: &'a str,
    h: String,
    i: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Read {
    t: Option<String>,
    a: Option<String>,
    h: Option<String>,
    i: Option<String>,
    k: Option<Vec<String>>,
}

impl Parameters<'_> {
    fn hash(&self) -> String {
        const BYTES: usize = 16;
        let Self { start, end, filter, limit } = self;
        let digest = Sha256::digest(format!("{start}|{end}|{filter}|{limit}"));
        go_base64::encode(&digest[..BYTES])
    }
}

impl Cursor {
    /// The cursor as text, issued now.
    pub(super) fn to_text(&self, parameters: &Parameters<'_>, now: DateTime<Utc>) -> String {
        let k = self.key.as_ref().map(|key| {
            let digest = key.digest.map(|digest| digest.to_string()).unwrap_or_default();
            let ends = [key.audit_id.clone(), digest];
            let columns = key.columns.iter().cloned();
            std::iter::once(key.millis.to_string()).chain(columns).chain(ends).collect()
        });
        let form = Form {
            t: to_go_text(self.stage.at()),
            a: &self.audit_id,
            h: parameters.hash(),
            i: to_go_text(now),
            k,
        };
        go_base64::encode(go_json::to_text(&form).as_bytes())
    }

    /// Reads a cursor, and checks that it belongs to the query and is young enough.
    ///
    /// # Errors
    ///
    /// Returns the real server's words for what is wrong.
    pub(super) fn read(
        text: &str,
        parameters: &Parameters<'_>,
        now: DateTime<Utc>,
    ) -> Result<Self, String> {
        const INVALID: &str = "cursor format is invalid. Start a new query";
        let bytes = go_base64::decode(text).map_err(|offset| {
            format!("cannot decode pagination cursor: illegal base64 data at input byte {offset}")
        })?;
        let invalid = || INVALID.to_owned();
        let read: Read = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let time = |text: Option<String>| {
            text.map(|text| read_absolute(&text).ok_or_else(invalid)).transpose()
        };
        let (stage, issued) = (time(read.t)?, time(read.i)?);
        if read.h.as_deref() != Some(&parameters.hash()) {
            return Err("cannot use cursor because query parameters changed. \
                Start a new query without the continueAfter parameter"
                .to_owned());
        }
        let issued = issued.ok_or_else(invalid)?;
        check_age(issued.at(), now)?;
        let key = read.k.map(|words| Key::read(words).ok_or_else(invalid)).transpose()?;
        let audit_id = read.a.unwrap_or_default();
        Ok(Self { stage: stage.unwrap_or_else(no_stage), audit_id, key })
    }
}

fn check_age(issued: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), String> {
    const LIMIT: TimeDelta = TimeDelta::hours(1);
    let age = now - issued;
    if age <= LIMIT {
        return Ok(());
    }
    let rounded = TimeDelta::seconds((age + TimeDelta::milliseconds(500)).num_seconds());
    Err(format!(
        "cursor expired after {}. Cursors are valid for {}. \
         Start a new query without the continueAfter parameter",
        go_duration(rounded),
        go_duration(LIMIT)
    ))
}

/// Go's zero time, which stands for an event without a stage time.
pub(super) fn no_stage() -> Moment {
    read_absolute("0001-01-01T00:00:00Z").expect("this is RFC 3339")
}

impl Key {
    /// The time, some columns and the audit ID, as the statement returns them.
    pub(super) fn of_row(mut words: Vec<String>) -> Option<Self> {
        let audit_id = words.pop()?;
        let millis = words.first()?.parse().ok()?;
        Some(Self { millis, columns: words.split_off(1), audit_id, digest: None })
    }

    /// The words of a cursor: those of a row, and a digest, which may be empty.
    fn read(mut words: Vec<String>) -> Option<Self> {
        let digest = words.pop()?;
        let digest = (!digest.is_empty()).then(|| digest.parse()).transpose().ok()?;
        Some(Self { digest, ..Self::of_row(words)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: Parameters<'_> =
        Parameters { start: "now-7d", end: "now", filter: "", limit: 2 };

    fn now() -> DateTime<Utc> {
        "2026-11-29T02:06:12.063257904Z".parse().unwrap()
    }

    #[test]
    fn hashes_are_as_the_real_servers() {
        assert_eq!(PARAMETERS.hash(), "-VgQ3QGjy9gx2oeonfnK0Q==");
        let day = Parameters {
            start: "2026-11-28T00:00:00Z",
            end: "2026-11-29T00:00:00Z",
            filter: "",
            limit: 5,
        };
        assert_eq!(day.hash(), "4YENcuylaDELMBZhaK64iA==");
    }

    #[test]
    fn a_cursor_without_a_key_is_the_real_servers_byte_by_byte() {
        let recorded = "eyJ0IjoiMjAyNi0xMS0yOFQyMzo1MToyMS4zOTU5NjRaIiwiYSI6ImYxNjI3NDIxLWZmM2MtN\
            GYxOS05MTBkLTA2YzZjZjkxYzdiNyIsImgiOiI0WUVOY3V5bGFERUxNQlpoYUs2NGlBPT0iLCJpIjoiMjAyNi0\
            xMS0yOVQwMjowNjoxMi4wNjMyNTc5MDRaIn0=";
        let parameters = Parameters {
            start: "2026-11-28T00:00:00Z",
            end: "2026-11-29T00:00:00Z",
            filter: "",
            limit: 5,
        };
        let cursor = Cursor::read(recorded, &parameters, now()).unwrap();
        assert_eq!(cursor.audit_id, "f1627421-ff3c-4f19-910d-06c6cf91c7b7");
        assert_eq!(cursor.to_text(&parameters, now()), recorded);
    }

    #[test]
    fn a_key_comes_back_and_a_forged_one_is_refused() {
        let key = Key {
            millis: 1_795_824_000_123,
            columns: vec!["apps".to_owned(), String::new()],
            audit_id: "f1627421-ff3c-4f19-910d-06c6cf91c7b7".to_owned(),
            digest: Some(u64::MAX),
        };
        let stage = read_absolute("2026-11-28T23:57:10.6982Z").unwrap();
        let cursor = Cursor { stage, audit_id: "a".to_owned(), key: Some(key) };
        let text = cursor.to_text(&PARAMETERS, now());
        assert_eq!(Cursor::read(&text, &PARAMETERS, now()), Ok(cursor));
        let json = String::from_utf8(go_base64::decode(&text).unwrap()).unwrap();
        let forged = json.replace("\"18446744073709551615\"", "\"1) OR (1\"");
        assert_ne!(json, forged);
        let forged = go_base64::encode(forged.as_bytes());
        let error = Cursor::read(&forged, &PARAMETERS, now()).unwrap_err();
        assert!(error.starts_with("cursor format is invalid"), "{error}");
    }

    #[test]
    fn a_cursor_lives_an_hour_and_may_come_from_the_future() {
        let stage = no_stage();
        let cursor = Cursor { stage, audit_id: String::new(), key: None };
        let issued = |age| cursor.to_text(&PARAMETERS, now() - TimeDelta::seconds(age));
        for age in [0, 3_600, -86_400] {
            assert!(Cursor::read(&issued(age), &PARAMETERS, now()).is_ok(), "{age}");
        }
        let error = Cursor::read(&issued(3_701), &PARAMETERS, now()).unwrap_err();
        assert!(error.starts_with("cursor expired after 1h1m41s. "), "{error}");
    }
}
