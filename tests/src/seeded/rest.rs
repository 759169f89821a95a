//! Waits until nothing is on its way any more: by the metrics of the pipeline or, without them, by
//! time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use super::disturbance::{Act, Disturbance, Part};
use super::draw::Storm;
use super::tap::{self, Waiting};
use super::truth::{Seen, Sent};
use crate::stack::Stack;

/// Waits until no message waits for the consumer, no part holds events, and nothing moves. A part
/// that keeps its last events is restarted.
pub fn await_rest(stack: &Stack, storm: &Storm, sent: &[Option<Sent>]) {
    const LOOK: Duration = Duration::from_millis(500);
    const LOOKS_MAX: u32 = 1_500;
    // Neither a retry nor a batch takes so long at the scale of the gate. At that of the bench a
    // part that waits for a retry may be restarted once too often, which does no harm. But one that
    // holds its batches back would begin anew each time, and never pass them on.
    let kept_for_good = storm.delay + storm.batch_wait + Duration::from_secs(4);
    let calm = calm(stack, storm);
    let (mut last, mut since) = (None, Duration::ZERO);
    for _ in 0..LOOKS_MAX {
        let (held, waiting) = (held(stack), tap::waiting(stack));
        let seen = Seen::read(stack);
        let mut runs = storm.runs.iter().zip(sent);
        let is_all_there =
            runs.all(|(run, sent)| sent.as_ref().is_none_or(|sent| sent.is_all_there(run, &seen)));
        let is_idle = held == Some(0) && waiting.is_some_and(Waiting::is_nothing);
        let now = Some((held, waiting, seen.count()));
        since = if now == last { since + LOOK } else { Duration::ZERO };
        let late_copies = calm.min(storm.batch_wait + storm.delay);
        if is_idle && (since >= calm || is_all_there && since >= late_copies) {
            return;
        }
        if let Some((part, _)) = storm.kept
            && since >= kept_for_good
            && held.is_some_and(|events| events > 0)
        {
            stack.restart(part.name(), "0s");
            since = Duration::ZERO;
        }
        last = now;
        sleep(LOOK);
    }
    panic!("seed {}: the pipeline did not come to rest in ten minutes", storm.seed);
}

/// Whether messages wait for the consumer, or sidecar or aggregator hold events or may hold some.
pub fn is_anything_held(stack: &Stack) -> bool {
    held(stack) != Some(0) || !tap::waiting(stack).is_some_and(Waiting::is_nothing)
}

/// Whether sidecar and aggregator have metrics, which can prove that nothing is on its way.
pub fn tells_what_it_holds(stack: &Stack) -> bool {
    stack.find_address(METRICS).is_some()
}

const METRICS: &str = "VECTOR_METRICS_URL";

/// How long nothing must move. Without metrics it is longer than anything in the pipeline holds an
/// event back.
fn calm(stack: &Stack, storm: &Storm) -> Duration {
    const TOLD: Duration = Duration::from_secs(1);
    const PAUSE_MAX: Duration = Duration::from_secs(10);
    if tells_what_it_holds(stack) {
        return TOLD;
    }
    // The relay pauses as long as a server was down, or for its longest pause.
    let away = |act: &&Act| matches!(act.what, Disturbance::Away(Part::ClickHouse | Part::Nats));
    let longest = storm.acts.iter().filter(away).map(|act| act.lasts).max();
    let pause = longest.unwrap_or_default().min(PAUSE_MAX);
    storm.delay + storm.batch_wait + pause + Duration::from_secs(3)
}

/// How many events sidecar and aggregator hold. It is 0 if they have no metrics, and `None` while
/// they are down.
fn held(stack: &Stack) -> Option<u64> {
    let Some(urls) = stack.find_address(METRICS) else { return Some(0) };
    urls.split(',').map(held_by).sum()
}

fn held_by(url: &str) -> Option<u64> {
    let address = url.strip_prefix("http://")?.split('/').next()?;
    let mut stream = TcpStream::connect(address).ok()?;
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut told = String::new();
    stream.read_to_string(&mut told).ok()?;
    sum_of_gauges(&told)
}

/// Adds up the gauges of buffers. Returns `None` if there are none.
fn sum_of_gauges(told: &str) -> Option<u64> {
    let gauges = told.lines().filter_map(|line| {
        let (_, rest) = line.strip_prefix("vector_buffer_events{")?.split_once('}')?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    gauges.reduce(|one, other| one + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_buffers_hold_is_added_up() {
        let told = "# TYPE vector_buffer_events gauge\n\
                    vector_buffer_events{buffer_id=\"a\"} 12 1790000000000\n\
                    vector_buffer_size_events{buffer_id=\"a\"} 12 1790000000000\n\
                    vector_buffer_events{buffer_id=\"b\"} 3\n";
        assert_eq!(sum_of_gauges(told), Some(15));
        assert_eq!(sum_of_gauges("HTTP/1.1 503\n"), None);
    }
}
