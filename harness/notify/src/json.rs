//! The plain form, for whatever takes JSON. Pure.

use serde_json::{Value, json};

use crate::message::Message;

/// Version of the plain form.
const FORMAT: u32 = 1;

/// Writes a message in the plain form: `format`, `title`, `verdict`, `colour` (`good`, `warning` or
/// `danger`), `fields` (of `name` and `value`), `lines`, and `link` (of `text` and `url`, or null).
pub fn json_body(message: &Message) -> Value {
    let Message { title, verdict, colour, fields, lines, link } = message;
    json!({
        "format": FORMAT,
        "title": title,
        "verdict": verdict,
        "colour": colour,
        "fields": fields,
        "lines": lines,
        "link": link,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::message::Colour;

    #[test]
    fn the_plain_form_has_every_part() {
        let message = Message::new("nightly", "lossy", Colour::Danger)
            .field("Lost", "12")
            .line("12 events were lost in the aggregator")
            .link("Report", "https://ci.example/1");
        let text = serde_json::to_string_pretty(&json_body(&message)).unwrap();
        expect![[r#"
            {
              "format": 1,
              "title": "nightly",
              "verdict": "lossy",
              "colour": "danger",
              "fields": [
                {
                  "name": "Lost",
                  "value": "12"
                }
              ],
              "lines": [
                "12 events were lost in the aggregator"
              ],
              "link": {
                "text": "Report",
                "url": "https://ci.example/1"
              }
            }"#]]
        .assert_eq(&text);
        let bare = json_body(&Message::new("nightly", "whole", Colour::Good));
        assert!(bare["link"].is_null() && bare["fields"].as_array().unwrap().is_empty());
    }
}
