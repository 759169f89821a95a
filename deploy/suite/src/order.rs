//! What is done to the pipeline on purpose: an order to the sandbox, or a shell command. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use plans::quantity::{Micros, parse_wait};

/// What is done to the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A part of the sandbox is killed, stays down for a time, and is started again.
    Restart { part: &'static str, down_for: Duration },
    /// A part of the sandbox is killed and stays down.
    Stop { part: &'static str },
    /// A part of the sandbox that was stopped is started.
    Start { part: &'static str },
    /// A command for `sh -c`.
    Shell { command: String },
}

/// The parts of a sandbox.
pub(crate) const PARTS: [&str; 6] =
    ["clickhouse", "nats", "relay", "sidecar", "aggregator", "query-api"];

impl Default for Order {
    fn default() -> Self {
        Self::Shell { command: String::new() }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["restart", name] => Ok(Self::Restart { part: part(name)?, down_for: Duration::ZERO }),
            ["restart", name, "for", time] => {
                let (part, down_for) = (part(name)?, parse_wait(time)?);
                Some(Self::Restart { part, down_for })
                    .filter(|_| down_for <= DOWN_FOR_MAX)
                    .ok_or_else(|| "10m is the longest".to_owned())
            }
            ["stop", name] => Ok(Self::Stop { part: part(name)? }),
            ["start", name] => Ok(Self::Start { part: part(name)? }),
            [] | ["restart" | "stop" | "start", ..] => Err(HINT.to_owned()),
            _ => Ok(Self::Shell { command: text.trim().to_owned() }),
        }
    }
}

fn part(name: &str) -> Result<&'static str, String> {
    let known = PARTS.iter().find(|part| **part == name).copied();
    known.ok_or_else(|| format!("no part is called {name}: take one of {}", PARTS.join(", ")))
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart { part, down_for } if down_for.is_zero() => write!(f, "restart {part}"),
            Self::Restart { part, down_for } => {
                let micros = u64::try_from(down_for.as_micros()).unwrap_or(u64::MAX);
                write!(f, "restart {part} for {}", Micros::of_us(micros))
            }
            Self::Stop { part } => write!(f, "stop {part}"),
            Self::Start { part } => write!(f, "start {part}"),
            Self::Shell { command } => f.write_str(command),
        }
    }
}

impl Order {
    /// Whether only a sandbox can do it.
    pub(crate) fn needs_sandbox(&self) -> bool {
        !matches!(self, Self::Shell { .. })
    }
}

const HINT: &str = "write an order like `restart clickhouse for 20s`, `stop nats` or `start nats`, \
                    or a shell command";

/// The longest time that a sandbox leaves a part down.
const DOWN_FOR_MAX: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_for_the_sandbox_or_for_a_shell() {
        #[track_caller]
        fn check(text: &str, expected: Result<Order, &str>) {
            match (text.parse::<Order>(), expected) {
                (Ok(order), Ok(expected)) => {
                    assert_eq!(order, expected);
                    assert_eq!(order.to_string().parse(), Ok(order), "it is read as it is written");
                }
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (found, expected) => panic!("{found:?} is not {expected:?}"),
            }
        }
        let down_for = Duration::from_secs(20);
        let restart = |part, down_for| Ok(Order::Restart { part, down_for });
        check("restart clickhouse for 20s", restart("clickhouse", down_for));
        check("  restart   nats ", restart("nats", Duration::ZERO));
        check("stop query-api", Ok(Order::Stop { part: "query-api" }));
        check("start aggregator", Ok(Order::Start { part: "aggregator" }));
        let shell = |command: &str| Ok(Order::Shell { command: command.to_owned() });
        check("kubectl delete pod nats-0", shell("kubectl delete pod nats-0"));
        check("restart clickhous", Err("no part is called clickhous"));
        check("restart nats for ever", Err("duration"));
        check("restart nats for 11m", Err("10m is the longest"));
        check("stop nats for 5s", Err("write an order like"));
        check("", Err("write an order like"));
    }
}
