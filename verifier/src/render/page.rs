//! The page for people, and its short form in Markdown. Pure.

use askama::Template;

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

/// One file that needs nothing beside it: no script, no font, no network.
pub(crate) fn html(view: &View) -> String {
    let css = include_str!("../../templates/report.css");
    let page = Html { v: view, css, columns: TENANT_COLUMNS };
    page.render().expect("memory takes what is written to it")
}

/// The same without charts, for comments on a change and for logs.
pub(crate) fn markdown(view: &View) -> String {
    let page = Markdown { v: view, columns: TENANT_COLUMNS };
    let text = page.render().expect("memory takes what is written to it");
    text.trim_end().to_owned() + "\n"
}

/// Text as a cell of a Markdown table, in which it is nothing but text.
fn cell(text: &str) -> String {
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
    use expect_test::expect;
    use harness::observation::Mark;

    use super::*;
    use crate::report::Report;
    use crate::report::tests::example;
    use crate::versus::tests::side;

    fn view(change: impl FnOnce(&mut Report)) -> View {
        let side = side(|_| (10, 5.0));
        let mut report = example();
        change(&mut report);
        View::new(&report, &side.records, &side.plan)
    }

    #[test]
    fn the_short_form_says_what_the_page_says() {
        expect![[r#"
            # ✗ LOSSY: smoke

            Of 590 acknowledged events: 2 lost, 1 there more than once. 1 of 1 threshold met. Exit code 1.

            - 2 acknowledged events are not stored

            | figure | value |
            |---|---:|
            | acknowledged | 590 |
            | stored | 588 |
            | lost | 2 |
            | duplicated | 1 |
            | corrupted, unexpected | 0 |
            | webhook p95 | 5 ms |
            | end to end p95 | – |
            | lag, at most | – |

            ## Thresholds

            | metric | asked | measured | outcome |
            |---|---|---|---|
            | webhook | `p(95)<100ms` | 12.4 ms | met |

            ## What became of every event

            | events | count | |
            |---|---:|---|
            | planned | 600 |  |
            | &emsp;unsent | 0 | no byte of it left |
            | &emsp;attempted | 600 |  |
            | &emsp;&emsp;refused | 0 | certainly not taken |
            | &emsp;&emsp;unknown | 10 | no answer that settles it |
            | &emsp;&emsp;&emsp;recovered | 9 | stored all the same |
            | &emsp;&emsp;&emsp;unresolved | 1 | not stored |
            | &emsp;&emsp;acknowledged | 590 |  |
            | &emsp;&emsp;&emsp;in stream | 589 | seen there when it was checked |
            | &emsp;&emsp;&emsp;stored | 588 |  |
            | &emsp;&emsp;&emsp;lost | 2 | acknowledged and not stored |
            | duplicated | 1 | there more than once |
            | corrupted | 0 | stored, but not as sent |
            | unexpected | 0 | stored, but never sent |

            The table has rows for the same event more than once.

            ## Where it was lost

            | hop | events | why |
            |---|---:|---|
            | between webhook and stream | 1 | 1 never in the stream |
            | in the stream | 0 |  |
            | between stream and table | 1 | 1 consumed and not stored |
            | in the table | 0 |  |

            | due from | until | events | where and why | marked then |
            |---|---|---:|---|---|
            | 491628:00:12 (12:00:11 UTC) | 491628:00:12 (12:00:11 UTC) | 1 | between stream and table: consumed and not stored | restart clickhouse |

            ## Latencies

            | latency | p50 | p95 | p99 | p99.9 | max |
            |---|---:|---:|---:|---:|---:|
            | due to acknowledged | 10 ms | 10 ms | 10 ms | 10 ms | 10 ms |
            | sent to acknowledged | 5 ms | 5 ms | 5 ms | 5 ms | 5 ms |
            | due to sent | 0 ms | 0 ms | 0 ms | 0 ms | 0 ms |

            ## Tenants, worst first

            | tenant | scope | planned | acknowledged | stored | lost | duplicated | corrupted | unexpected | not acknowledged |
            |---:|---|---:|---:|---:|---:|---:|---:|---:|---:|
            | 0 | Organization acme | 600 | 590 | 588 | 2 | 1 | 0 | 0 | 10 |

            ## Findings

            | finding | tenant | seq | audit ID | due |
            |---|---:|---:|---|---|
            | consumed and not stored | 0 | 230 | `c0a2b1f7-93a4-4d0e-8a6c-1a2b3c4d5e6f` | 2026-01-31 12:00:11 UTC |

            ## Differences

            | tenant | seq | column | sent | stored |
            |---:|---:|---|---|---|
            | 0 | 7 | verb | get | list |

            ## The run and its environment

            | | |
            |---|---|
            | profile | smoke |
            | run | 6f1c1c52-6a5e-4b53-9b0f-0f3c8d3a9f10 |
            | start | 2026-01-31 12:00:00 UTC |
            | planned for | 30 s |
            | way | webhook, stream, table |
            | checked | 2026-01-31 12:01:05 UTC |
            | auditstorm | 0.1.0  |
            | ClickHouse | 26.7.3.1  |
            | NATS | 2.15.1  |
            | checked on | Debian GNU/Linux 12  |
            | cores there | 2  |
            | table | audit.audit\_logs ReplacingMergeTree |
            | rows of the run | 598  |
            | waited for stillness | 5.1 s  |
            | read the stream | 0.2 s  |
            | read the table | 0.1 s  |
            | compared contents | 0.1 s  |
        "#]].assert_eq(&markdown(&view(|_| {})));
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
