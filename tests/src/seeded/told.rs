//! Runs a check, and reads the verifier's report.

use std::fs;

use serde_json::Value;

use super::accounts::Account;
use super::draw::Run;
use super::oracle::{Counted, Event, Events, Told};
use super::wrong_clock;
use crate::stack::Stack;

/// Reconciles a run with an account and some flags.
pub fn check(stack: &Stack, run: &Run, account: Account, flags: &[&str]) -> Told {
    let dir = run.dir();
    let report = run.path(stack).join("report.json");
    fs::remove_file(&report).ok();
    let duplicates = match run.counted {
        Counted::Physical => "physical",
        Counted::Logical => "logical",
    };
    let table = run.table();
    let mut args = vec!["reconcile", &dir, "--table", &table, "--duplicates", duplicates];
    args.extend(["--clickhouse-user", account.user()]);
    args.extend(flags);
    if run.is_blind {
        args.extend(["--vector-metrics", ""]);
    }
    if run.is_deep {
        args.push("--deep");
    }
    let mut verifier = stack.command("auditstorm-verifier", &args);
    wrong_clock::set(&mut verifier, run.checker_clock);
    let output = verifier.output().unwrap();
    let code = output.status.code().unwrap_or(-1);
    if let Ok(bytes) = fs::read(&report) {
        return parse(code, &serde_json::from_slice(&bytes).unwrap());
    }
    let story = String::from_utf8_lossy(&output.stderr).into_owned();
    Told { code, reasons: story.lines().map(str::to_owned).collect(), ..Told::default() }
}

/// Reads a report.
fn parse(code: i32, report: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut told = Told {
        code,
        verdict: Some(text(&report["verdict"])),
        reasons: report["reasons"].as_array().unwrap().iter().map(text).collect(),
        ..Told::default()
    };
    for tenant in report["tenants"].as_array().unwrap() {
        let index = u16::try_from(tenant["tenant"].as_u64().unwrap()).unwrap();
        let fates = &tenant["fates"];
        for (cause, ranges) in fates["lost"].as_object().unwrap() {
            told.lost.entry(cause.clone()).or_default().extend(events(index, ranges));
        }
        told.corrupted.extend(events(index, &fates["corrupted"]));
        told.unexpected.extend(events(index, &fates["unexpected"]));
        for place in ["duplicated_in_stream", "duplicated_in_table"] {
            told.duplicated.extend(events(index, &fates[place]));
        }
    }
    told
}

fn events(tenant: u16, ranges: &Value) -> Events {
    let numbers = |range: &Value| range[0].as_u64().unwrap()..range[1].as_u64().unwrap();
    let seqs = ranges.as_array().unwrap().iter().flat_map(numbers);
    seqs.map(|seq| -> Event { (tenant, seq) }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read_event_by_event() {
        let nothing = json!([]);
        let told = parse(
            1,
            &json!({
                "verdict": "lossy",
                "reasons": ["3 acknowledged events are not stored"],
                "tenants": [{"tenant": 4, "fates": {
                    "lost": {"never_in_stream": [[2, 4]], "somewhere": [[9, 10]]},
                    "corrupted": [[1, 2]], "unexpected": nothing,
                    "duplicated_in_stream": [[5, 6]], "duplicated_in_table": [[7, 8]],
                }}],
            }),
        );
        assert_eq!(told.lost["never_in_stream"], Events::from([(4, 2), (4, 3)]));
        assert_eq!(told.lost["somewhere"], Events::from([(4, 9)]));
        assert_eq!(told.corrupted, Events::from([(4, 1)]));
        assert_eq!(told.duplicated, Events::from([(4, 5), (4, 7)]));
        assert_eq!((told.code, told.verdict.as_deref()), (1, Some("lossy")));
    }
}
