//! Whether a server keeps all rows before a bound in whole seconds.
//!
//! ClickHouse 26.3 to 26.9 turns `timestamp < toDateTime(X)` on a `DateTime64` key into
//! `<= X - 1 s` when it looks into its index, and so leaves out rows of the last second. Bounds of
//! type `DateTime64`, which this library writes, are not touched. Source: measured; 25.5 and 26.1
//! are right.

use crate::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};

/// What a server does with a bound in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondBounds {
    /// It keeps all rows before it.
    Kept,
    /// It leaves out rows of the second before it.
    LosesRows,
    /// The table has no rows, or its index does not say.
    Untold,
}

/// Asks how the server's index understands a bound in whole seconds. No row is read.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_second_bounds(server: &ClickHouse) -> Result<SecondBounds, ClickHouseError> {
    // All rows are before it, so no part is left out before the index is asked. A count would not
    // ask the index.
    let column = server.column_of("timestamp");
    let sql = format!(
        "EXPLAIN indexes = 1 SELECT {column} FROM {} WHERE {column} < toDateTime({LATE})",
        server.table
    );
    let lines = server.client.query_raw(&sql).fetch_all::<String>();
    Ok(SecondBounds::of(&server.answer(QUERY_TIMEOUT, lines).await?))
}

/// The year 2105, near the end of what a `DateTime` can say.
const LATE: u32 = 4_290_000_000;

impl SecondBounds {
    /// Reads the conditions that the server explains.
    fn of(lines: &[String]) -> Self {
        let conditions: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.trim_start_matches(TREE).strip_prefix(CONDITION))
            .collect();
        let has = |bound: &str| conditions.iter().any(|condition| condition.contains(bound));
        if has(&format!("{}]", LATE - 1)) {
            Self::LosesRows
        } else if has(&LATE.to_string()) {
            Self::Kept
        } else {
            Self::Untold
        }
    }
}

/// What the server draws before a line.
const TREE: [char; 4] = [' ', '│', '└', '─'];
const CONDITION: &str = "Condition: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_was_moved_loses_rows() {
        let check = |condition: &str, expected| {
            let lines = ["ReadFromMergeTree (a.b)".to_owned(), format!("│   {condition}")];
            assert_eq!(SecondBounds::of(&lines), expected, "{condition}");
        };
        check("Condition: (timestamp in (-Inf, 4289999999])", SecondBounds::LosesRows);
        check("Condition: (timestamp in (-Inf, \\'4290000000\\'))", SecondBounds::Kept);
        check("Condition: true", SecondBounds::Untold);
        check("Parts: 4289999999]", SecondBounds::Untold);
    }
}
