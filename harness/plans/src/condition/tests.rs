use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(metric: &str, text: &str, expected: (Aggregation, Comparator, f64), told: &str) {
    let metric = Metric::parse(metric, Stretch::Run).unwrap();
    let found = Condition::parse_of(metric, text).unwrap();
    assert_eq!((found.aggregation, found.comparator, found.limit.value()), expected, "{text}");
    assert_eq!(found.asked(), told);
}

#[track_caller]
fn check_wrong(metric: &str, text: &str, expected: &str) {
    let metric = Metric::parse(metric, Stretch::Run).unwrap();
    let message = Condition::parse_of(metric, text).unwrap_err();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn conditions_are_read_as_k6_writes_them() {
    use Aggregation::{Average, Count, Max, Median, Min, Percentile, Rate};
    use Comparator::{Above, AtLeast, AtMost, Below, Equal};
    let same = |metric, text, expected| check(metric, text, expected, text);
    same("sent_to_acknowledged", "p(95)<100ms", (Percentile(95.0), Below, 100.0));
    same("due_to_acknowledged", "p(99)<1s", (Percentile(99.0), Below, 1_000.0));
    same("due_to_sent", "max<1h30m", (Max, Below, 5_400_000.0));
    same("due_to_visible", "med<1.5m", (Median, Below, 90_000.0));
    same("acknowledged_to_visible", "min>=0ms", (Min, AtLeast, 0.0));
    same("ingested", "rate>99.5%", (Rate, Above, 0.995));
    same("refused", "rate<0.25", (Rate, Below, 0.25));
    same("lost", "count==0", (Count, Equal, 0.0));
    same("lag", "max<1000", (Max, Below, 1_000.0));
    same("cpu.nats", "avg<1.5", (Average, Below, 1.5));
    same("memory.clickhouse", "max<2GiB", (Max, Below, 2_147_483_648.0));
    let spaced = (Percentile(99.9), AtMost, 0.25);
    check("due_to_sent", " p( 99.90 ) <= 250 µs ", spaced, "p(99.9)<=250µs");
    check("lag", "lag<1000", (Max, Below, 1_000.0), "max<1000");
    check("lag", "lag>=1", (Min, AtLeast, 1.0), "min>=1");
}

#[test]
fn what_a_metric_cannot_have_is_refused_with_what_it_can() {
    check_wrong("sent_to_acknowledged", "fast", "write it like p(95)<100ms");
    check_wrong("sent_to_acknowledged", "p(95)=100ms", "none of <, <=, >, >= and ==");
    check_wrong("sent_to_acknowledged", "rate<1%", "write p(95), min, avg, med or max");
    check_wrong("sent_to_acknowledged", "p95<1s", "write p(95), min, avg, med or max");
    check_wrong("sent_to_acknowledged", "p(101)<1s", "write p(95), min, avg, med or max");
    check_wrong("sent_to_acknowledged", "p(95)<100", "a number with µs, ms, s, m, h or d");
    check_wrong("sent_to_acknowledged", "p(95)<1h30", "a number with µs, ms, s, m, h or d");
    check_wrong("sent_to_acknowledged", "p(95)<", "a number with µs, ms, s, m, h or d");
    check_wrong("lost", "max<3", "write rate or count");
    check_wrong("lost", "rate<150%", "a share like 0.1%");
    check_wrong("lost", "count<3%", "a number without a unit");
    check_wrong("lag", "max<1e3", "a number without a unit");
    check_wrong("lag", "lag==3", "or lag<1000");
    check_wrong("memory.nats", "max<2GB", "KiB, MiB, GiB or TiB");
    for bad in ["latency", "cpu", "cpu.", "cpu.<part>", "memory.a b", "p95", ""] {
        let message = Metric::parse(bad, Stretch::Run).unwrap_err();
        assert!(message.contains("is no metric: write one of planned, "), "{message}");
    }
}

/// The conditions that `--abort-on` accepted before all conditions had one language, and earlier
/// names of metrics.
#[test]
fn earlier_spellings_mean_what_they_meant_or_name_the_new_one() {
    let check = |earlier: &str, now: Result<&str, &str>| match (
        Condition::parse(earlier, Stretch::Window),
        now,
    ) {
        (Ok(found), Ok(now)) => {
            assert_eq!(found.to_string(), now);
            assert_eq!(Condition::parse(now, Stretch::Window), Ok(found));
        }
        (Err(message), Err(now)) => {
            assert!(message.contains(&format!("write {now}")), "{message}");
        }
        (found, _) => panic!("{earlier}: {found:?}"),
    };
    check("acknowledged_rate<99%", Ok("acknowledged rate<99%"));
    check("acknowledged_rate < 99.50 %", Ok("acknowledged rate<99.5%"));
    check("refused_rate>1%", Ok("refused rate>1%"));
    check("unknown_rate>0.5%", Ok("unknown rate>0.5%"));
    check("lateness>500ms", Ok("lateness max>500ms"));
    check("lateness>1h30m", Ok("lateness max>1h30m"));
    check("webhook p(95)>1s", Ok("sent_to_acknowledged p(95)>1s"));
    check("p95>10s", Err("due_to_acknowledged p(95)>10s"));
    check("p99 > 10s", Err("due_to_acknowledged p(99)> 10s"));
    let of_names = [
        ("webhook", "sent_to_acknowledged"),
        ("end_to_end", "due_to_visible"),
        ("freshness", "acknowledged_to_visible"),
    ];
    for (earlier, now) in of_names {
        assert_eq!(Metric::parse(earlier, Stretch::Run).unwrap().to_string(), now);
    }
}

#[test]
fn what_is_not_known_yet_is_refused_with_what_is() {
    let of_window = "write one of planned, attempted, acknowledged, refused, unknown, spoiled, \
                     unsent, dropped, due_to_acknowledged, sent_to_acknowledged, due_to_sent, \
                     lateness, blocked, requests, request_bytes, retries, \
                     requests_in_flight, queries, queries.wrong, queries.tenant, \
                     queries.platform, queries.complex";
    let check = |text: &str, expected: &str| {
        let message = Condition::parse(text, Stretch::Window).unwrap_err();
        assert!(message.ends_with(expected), "{message}");
    };
    let late = format!("ingested is not known while a run goes on: {of_window}");
    check("ingested rate<99%", &late);
    assert!(Condition::parse("ingested rate<99%", Stretch::Run).is_ok());
    check("end_to_end p(95)>1s", of_window);
    check("cpu.nats max>1", of_window);
    check("speed<9%", &format!("\"speed\" is no metric: {of_window}"));
    check("acknowledged", &format!("write it like {EXAMPLE}"));
    check("acknowledged<99%", "is nothing that acknowledged has: write rate or count");
    check("refused_rate>2s", "write a share like 0.1%, or from 0 to 1");
}

#[test]
fn a_condition_holds_or_does_not() {
    let holds =
        |text: &str, measured| Condition::parse_of(Metric::Lost, text).unwrap().holds(measured);
    assert!(holds("count<10", 9.0) && !holds("count<10", 10.0));
    assert!(holds("count<=10", 10.0) && !holds("count<=10", 11.0));
    assert!(holds("count>10", 11.0) && !holds("count>10", 10.0));
    assert!(holds("count>=10", 10.0) && !holds("count>=10", 9.0));
    assert!(holds("count==0", 0.0) && !holds("count==0", 1.0));
    assert!(holds("rate==33.3%", 0.333));
}

const GUIDE: &str = include_str!("../../../../docs/conditions.md");

#[test]
fn the_guide_has_every_metric_with_its_unit_and_meaning() {
    let rows = |from: &str| -> Vec<&str> {
        let (_, table) = GUIDE.split_once(from).unwrap();
        let table = table.trim_start().lines().take_while(|line| line.starts_with('|'));
        table.skip(2).collect()
    };
    let written: Vec<_> = Metric::ALL
        .iter()
        .map(|metric| {
            let (name, unit) = (metric.name(), metric.measure().unit());
            let live = if metric.is_known_over(Stretch::Window) { "yes" } else { "no" };
            format!("| `{name}` | {unit} | {} | {live} |", metric.meaning())
        })
        .collect();
    assert_eq!(rows("## Metrics\n"), written);
}

fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..2_000_u32).prop_map(|number| number.to_string()),
        "[0-9]{1,7}\\.[0-9]{1,7}",
        "0{0,20}[1-9]{1,5}",
        "\\.0{0,12}[1-9]",
    ]
}

fn limits(measure: Measure, is_share: bool) -> BoxedStrategy<String> {
    let sign =
        |units: &[Unit]| prop::sample::select(units.iter().map(|it| it.0).collect::<Vec<_>>());
    let with = |units: &[Unit]| (numbers(), sign(units)).prop_map(|(n, unit)| n + unit);
    match measure {
        _ if is_share => (0..=100_000_u32)
            .prop_map(|thousandths| format!("{}%", f64::from(thousandths) / 1_000.0))
            .boxed(),
        Measure::Time => {
            prop::collection::vec(with(&TIMES), 1..4).prop_map(|parts| parts.concat()).boxed()
        }
        Measure::Bytes => with(&sizes()).boxed(),
        Measure::Events
        | Measure::Queries
        | Measure::Messages
        | Measure::Requests
        | Measure::Cores => numbers().boxed(),
    }
}

/// Conditions on all metrics, in every form that a user may write.
fn conditions() -> impl Strategy<Value = (Metric, String)> {
    let metrics = Metric::ALL.map(|metric| match metric {
        Metric::Cpu(_) => Metric::Cpu("nats-1.a_b".to_owned()),
        Metric::Memory(_) => Metric::Memory("vector".to_owned()),
        plain => plain,
    });
    let comparator = || prop::sample::select(Comparator::ALL.map(Comparator::sign).to_vec());
    let space = || prop::sample::select(vec!["", " ", "  "]);
    let metric = prop::sample::select(metrics.to_vec());
    metric.prop_flat_map(move |metric| {
        let measure = metric.measure();
        let aggregation = match measure {
            Measure::Events | Measure::Queries => {
                prop::sample::select(vec!["rate", "count"]).prop_map(str::to_owned).boxed()
            }
            _ => prop_oneof![
                prop::sample::select(vec!["min", "avg", "med", "max", "p(100)"])
                    .prop_map(str::to_owned),
                "p\\([1-9]?[0-9]\\.0{0,9}[1-9]{1,2}\\)",
            ]
            .boxed(),
        };
        let parts = (aggregation, space(), comparator(), space());
        parts.prop_flat_map(move |(aggregation, before, sign, after)| {
            let head = format!("{aggregation}{before}{sign}{after}");
            let metric = metric.clone();
            limits(measure, aggregation == "rate")
                .prop_map(move |limit| (metric.clone(), format!("{head}{limit}")))
        })
    })
}

proptest! {
    #[test]
    fn what_is_told_is_read_as_what_it_was((metric, text) in conditions()) {
        let read = Condition::parse_of(metric, &text);
        prop_assert!(read.is_ok(), "{read:?}");
        let (told, asked) = (read.as_ref().unwrap().to_string(), read.as_ref().unwrap().asked());
        let metric = read.as_ref().unwrap().metric.clone();
        prop_assert_eq!(&Condition::parse(&told, Stretch::Run), &read);
        prop_assert_eq!(&Condition::parse_of(metric.clone(), &asked), &read);
        prop_assert_eq!(&read.unwrap().to_string(), &told);
        let of_window = Condition::parse(&told, Stretch::Window);
        prop_assert_eq!(of_window.is_ok(), metric.is_known_over(Stretch::Window));
    }
}
