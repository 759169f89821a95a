//! A page of an answer, and how it is read from the API's JSON. Pure.

use std::fmt;

use bytes::Bytes;
use chrono::DateTime;
use events::timeline::UnixMicros;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use uuid::Uuid;

use crate::error::{AskError, words};

/// One page of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order in which they are shown.
    pub events: Vec<Shown>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
    /// The answer as it came, or empty if it came in another form.
    pub body: Bytes,
    /// Length of the answer on the wire.
    pub bytes: u64,
}

/// What an answer says of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// `None` if the audit ID is no UUID.
    pub id: Option<Uuid>,
    /// When the request was received, as the answer says; `None` if it does not.
    pub received: Option<UnixMicros>,
}

/// Reads the API's answer with status 2xx. Only IDs, times and the cursor are looked at; all other
/// content must be JSON, and is kept as it is.
///
/// # Errors
///
/// Returns [`AskError`] if the body is no such answer, whatever it is instead.
pub fn read_answer(body: Bytes) -> Result<Page, AskError> {
    let Answer { status, message } = match serde_json::from_slice(&body) {
        Ok(answer) => answer,
        Err(error) => return Err(no_answer(&body, &error)),
    };
    match status {
        Some(Status::Of(Results { results, next })) => {
            let next = next.filter(|next| !next.is_empty());
            Ok(Page { events: results.unwrap_or_default(), next, bytes: body.len() as u64, body })
        }
        Some(Status::Failure) => {
            Err(AskError::Failure { message: words(&message.unwrap_or_default()) })
        }
        None => Err(AskError::Form { fact: "it has no status".to_owned() }),
    }
}

/// Reads one event as it is stored; `None` if it is none.
pub(crate) fn read_event(json: &[u8]) -> Option<Shown> {
    serde_json::from_slice(json).ok()
}

/// Says what a body is that is no answer.
fn no_answer(body: &[u8], error: &serde_json::Error) -> AskError {
    let text = String::from_utf8_lossy(&body[..body.len().min(BEGINNING_BYTES)]);
    match error.classify() {
        _ if text.trim_start().starts_with('<') => {
            AskError::WebPage { code: 200, said: words(&text) }
        }
        Category::Eof => AskError::Cut { fact: format!("after {} bytes", body.len()) },
        _ => AskError::Form { fact: words(&error.to_string()) },
    }
}

/// Enough of a page to find its first words.
const BEGINNING_BYTES: usize = 4_096;

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
    /// Of a failure.
    message: Option<String>,
}

enum Status {
    Of(Results),
    /// The status of a Kubernetes `Status` is a word.
    Failure,
}

#[derive(Deserialize)]
struct Results {
    results: Option<Vec<Shown>>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfStatus;
        impl<'de> Visitor<'de> for OfStatus {
            type Value = Status;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the status of a query")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Status, E> {
                Ok(Status::Failure)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Status, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                Results::deserialize(map).map(Status::Of)
            }
        }
        deserializer.deserialize_any(OfStatus)
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfShown;
        impl<'de> Visitor<'de> for OfShown {
            type Value = Shown;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shown, A::Error> {
                let (mut id, mut received) = (None, None);
                while let Some(key) = map.next_key::<Key>()? {
                    match key {
                        // A key that comes twice is nothing that a server writes.
                        Key::Id if id.is_some() => {
                            return Err(de::Error::duplicate_field("auditID"));
                        }
                        Key::Id => id = Some(map.next_value::<Text<Uuid>>()?.0),
                        Key::Received if received.is_some() => {
                            return Err(de::Error::duplicate_field("requestReceivedTimestamp"));
                        }
                        Key::Received => received = Some(map.next_value::<Text<Micros>>()?.0),
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let received = received.flatten().map(|Micros(at)| at);
                Ok(Shown { id: id.flatten(), received })
            }
        }
        deserializer.deserialize_map(OfShown)
    }
}

enum Key {
    Id,
    Received,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfKey;
        impl Visitor<'_> for OfKey {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
                Ok(match text {
                    "auditID" => Key::Id,
                    "requestReceivedTimestamp" => Key::Received,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(OfKey)
    }
}

/// A text that means something, or `None` if it is another text or null. It is read without being
/// copied.
struct Text<T>(Option<T>);

trait Meaning: Sized {
    fn read(text: &str) -> Option<Self>;
}

struct Micros(UnixMicros);

impl Meaning for Uuid {
    fn read(text: &str) -> Option<Self> {
        // Braces and the like are not what a server writes.
        Self::try_parse(text).ok().filter(|_| text.len() == 36)
    }
}

impl Meaning for Micros {
    fn read(text: &str) -> Option<Self> {
        read_zulu(text.as_bytes()).map(Self).or_else(|| {
            let at = DateTime::parse_from_rfc3339(text).ok()?;
            Some(Self(at.timestamp_micros()))
        })
    }
}

impl<'de, T: Meaning> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText<T>(std::marker::PhantomData<T>);
        impl<T: Meaning> Visitor<'_> for OfText<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                Ok(Text(T::read(text)))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text<T>, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(OfText(std::marker::PhantomData))
    }
}

/// Reads the form in which Kubernetes writes times, `2026-11-28T06:00:01.633256Z`, and nothing
/// else: it is in every event.
fn read_zulu(text: &[u8]) -> Option<UnixMicros> {
    const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    if text.len() != FORM.len() || !text.iter().zip(FORM).all(fits) {
        return None;
    }
    let number = |from: usize, digits: usize| {
        text[from..from + digits].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    let year = i32::try_from(number(0, 4)).ok()?;
    let date = chrono::NaiveDate::from_ymd_opt(year, number(5, 2), number(8, 2))?;
    let at = date.and_hms_micro_opt(number(11, 2), number(14, 2), number(17, 2), number(20, 6))?;
    Some(at.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "10c67fd9-94b2-48fd-a02f-34a6795b929e";

    fn read(text: &str) -> Result<Page, AskError> {
        read_answer(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn answer(event: &str) -> String {
        format!(r#"{{"kind":"AuditLogQuery","status":{{"results":[{event}],"continue":"x"}}}}"#)
    }

    #[test]
    fn ids_times_and_the_cursor_are_read_whatever_is_around_them() {
        let event = format!(
            r#"{{"level":"M","user":{{"auditID":"no","x":[1,{{"a":"\"]}}"}}]}},"auditID":"{ID}",
            "requestReceivedTimestamp":"2026-11-28T06:00:01.633256Z","stageTimestamp":null}}"#
        );
        let page = read(&answer(&event)).unwrap();
        let received = Some(1_795_845_601_633_256);
        assert_eq!(page.events, [Shown { id: Some(ID.parse().unwrap()), received }]);
        assert_eq!(page.next.as_deref(), Some("x"));
        // Escapes change nothing, and neither do other forms of the same time.
        let escaped = format!(
            r#"{{"audit\u0049D":"\u0031{}","requestReceivedTimestamp":
            "2026-11-28T07:00:01.633256+01:00"}}"#,
            &ID[1..]
        );
        assert_eq!(read(&answer(&escaped)).unwrap().events, page.events);
        let nothing = read(r#"{"status":{"effectiveStartTime":"x"}}"#).unwrap();
        assert!(nothing.events.is_empty() && nothing.next.is_none());
        let nameless = read(&answer(r#"{"auditID":"x","requestReceivedTimestamp":null}"#));
        assert_eq!(nameless.unwrap().events, [Shown { id: None, received: None }]);
    }

    #[test]
    fn what_is_no_answer_has_one_clear_cause() {
        let check = |text: &str, kind: &str, part: &str| {
            let error = read(text).unwrap_err();
            let text: String = text.chars().take(99).collect();
            assert_eq!(error.kind(), kind, "{text}: {error}");
            let told = error.to_string();
            assert!(told.contains(part), "{text}: {told}");
            assert!(!told.contains(['\u{1b}', '<', '\n']) && told.len() < 1_500, "{told}");
        };
        check("", "cut", "after 0 bytes");
        let whole = answer(&format!(r#"{{"auditID":"{ID}"}}"#));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]).unwrap_err().kind(), "cut", "{end}");
        }
        check(" <html><script>x</script><title>Log in\u{1b}[2J</title>", "web_page", "Log in");
        let failure = r#"{"kind":"Status","status":"Failure","message":"no\u001b[2J","code":503}"#;
        check(failure, "failure", r"no\u{1b}");
        check("{}", "form", "no status");
        check(r#"{"status":null}"#, "form", "no status");
        check(r#"{"status":7}"#, "form", "status of a query");
        check(r#"{"status":{"results":{}}}"#, "form", "sequence");
        check(r#"{"status":{"results":[7]}}"#, "form", "an event");
        check(&answer(r#"{"auditID":7}"#), "form", "a text");
        check(&answer(r#"{"auditID":"a","auditID":"b"}"#), "form", "duplicate");
        check(&format!("{whole}x"), "form", "trailing");
        check(&"[".repeat(100_000), "form", "invalid type");
        let deep = answer(&format!(r#"{{"a":{}"#, "[".repeat(100_000)));
        check(&deep, "form", "expected");
        check("\u{0}\u{1b}[2J", "form", "expected value");
    }

    #[test]
    fn times_are_read_as_the_library_reads_them() {
        for text in [
            "1970-01-01T00:00:00.000000Z",
            "2024-02-29T23:59:59.999999Z",
            "2023-02-29T23:59:59.999999Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
        ] {
            let library = DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_micros());
            assert_eq!(read_zulu(text.as_bytes()), library, "{text}");
        }
    }
}
