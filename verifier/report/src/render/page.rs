//! Writes the page for people, and its short form in Markdown. Pure.

use askama::Template;

use crate::render::STYLE;
use crate::render::view::{TENANT_COLUMNS, View};

#[derive(Template)]
#[template(path = "report.html")]
struct Html<'v> {
    v: &'v View,
    css: &'static str,
    columns: [&'static str; 8],
}

#[derive(Template)]
#[template(path = "report.md", escape = "none")]
struct Markdown<'v> {
    v: &'v View,
    columns: [&'static str; 8],
}

/// The page is one file that needs no script, font or network.
pub(crate) fn html(view: &View) -> String {
    let page = Html { v: view, css: STYLE, columns: TENANT_COLUMNS };
    page.render().expect("memory takes what is written to it")
}

/// Markdown has the same contents without charts, for comments on a change and for logs.
pub(crate) fn markdown(view: &View) -> String {
    let page = Markdown { v: view, columns: TENANT_COLUMNS };
    let text = page.render().expect("memory takes what is written to it");
    text.trim_end().to_owned() + "\n"
}

/// Escapes a text for a cell of a Markdown table, so that it has no formatting.
pub fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' => cell.extend(['\\', c]),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            c if c.is_control() => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use runs::observation::Mark;
    use runs::report::Report;

    use super::*;
    use crate::example;
    use crate::render::view::asked::tests::add_queries;
    use crate::render::view::reader::tests::example_readback;
    use crate::slowest::tests::example_records;
    use crate::versus::side::Side;
    use crate::versus::side::tests::side;

    fn view(change: impl FnOnce(&mut Report)) -> View {
        let side = side(|_| (10, 5.0));
        let mut report = example();
        change(&mut report);
        View::new(&report, &side.records, &side.plan)
    }

    #[test]
    fn the_short_form_says_what_the_page_says() {
        expect_file!["example.md"].assert_eq(&markdown(&view(|_| {})));
    }

    #[test]
    fn a_run_that_was_read_back_has_a_section_about_the_reader() {
        let mut side = side(|_| (10, 5.0));
        let pages = |side: &Side| {
            let view = View::new(&example(), &side.records, &side.plan);
            [html(&view), markdown(&view)]
        };
        assert!(pages(&side).iter().all(|page| !page.contains("read back")));
        side.records.readback = Some(example_readback());
        for page in pages(&side) {
            for part in ["What could be read back", "2 unreachable", "readable", "898"] {
                assert!(page.contains(part), "{part}: {page}");
            }
        }
        let [_, short] = pages(&side);
        assert!(short.contains(r"Project/a\|b"), "{short}");
    }

    #[test]
    fn a_run_with_queries_has_a_section_and_charts_about_them() {
        let mut side = side(|_| (10, 5.0));
        let pages = |side: &Side| {
            let view = View::new(&example(), &side.records, &side.plan);
            [html(&view), markdown(&view)]
        };
        for page in pages(&side) {
            assert!(!page.contains("asked and answered") && !page.contains("Latency of answers"));
        }
        add_queries(&mut side.records, 0);
        let [page, short] = pages(&side);
        for part in ["What was asked and answered", "1 wrong", "leaked 1", "timeout 1", "by-user"] {
            assert!(page.contains(part) && short.contains(part), "{part}: {page}\n{short}");
        }
        assert!(page.contains("Latency of answers") && !page.contains("Project/<a>"), "{page}");
        assert!(short.contains("Project/&lt;a>"), "{short}");
    }

    #[test]
    fn a_run_with_queries_has_a_table_of_the_slowest() {
        let side = side(|_| (10, 5.0));
        let records = example_records();
        let pages = |records| {
            let view = View::new(&example(), records, &side.plan);
            [html(&view), markdown(&view)]
        };
        assert!(pages(&side.records).iter().all(|page| !page.contains("Slowest queries")));
        for page in pages(&records) {
            for part in ["Slowest queries", "1,200,000", "audit.p", "Note: 1 of 3", "30 s"] {
                assert!(page.contains(part), "{part}: {page}");
            }
        }
        let [_, short] = pages(&records);
        let row = "| 30 s (failed: timeout) | – | – | – | – | – | deletions, page 1 | \
                   Project/a\\|b | verb == 'delete' | 1970-01-01 00:00:00 UTC |\n";
        assert!(short.contains(row), "{short}");
        assert!(short.contains("\n\nNote: 1 of 3 are not in the log.\n\n| latency |"), "{short}");
    }

    #[test]
    fn what_others_wrote_is_shown_and_never_obeyed() {
        let hostile = "<script>alert(1)</script>|`*";
        let view = view(|report| {
            report.profile = hostile.to_owned();
            report.reasons = vec![hostile.to_owned()];
            report.tenants[0].scope_name = hostile.to_owned();
            report.differences[0].stored = hostile.to_owned();
            report.marks = vec![Mark { text: hostile.to_owned(), ..report.marks[0].clone() }];
            report.loss_windows[0].marks.clone_from(&report.marks);
        });
        let page = html(&view);
        assert!(!page.contains("<script>"), "{page}");
        assert_eq!(page.matches("&#60;script&#62;").count(), 8, "{page}");
        let short = markdown(&view);
        assert!(!short.contains("<script>") && short.contains("\\|\\`\\*"), "{short}");
    }

    #[test]
    fn a_section_without_data_says_why() {
        let mut side = side(|_| (10, 5.0));
        side.records.seconds.clear();
        side.records.latencies = None;
        let page = html(&View::new(&example(), &side.records, &side.plan));
        assert_eq!(page.matches("Nobody watched the run").count(), 4);
        assert_eq!(page.matches("No generator has written a timeline").count(), 3);
        assert_eq!(page.matches("<svg").count(), 0);
    }
}
