//! Slack's form, within its limits. Pure.
//!
//! Slack refuses a whole message of which one part is too long or too many, so what does not fit is
//! cut, and the message says so.

use serde_json::{Value, json};

use crate::message::{Colour, Field, Message};

// Source: Slack, "Reference: blocks" and "Reference: message composition objects".
const BLOCKS_MAX: usize = 50;
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3_000;
const FIELDS_MAX: usize = 10;
const FIELD_CHARS_MAX: usize = 2_000;
const BUTTON_CHARS_MAX: usize = 75;
const URL_CHARS_MAX: usize = 3_000;
/// Longer texts are cut by Slack itself.
const TEXT_CHARS_MAX: usize = 4_000;

/// Writes a message in Slack's form: a text for notifications and screen readers, and blocks.
pub fn slack_body(message: &Message) -> Value {
    let (title, verdict) = (&message.title, &message.verdict);
    let text = escaped(&format!("{title}: {verdict}"), TEXT_CHARS_MAX);
    let header = cut(&format!("{} {title}", sign(message.colour)), HEADER_CHARS_MAX);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": header, "emoji": true}}),
        section(&format!("*{}*", escaped(verdict, SECTION_CHARS_MAX - 2))),
    ];
    let button = message.link.as_ref().filter(|link| link.url.chars().count() <= URL_CHARS_MAX);
    let button = button.map(|link| {
        let text = cut(&link.text, BUTTON_CHARS_MAX);
        let text = json!({"type": "plain_text", "text": text});
        let button = json!({"type": "button", "text": text, "url": link.url});
        json!({"type": "actions", "elements": [button]})
    });
    // The button and the note that something was left out always have a place.
    let room = BLOCKS_MAX - 2 - blocks.len();
    let fields = message.fields.chunks(FIELDS_MAX).map(fields);
    let mut rest: Vec<Value> = fields.chain(sections(&message.lines)).collect();
    let is_cut = rest.len() > room;
    rest.truncate(room);
    blocks.append(&mut rest);
    if is_cut {
        let note = json!({"type": "mrkdwn", "text": "There is more than a message can hold."});
        blocks.push(json!({"type": "context", "elements": [note]}));
    }
    blocks.extend(button);
    json!({"text": text, "blocks": blocks})
}

/// Colours belong to Slack's older form, which has no blocks.
fn sign(colour: Colour) -> &'static str {
    match colour {
        Colour::Good => ":large_green_circle:",
        Colour::Warning => ":large_yellow_circle:",
        Colour::Danger => ":red_circle:",
    }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn fields(fields: &[Field]) -> Value {
    let field = |Field { name, value }: &Field| {
        // A name that fills the field would leave nothing of the value.
        let name = escaped(name, FIELD_CHARS_MAX / 2);
        let value = escaped(value, FIELD_CHARS_MAX - 3 - name.chars().count());
        json!({"type": "mrkdwn", "text": format!("*{name}*\n{value}")})
    };
    json!({"type": "section", "fields": fields.iter().map(field).collect::<Vec<_>>()})
}

/// Puts as many lines into each section as it can hold.
fn sections(lines: &[String]) -> Vec<Value> {
    let mut texts: Vec<String> = Vec::new();
    // Slack refuses sections without text.
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let line = escaped(line, SECTION_CHARS_MAX);
        match texts.last_mut() {
            Some(text) if text.chars().count() + 1 + line.chars().count() <= SECTION_CHARS_MAX => {
                text.push('\n');
                text.push_str(&line);
            }
            _ => texts.push(line),
        }
    }
    texts.iter().map(|text| section(text)).collect()
}

/// Escapes what Slack would take for a mention, a link or an entity. What does not fit is cut, but
/// never within an entity.
fn escaped(text: &str, chars_max: usize) -> String {
    let mut pieces = text.chars().map(|c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        other => other.to_string(),
    });
    joined(&mut pieces, chars_max)
}

fn cut(text: &str, chars_max: usize) -> String {
    joined(&mut text.chars().map(String::from), chars_max)
}

/// Joins pieces up to a length; if they are longer, an ellipsis ends them.
fn joined(pieces: &mut dyn Iterator<Item = String>, chars_max: usize) -> String {
    let (mut text, mut chars, mut fitting) = (String::new(), 0, 0);
    for piece in pieces {
        chars += piece.chars().count();
        if chars > chars_max {
            text.truncate(fitting);
            text.push('…');
            return text;
        }
        text.push_str(&piece);
        if chars < chars_max {
            fitting = text.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_has_a_text_a_header_figures_lines_and_a_button() {
        let message = Message::new("Weekly <suite> & more", "lossy", Colour::Danger)
            .field("Lost", "12 of 1,000")
            .field("p95", "<10 s")
            .line("12 events were lost in the aggregator")
            .line("<!channel> is not called")
            .link("Report", "https://ci.example/1?a=1&b=2");
        let text = serde_json::to_string_pretty(&slack_body(&message)).unwrap();
        expect![[r#"
            {
              "text": "Weekly &lt;suite&gt; &amp; more: lossy",
              "blocks": [
                {
                  "type": "header",
                  "text": {
                    "type": "plain_text",
                    "text": ":red_circle: Weekly <suite> & more",
                    "emoji": true
                  }
                },
                {
                  "type": "section",
                  "text": {
                    "type": "mrkdwn",
                    "text": "*lossy*"
                  }
                },
                {
                  "type": "section",
                  "fields": [
                    {
                      "type": "mrkdwn",
                      "text": "*Lost*\n12 of 1,000"
                    },
                    {
                      "type": "mrkdwn",
                      "text": "*p95*\n&lt;10 s"
                    }
                  ]
                },
                {
                  "type": "section",
                  "text": {
                    "type": "mrkdwn",
                    "text": "12 events were lost in the aggregator\n&lt;!channel&gt; is not called"
                  }
                },
                {
                  "type": "actions",
                  "elements": [
                    {
                      "type": "button",
                      "text": {
                        "type": "plain_text",
                        "text": "Report"
                      },
                      "url": "https://ci.example/1?a=1&b=2"
                    }
                  ]
                }
              ]
            }"#]]
        .assert_eq(&text);
    }

    #[test]
    fn what_does_not_fit_is_cut_where_it_may_be() {
        assert_eq!(escaped("abc", 3), "abc");
        assert_eq!(escaped("abcd", 3), "ab…");
        assert_eq!(escaped("ab&", 5), "ab…");
        assert_eq!(escaped("a&", 6), "a&amp;");
        assert_eq!(cut("äöü", 2), "ä…");
    }

    #[test]
    fn a_message_that_is_too_long_says_so_and_keeps_its_button() {
        let long = (0..200).fold(
            Message::new("x", "y", Colour::Good).link("Report", "https://ci.example"),
            |message, _| message.line("z".repeat(2_900)),
        );
        let body = slack_body(&long);
        let blocks = body["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), BLOCKS_MAX);
        assert_eq!(blocks[BLOCKS_MAX - 1]["type"], "actions");
        assert_eq!(blocks[BLOCKS_MAX - 2]["type"], "context");
        let endless = "https://ci.example/".to_owned() + &"x".repeat(URL_CHARS_MAX);
        let body = slack_body(&Message::new("x", "y", Colour::Good).link("Report", endless));
        assert_eq!(body["blocks"].as_array().unwrap().len(), 2);
    }

    /// Checks a message against all the limits of Slack.
    fn check(body: &Value) {
        let chars = |value: &Value| value.as_str().unwrap().chars().count();
        assert!(chars(&body["text"]) <= TEXT_CHARS_MAX && chars(&body["text"]) > 0);
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.len() <= BLOCKS_MAX);
        for block in blocks {
            let text = &block["text"]["text"];
            match block["type"].as_str().unwrap() {
                "header" => assert!((1..=150).contains(&chars(text))),
                "section" if block["fields"].is_array() => {
                    let fields = block["fields"].as_array().unwrap();
                    assert!((1..=10).contains(&fields.len()));
                    assert!(fields.iter().all(|it| (1..=2_000).contains(&chars(&it["text"]))));
                }
                "section" => assert!((1..=3_000).contains(&chars(text))),
                "actions" => assert!(chars(&block["elements"][0]["text"]["text"]) <= 75),
                other => assert_eq!(other, "context"),
            }
        }
        let written = body.to_string();
        let is_entity =
            |rest: &str| ["&amp;", "&lt;", "&gt;"].iter().any(|it| rest.starts_with(it));
        for block in blocks.iter().filter(|block| block["type"] == "section") {
            let text = block.to_string();
            assert!(text.match_indices('&').all(|(at, _)| is_entity(&text[at..])), "{written}");
            assert!(!text.contains(['<', '>']), "{written}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_message_breaks_a_limit_of_slack(
            title in ".{0,200}",
            verdict in "[<>&a]{0,4000}",
            fields in prop::collection::vec(("[&b]{0,2500}", "[<c]{0,2500}"), 0..25),
            lines in prop::collection::vec("[>d ]{0,3500}", 0..60),
            text in ".{0,100}",
        ) {
            let mut message = Message::new(title, verdict, Colour::Warning).link(text, "http://x");
            for (name, value) in fields {
                message = message.field(name, value);
            }
            check(&slack_body(&Message { lines, ..message }));
        }
    }
}
