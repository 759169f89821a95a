//! Runs the queries of `docs/history.md` on the history that the guide loads, and asks the same of
//! the query API.

use std::fs;

use crate::history_doors::check_doors;
use crate::stack::{Stack, root};

const GUIDE: &str = "docs/history.md";

/// Loads the history with the command of the guide.
fn load(stack: &Stack, guide: &str) {
    let command = guide.lines().find(|line| line.contains("--out runs/small")).unwrap();
    let args: Vec<&str> = command.split_whitespace().skip(1).collect();
    let output = stack.run("auditstorm-backfill", &args);
    assert!(output.status.success(), "{output:?}");
}

/// The queries of the guide, in order.
fn questions(guide: &str) -> Vec<&str> {
    let blocks = guide.split("```sql\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The cells of an answer, without the head of its table.
fn cells(answer: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).unwrap();
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    answer.lines().skip(2).map(cells).collect()
}

/// Returns the guide with these answers: a table after each query.
fn answered(guide: &str, answers: &[String]) -> String {
    let mut parts = guide.split("```sql\n");
    let before = parts.next().unwrap().to_owned();
    let with_answer = |(part, answer): (&str, &String)| {
        let (question, after) = part.split_once("```\n").unwrap();
        let is_answer = |line: &&str| line.is_empty() || line.starts_with('|');
        let after: Vec<&str> = after.lines().skip_while(is_answer).collect();
        format!("```sql\n{question}```\n\n{answer}\n\n{}\n", after.join("\n"))
    };
    std::iter::once(before).chain(parts.zip(answers).map(with_answer)).collect()
}

#[test]
fn the_guides_questions_have_the_answers_that_it_gives() {
    let path = root().join(GUIDE);
    let guide = fs::read_to_string(&path).unwrap();
    let stack = Stack::up(&["--query-api"]);
    load(&stack, &guide);
    let questions = questions(&guide);
    assert_eq!(questions.len(), 10);
    let answers: Vec<_> =
        questions.iter().map(|sql| stack.ask(&format!("{sql} FORMAT Markdown"))).collect();
    for (question, answer) in questions.iter().zip(&answers) {
        assert!(answer.lines().count() > 3, "few answers to {question}:\n{answer}");
    }
    let expected = answered(&guide, &answers);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert_eq!(guide, expected, "run it with UPDATE_EXPECT=1 to rewrite {GUIDE}");
    }
    check_costs(&stack, questions[0]);
    let documented: Vec<_> = answers.iter().map(|answer| cells(answer)).collect();
    check_doors(&stack, "runs/small", &documented);
}

/// Asks the server how many of its parts remain after it has used an index.
fn check_costs(stack: &Stack, question: &str) {
    let plan = stack.ask(&format!("EXPLAIN indexes = 1 {question}"));
    let parts_after = |index: &str| -> (u32, u32) {
        let rest = plan.split_once(index).unwrap_or_else(|| panic!("no {index} in:\n{plan}")).1;
        let parts = rest.split_once("Parts: ").unwrap().1.split_whitespace().next().unwrap();
        let (left, of) = parts.split_once('/').unwrap();
        (left.parse().unwrap(), of.parse().unwrap())
    };
    assert_eq!(parts_after("Min-Max"), (7, 90), "{plan}");
    let (left, of) = parts_after("idx_user_bloom");
    assert!(left < of && of == 7, "{plan}");
}
