use super::*;
use crate::judge::Failure;

/// Options for round numbers: from 100/s to 1,600/s, ten plateaus.
fn options() -> SearchOptions {
    SearchOptions {
        start: EventsPerSecond(100.0),
        limits: (EventsPerSecond(10.0), EventsPerSecond(1_600.0)),
        plateaus_max: 10,
        ..SearchOptions::default()
    }
}

/// Reads a trial like `200 fails 150` (what was stored), `200 holds`, `200 confirmed`,
/// `200 refuted`, `200 unwatched`, `200 saturated` or `200 noisy`.
fn trial(text: &str) -> Trial {
    let words: Vec<&str> = text.split(' ').collect();
    let rate = EventsPerSecond(words[0].parse().unwrap());
    let not_known = |missing| Verdict::NotKnown { missing: vec![missing] };
    let trend =
        crate::trend::Trend { slope_per_s: 1.0, low_per_s: 0.0, high_per_s: 9.0, points: 9 };
    let verdict = match words[1] {
        "holds" | "confirmed" => Verdict::Sustained,
        "fails" | "refuted" => {
            Verdict::NotSustained { failed: vec![Failure::Growing { hop: None, trend }] }
        }
        "unwatched" => not_known(Missing::Watch),
        "saturated" => not_known(Missing::GeneratorSaturated),
        "noisy" => not_known(Missing::Certainty { trend }),
        other => panic!("no such trial: {other}"),
    };
    let is_confirmation = matches!(words[1], "confirmed" | "refuted");
    let duration = if is_confirmation { options().confirmation } else { options().plateau };
    let stored = words.get(2).map(|stored| EventsPerSecond(stored.parse().unwrap()));
    Trial { rate, duration, is_confirmation, verdict, stored }
}

fn told(step: Step) -> String {
    match step {
        Step::Try { rate, duration, is_confirmation } => {
            let what = if is_confirmation { "confirm" } else { "try" };
            format!("{what} {:.0} for {} s", rate.0, duration.as_secs())
        }
        Step::Found(Found { rate, confirmed_by, above }) => {
            format!("found {:.0} by {confirmed_by}, above {above:?}", rate.0)
        }
        Step::GaveUp { why, best } => format!("gave up: {why:?}, best {:?}", best.map(|it| it.0)),
    }
}

#[track_caller]
fn check(trials: &[&str], expected: &str) {
    let trials: Vec<Trial> = trials.iter().map(|text| trial(text)).collect();
    assert_eq!(told(next_of(&options(), &trials)), expected);
}

#[test]
fn the_rate_is_doubled_until_it_is_not_sustained() {
    check(&[], "try 100 for 180 s");
    check(&["100 holds"], "try 200 for 180 s");
    check(&["100 holds", "200 holds"], "try 400 for 180 s");
    check(&["100 holds", "200 holds", "400 holds", "800 holds"], "try 1600 for 180 s");
}

#[test]
fn the_highest_rate_that_may_be_tried_is_an_answer_too() {
    check(&["1600 holds"], "confirm 1600 for 600 s");
    check(&["1600 holds", "1600 confirmed"], "found 1600 by 1, above None");
}

#[test]
fn what_was_stored_under_overload_is_tried_a_little_above_and_below() {
    check(&["100 holds", "200 fails 150"], "try 152 for 180 s");
    check(&["100 holds", "200 fails 150", "152 fails 151"], "try 148 for 180 s");
    check(&["100 holds", "200 fails 150", "152 fails 151", "148 holds"], "confirm 148 for 600 s");
    check(&["100 holds", "200 fails 150", "152 holds"], "try 156 for 180 s");
    check(&["100 holds", "200 fails 150", "152 holds", "156 holds"], "try 177 for 180 s");
    // It breaks down: less is stored than it can sustain.
    check(&["100 holds", "200 fails 60"], "try 141 for 180 s");
    check(&["100 holds", "200 fails"], "try 141 for 180 s");
}

#[test]
fn the_bracket_is_halved_where_there_is_no_hint() {
    check(&["100 holds", "200 fails", "141 fails"], "try 119 for 180 s");
    check(&["100 holds", "200 fails", "141 holds"], "try 168 for 180 s");
    check(&["100 holds", "103 fails"], "confirm 100 for 600 s");
}

#[test]
fn a_start_above_the_limit_goes_down() {
    check(&["100 fails 60"], "try 59 for 180 s");
    check(&["100 fails"], "try 50 for 180 s");
    check(&["100 fails 60", "59 fails 40", "39 fails 30"], "try 30 for 180 s");
    check(&["100 fails 60", "59 fails 40", "39 fails 30", "30 fails 20"], "try 15 for 180 s");
    check(&["100 fails", "50 fails", "25 fails", "13 fails"], "try 10 for 180 s");
    check(&["100 fails", "10 fails"], "gave up: TooSlow, best None");
}

#[test]
fn a_confirmed_rate_with_another_near_above_is_the_answer() {
    check(&["100 holds", "103 fails", "100 confirmed"], "found 100 by 2, above Some(1)");
}

#[test]
fn a_refuted_answer_is_the_new_upper_end_and_only_long_plateaus_count_then() {
    let begun = ["100 holds", "120 holds", "123 fails", "120 refuted 110"];
    check(&begun, "confirm 117 for 600 s");
    check(&[&begun[..], &["117 confirmed"]].concat(), "found 117 by 4, above Some(3)");
    check(&[&begun[..], &["117 refuted"]].concat(), "confirm 110 for 600 s");
    let twice = [&begun[..], &["117 refuted", "110 confirmed"]].concat();
    check(&twice, "confirm 111 for 600 s");
    check(&[&twice[..], &["111 refuted"]].concat(), "found 110 by 5, above Some(6)");
}

#[test]
fn a_rate_above_one_that_was_not_sustained_is_never_tried_again() {
    // 150 seemed to be sustained before 120 was not.
    check(&["100 holds", "150 holds", "120 fails"], "try 110 for 180 s");
}

#[test]
fn what_cannot_be_judged_is_repeated_a_bounded_number_of_times() {
    check(&["100 holds", "200 unwatched"], "try 200 for 180 s");
    check(&["100 holds", "200 unwatched", "200 unwatched"], "try 200 for 180 s");
    // Then it counts as not sustained.
    let thrice = ["100 holds", "200 unwatched", "200 unwatched", "200 unwatched"];
    check(&thrice, "try 141 for 180 s");
    check(&["100 unwatched", "100 unwatched"], "try 100 for 180 s");
    check(&["100 unwatched"; 3], "gave up: NotJudged, best None");
    check(&["100 holds", "200 noisy"], "try 200 for 360 s");
    check(&["100 holds", "200 saturated"], "try 200 for 180 s");
    check(&["100 holds", "200 saturated", "200 saturated"], "try 141 for 180 s");
    check(&["100 saturated", "100 saturated"], "try 50 for 180 s");
}

#[test]
fn the_last_plateau_confirms_and_then_there_is_no_other() {
    let nine = ["100 holds"; 9];
    check(&nine, "confirm 100 for 600 s");
    check(&[&nine[..], &["100 confirmed"]].concat(), "found 100 by 9, above None");
    check(&[&nine[..], &["100 refuted"]].concat(), "gave up: Plateaus, best None");
    check(
        &[&["50 holds"][..], &nine[1..], &["100 refuted"]].concat(),
        "gave up: Plateaus, best Some(50.0)",
    );
}

#[test]
fn a_search_ends_when_its_time_is_used_up() {
    let search =
        |minutes| SearchOptions { load_time_max: Duration::from_mins(minutes), ..options() };
    let trials = ["100 holds", "200 holds"].map(trial);
    let step = |minutes| told(next_of(&search(minutes), &trials));
    assert_eq!(step(30), "try 400 for 180 s");
    assert_eq!(step(17), "confirm 200 for 600 s");
    assert_eq!(step(15), "gave up: Time, best Some(200.0)");
}

/// Whatever a pipeline does, the search ends, and its bracket never grows.
#[test]
fn any_outcomes_come_to_an_end_and_the_upper_end_never_rises() {
    let verdicts = ["holds", "fails", "fails 70", "noisy", "unwatched"];
    for seed in 0..2_000 {
        let mut draw = events::draw::Draw::new(seed, 0, 0);
        let mut trials: Vec<Trial> = Vec::new();
        let mut high = f64::INFINITY;
        while let Step::Try { rate, duration, is_confirmation } = next_of(&options(), &trials) {
            assert!(rate.0 < high, "{rate} was not sustained before");
            let text = format!("{} {}", rate.0, verdicts[draw.below(5) as usize]);
            let trial = Trial { duration, is_confirmation, ..trial(&text) };
            if matches!(trial.verdict, Verdict::NotSustained { .. }) {
                high = rate.0;
            }
            trials.push(trial);
        }
        assert!(trials.len() <= options().plateaus_max, "{}", trials.len());
    }
}
