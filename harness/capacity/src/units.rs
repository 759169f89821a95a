//! Units that are written out. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A rate of events, of all tenants together.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct EventsPerSecond(pub f64);

/// Writes whole events like `25,000/s`; below ten, one decimal.
impl fmt::Display for EventsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() < 10.0 && self.0.fract().abs() > 0.05 {
            return write!(f, "{:.1}/s", self.0);
        }
        let digits = format!("{:.0}", self.0.abs());
        f.write_str(if self.0 <= -0.5 { "−" } else { "" })?;
        for (index, digit) in digits.chars().enumerate() {
            let is_group = index > 0 && (digits.len() - index).is_multiple_of(3);
            f.write_str(if is_group { "," } else { "" })?;
            write!(f, "{digit}")?;
        }
        f.write_str("/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_with_their_unit() {
        let told = |rate: f64| EventsPerSecond(rate).to_string();
        let all = [0.0, 2.5, 9.0, 999.6, 25_000.4, 1_234_567.0, -40.0].map(told);
        assert_eq!(all, ["0/s", "2.5/s", "9/s", "1,000/s", "25,000/s", "1,234,567/s", "−40/s"]);
    }
}
