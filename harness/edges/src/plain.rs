//! Makes text from outside safe for a terminal. What servers, files and people wrote may contain
//! control sequences, which a terminal would obey. Pure.

/// Returns a text on one line, with everything escaped in it that a terminal obeys or that changes
/// the order of letters.
pub fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

/// As [`plain`], of a text of several lines, with tabs.
pub fn plain_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// Returns what a server said, fit for an error: of a page of HTML, which proxies answer, its first
/// words; of other text its beginning. Lines are kept.
pub fn said(text: &str) -> String {
    let is_page = text.find('<').is_some_and(|at| is_markup(&text[at..]));
    let text = if is_page { first_words(text) } else { plain_lines(text.trim_end()) };
    match text.char_indices().nth(SAID_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// More than any useful message of a server.
const SAID_CHARS_MAX: usize = 10_000;

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) && !keeps(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Whether a terminal obeys it: control characters, line breaks by other names, and what turns the
/// direction of writing.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_markup(text: &str) -> bool {
    ["<!doctype", "<html", "<head", "<body"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

/// Returns the first line of a page that has text, without its tags; what stood before the page is
/// kept.
fn first_words(page: &str) -> String {
    let mut lines = vec![String::new()];
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        push(&mut lines, &rest[..at]);
        let tag = &rest[at..];
        // Elements that contain no text are left out completely.
        let end = ["style", "script"].iter().find_map(|name| {
            let is_it = tag[1..].get(..name.len())?.eq_ignore_ascii_case(name);
            is_it.then(|| tag.find("</").map(|end| &tag[end..]))?
        });
        rest = end.unwrap_or(tag).split_once('>').map_or("", |(_, after)| after);
        lines.push(String::new());
    }
    push(&mut lines, rest);
    let before = lines.remove(0);
    let words = lines.iter().map(|line| line.trim()).find(|line| !line.is_empty());
    let words: String = words.unwrap_or_default().chars().take(PAGE_CHARS_MAX).collect();
    plain(&format!("{}a page that says {words:?}", before.trim_start()))
}

const PAGE_CHARS_MAX: usize = 120;

fn push(lines: &mut Vec<String>, text: &str) {
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        lines.last_mut().expect("there is one").push_str(line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        let check = |text, expected| assert_eq!(plain(text), expected);
        check("tenant-7 grün", "tenant-7 grün");
        check("\u{1b}[2J\u{7}\r\n", r"\u{1b}[2J\u{7}\r\n");
        check("a\u{9b}1m", r"a\u{9b}1m");
        check("a\u{202e}b", r"a\u{202e}b");
        assert_eq!(plain_lines("a\n\tb\r\n"), "a\n\tb\\r\n");
    }

    #[test]
    fn of_a_page_its_first_words_are_said() {
        let nginx = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                     <center><h1>502 Bad Gateway</h1></center></body></html>\r\n";
        assert_eq!(said(nginx), r#"a page that says "502 Bad Gateway""#);
        let styled = "bad response: <!DOCTYPE html><style>p { color: red }</style><p>Log in</p>";
        assert_eq!(said(styled), r#"bad response: a page that says "Log in""#);
        assert_eq!(said("Code: 62. Syntax <error>\n"), "Code: 62. Syntax <error>");
        assert_eq!(said("<html>"), r#"a page that says """#);
        assert_eq!(said(&"x".repeat(90_000)).chars().count(), 10_001);
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in "(?s).{0,60}(<html>)?(?s).{0,60}") {
            prop_assert!(!plain(&text).contains(is_obeyed));
            let is_left = |c| is_obeyed(c) && !matches!(c, '\n' | '\t');
            prop_assert!(!plain_lines(&text).contains(is_left));
            prop_assert!(!said(&text).contains(is_left));
        }
    }
}
