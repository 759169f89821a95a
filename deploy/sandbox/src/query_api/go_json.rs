//! Writes JSON as Go's `encoding/json` does, so that bodies equal the real server's byte by byte.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// A value as compact JSON, without a line end.
pub(super) fn to_text(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, GoFormatter);
    value.serialize(&mut serializer).expect("types with string keys can be written to memory");
    String::from_utf8(bytes).expect("the serializer writes UTF-8")
}

/// Compact JSON on many lines, with two spaces a level.
pub(super) fn indented(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let mut level = 0;
    let mut in_string = false;
    let mut is_escaped = false;
    let mut chars = compact.chars().peekable();
    while let Some(char) = chars.next() {
        if in_string {
            out.push(char);
            in_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            continue;
        }
        match char {
            '{' | '[' => {
                out.push(char);
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    level += 1;
                    new_line(&mut out, level);
                }
            }
            '}' | ']' => {
                level -= 1;
                new_line(&mut out, level);
                out.push(char);
            }
            ',' => {
                out.push(char);
                new_line(&mut out, level);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = char == '"';
                out.push(char);
            }
        }
    }
    out
}

fn new_line(out: &mut String, level: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", level));
}

/// Escapes what Go escapes for the sake of HTML, and cuts white space out of raw values.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(writer, fragment)
    }

    fn write_raw_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut in_string = false;
        let mut is_escaped = false;
        let mut kept = String::with_capacity(fragment.len());
        for char in fragment.chars() {
            if in_string {
                in_string = is_escaped || char != '"';
                is_escaped = !is_escaped && char == '\\';
            } else if char.is_ascii_whitespace() {
                continue;
            } else {
                in_string = char == '"';
            }
            kept.push(char);
        }
        write_escaped(writer, &kept)
    }
}

fn write_escaped<W: Write + ?Sized>(writer: &mut W, text: &str) -> io::Result<()> {
    let special = |char| matches!(char, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        let (plain, from) = rest.split_at(at);
        let char = from.chars().next().expect("a character was found here");
        writer.write_all(plain.as_bytes())?;
        write!(writer, "\\u{:04x}", u32::from(char))?;
        rest = &from[char.len_utf8()..];
    }
    writer.write_all(rest.as_bytes())
}

/// A string in double quotes, as Go's `%q` writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&hex("\\x", 2, char)),
            '\u{80}'..='\u{a0}' | '\u{ad}' => out.push_str(&hex("\\u", 4, char)),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

/// A character by its number.
fn hex(prefix: &str, digits: usize, char: char) -> String {
    format!("{prefix}{:0digits$x}", u32::from(char))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let text = to_text(&json!({ "a": "<b>&'\"\\/\u{8}\u{1}\u{2028}ü" }));
        assert_eq!(text, r#"{"a":"\u003cb\u003e\u0026'\"\\/\b\u0001\u2028ü"}"#);
    }

    #[test]
    fn a_raw_value_keeps_all_but_white_space_between_its_words() {
        let raw = r#"{ "z": [1.0, 2e3],"a":"x  <\" y",  "b":{} }"#;
        let raw: Box<RawValue> = serde_json::from_str(raw).unwrap();
        assert_eq!(to_text(&raw), r#"{"z":[1.0,2e3],"a":"x  \u003c\" y","b":{}}"#);
    }

    #[test]
    fn indented_json_is_as_gos() {
        let text = indented(r#"{"a":[1,{"b":"x,{\"}"}],"c":{},"d":[]}"#);
        let expected = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,{\\\"}\"\n    }\n  ],\n  \
            \"c\": {},\n  \"d\": []\n}";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_quoted_string_is_as_gos() {
        assert_eq!(quoted("a\"b\\c\n\u{1}ü"), r#""a\"b\\c\n\x01ü""#);
    }
}
