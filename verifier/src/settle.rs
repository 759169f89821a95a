//! Waits until nothing moves in the pipeline, because events that are on their way are not lost.

use std::collections::BTreeMap;
use std::time::Duration;

use edges::address::{Address, WEBHOOK};
use edges::clock::{Clock, micros};
use edges::shutdown::Stop;
use events::timeline::UnixMicros;
use plans::spec::Targets;
use stores::clickhouse::ClickHouse;
use stores::jetstream::{AuditStream, Position, StreamState};
use stores::stored::read_rows;
use tokio::net::TcpStream;

use crate::error::VerifyError;
use crate::evidence::{Part, Seen, Stillness};
use crate::patience::Patience;
use crate::vector::VectorState;
use crate::vectors::ask_vector;

/// How long to wait, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleOptions {
    /// Stores count as still if they have not moved for this long. It must be longer than the
    /// aggregator's batch timeout, for which the pipeline holds an event back.
    pub quiet: Duration,
    /// If stores still move after this long, the verdict is unknown.
    pub wait_max: Duration,
    /// The longest time that a part of the pipeline may hold an event while all parts are up and
    /// nothing moves. `None` if there is no such time: a disk buffer of Vector may keep its last
    /// events until another one comes.
    pub delay_max: Option<Duration>,
    /// The addresses of the metrics of the pipeline's Vectors.
    pub metrics: Vec<String>,
}

/// The values that are watched. If none of them changes, nothing moves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sign {
    position: Option<Position>,
    rows: u64,
    parts: Vec<Part>,
}

/// Watches the stores until they are still.
#[derive(Debug)]
pub struct Settling<'w> {
    server: &'w ClickHouse,
    stream: Option<&'w AuditStream>,
    clock: Clock,
    options: &'w SettleOptions,
    begun: UnixMicros,
    last: Option<(Sign, UnixMicros)>,
    /// What each Vector said when it last answered.
    known: BTreeMap<String, VectorState>,
    state: Option<StreamState>,
    /// When somebody was last seen waiting for messages of the consumer.
    asked_at: Option<UnixMicros>,
    looks: u32,
}

/// The result of looking at the stores once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Motion {
    /// They have moved recently, or messages wait for the consumer.
    Moving,
    /// They have not moved for a part of the quiet time. This is enough if all events are stored.
    Calm,
    /// They have not moved for the whole quiet time.
    Quiet,
}

impl<'w> Settling<'w> {
    pub fn new(
        server: &'w ClickHouse,
        stream: Option<&'w AuditStream>,
        clock: Clock,
        options: &'w SettleOptions,
    ) -> Self {
        let begun = clock.now();
        let (last, state, asked_at, known) = (None, None, None, BTreeMap::new());
        Self { server, stream, clock, options, begun, last, known, state, asked_at, looks: 0 }
    }

    /// Looks at the stores, some time after the last look.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] if a store does not answer, or the user asks to stop.
    pub async fn look(&mut self, patience: &mut Patience) -> Result<Motion, VerifyError> {
        if self.last.is_some() {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = patience.shutdown.asked(Stop::Drain) => return Err(VerifyError::Stopped),
            }
        }
        if let Some(stream) = self.stream {
            let state = patience.ask(async || stream.read_state().await).await?;
            if state.consumer.is_some_and(|consumer| consumer.is_asked) {
                self.asked_at = Some(self.clock.now());
            }
            self.state = Some(state);
        }
        let position = self.state.as_ref().map(StreamState::position);
        let rows = patience.ask(async || read_rows(self.server).await).await?;
        let parts = match self.stream {
            Some(_) => read_parts(&self.options.metrics, &self.clock).await,
            None => Vec::new(),
        };
        Ok(self.judge(Sign { position, rows, parts }, self.clock.now()))
    }

    fn judge(&mut self, sign: Sign, now: UnixMicros) -> Motion {
        self.looks += 1;
        let waiting = sign.position.and_then(|position| position.waiting).unwrap_or(0);
        let since = match &self.last {
            Some((last, since)) if !self.has_moved(last, &sign) => *since,
            _ => now,
        };
        for part in &sign.parts {
            if let Ok(state) = &part.told {
                self.known.insert(part.url.clone(), state.clone());
            }
        }
        self.last = Some((sign, since));
        let quiet = micros(self.options.quiet);
        match now - since {
            _ if waiting > 0 => Motion::Moving,
            still if still >= quiet => Motion::Quiet,
            still if still >= quiet / CALM_PARTS => Motion::Calm,
            _ => Motion::Moving,
        }
    }

    /// Whether something has changed since the last look. A Vector that does not answer in time has
    /// not moved by that: what it says next is compared with what it said before.
    fn has_moved(&self, last: &Sign, sign: &Sign) -> bool {
        let differs = |part: &Part| match &part.told {
            Ok(state) => self.known.get(&part.url) != Some(state),
            Err(_) => false,
        };
        (last.position, last.rows) != (sign.position, sign.rows) || sign.parts.iter().any(differs)
    }

    /// Whether the time to wait is over. One look cannot show movement, so there are at least two.
    pub fn is_over(&self) -> bool {
        self.looks > 1 && self.clock.now() - self.begun >= micros(self.options.wait_max)
    }

    /// How still the stores are if the wait ends with this look.
    pub fn stillness(&self, look: Motion) -> Stillness {
        let position = self.last.as_ref().and_then(|(sign, _)| sign.position);
        match (look, position.and_then(|position| position.waiting).unwrap_or(0)) {
            (Motion::Quiet, _) => Stillness::Still,
            (_, 0) => Stillness::Moving,
            (_, messages) => Stillness::Waiting { messages },
        }
    }

    /// What was seen of the pipeline so far.
    pub async fn seen(&self, targets: &Targets) -> Seen {
        let now = self.clock.now();
        let (parts, since) = match &self.last {
            Some((sign, since)) => (sign.parts.clone(), *since),
            None => (Vec::new(), now),
        };
        let us = u64::try_from(now - since).unwrap_or(0);
        let is_recent = |at: UnixMicros| now - at <= micros(ASKED_WITHIN);
        Seen {
            is_still: true,
            quiet: Duration::from_micros(us),
            delay_max: self.options.delay_max,
            parts,
            webhook_answers: match (&self.stream, &targets.webhook) {
                (Some(_), Some(urls)) => Some(all_accept(urls).await),
                _ => None,
            },
            stream: self.state,
            is_pulled: self.asked_at.is_some_and(is_recent),
            ..Seen::default()
        }
    }
}

/// An aggregator counts as up if it has asked for messages this recently: a running one asks again
/// as soon as it has processed what it was given.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// Asks each Vector what it holds. If one does not answer, its error is the result.
async fn read_parts(urls: &[String], clock: &Clock) -> Vec<Part> {
    let mut parts = Vec::new();
    for url in urls {
        let told = ask_vector(url, clock, METRICS_TIMEOUT).await;
        // A counter of errors that grows does not mean that events move.
        let told = told.map(|told| VectorState { errors: 0, ..told.state });
        let told = told.map_err(|error| edges::exit::chain(&error));
        parts.push(Part { url: url.clone(), told });
    }
    parts
}

const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether all addresses of the webhook accept connections. Nothing is sent, because Vector would
/// count any request that is no POST as an error.
async fn all_accept(urls: &str) -> bool {
    for url in urls.split(',') {
        let Ok(address) = Address::read(url.trim(), &WEBHOOK) else { return false };
        let connect = TcpStream::connect((address.host.bare(), address.port));
        if !matches!(tokio::time::timeout(CONNECT_TIMEOUT, connect).await, Ok(Ok(_))) {
            return false;
        }
    }
    true
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const INTERVAL: Duration = Duration::from_millis(500);

/// If nothing is missing, only late duplicates can still come. They follow closely after their
/// originals, so a quarter of the quiet time is enough.
const CALM_PARTS: i64 = 4;

#[cfg(test)]
mod tests {
    use plans::spec::ColumnNames;
    use stores::schema::TableColumns;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn options() -> SettleOptions {
        SettleOptions {
            quiet: Duration::from_secs(5),
            wait_max: Duration::from_mins(1),
            delay_max: None,
            metrics: Vec::new(),
        }
    }

    fn server() -> ClickHouse {
        ClickHouse {
            client: clickhouse::Client::default(),
            url: String::new(),
            user: String::new(),
            table: "a.b".parse().unwrap(),
            names: ColumnNames::new(),
            columns: TableColumns::default(),
        }
    }

    fn sign(rows: u64, waiting: u64, held: u64) -> Sign {
        let text = format!(
            "vector_buffer_events{{component_id=\"x\",component_kind=\"sink\",\
             component_type=\"nats\"}} {held}"
        );
        let part = Part { url: String::new(), told: Ok(VectorState::parse(&text)) };
        let position = Some(Position { last: 1, waiting: Some(waiting) });
        Sign { position, rows, parts: vec![part] }
    }

    /// Looks at the stores at given seconds, each with the rows, the messages that wait, and the
    /// events in a buffer.
    fn watched(signs: &[(i64, u64, u64, u64)]) -> (Vec<Motion>, Stillness) {
        let (server, options) = (server(), options());
        let mut settling = Settling::new(&server, None, Clock::starting_at(0), &options);
        let looks: Vec<Motion> = signs
            .iter()
            .map(|&(second, rows, waiting, held)| {
                settling.judge(sign(rows, waiting, held), second * SECOND)
            })
            .collect();
        let stillness = settling.stillness(looks[looks.len() - 1]);
        (looks, stillness)
    }

    #[tokio::test]
    async fn stores_are_still_after_the_quiet_time_without_a_change() {
        let rows = [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2), (7, 2)];
        let (looks, stillness) = watched(&rows.map(|(second, rows)| (second, rows, 0, 0)));
        let moving = Motion::Moving;
        assert_eq!(looks, [moving, moving, moving, moving, Motion::Calm, Motion::Quiet]);
        assert_eq!(stillness, Stillness::Still);
    }

    #[tokio::test]
    async fn a_buffer_that_empties_is_a_movement() {
        let held = [(0, 9), (5, 9), (6, 8), (10, 8), (11, 8)];
        let (looks, _) = watched(&held.map(|(second, held)| (second, 1, 0, held)));
        assert_eq!(
            looks,
            [Motion::Moving, Motion::Quiet, Motion::Moving, Motion::Calm, Motion::Quiet]
        );
    }

    /// On a busy machine, metrics may come late once. What they say next is what counts.
    #[tokio::test]
    async fn a_vector_that_does_not_answer_once_has_not_moved() {
        let (server, options) = (server(), options());
        let check = |held: u64, expected: &[Motion]| {
            let mut settling = Settling::new(&server, None, Clock::starting_at(0), &options);
            let mut silent = sign(1, 0, 9);
            silent.parts[0].told = Err("it is busy".to_owned());
            let signs = [sign(1, 0, 9), silent, sign(1, 0, held), sign(1, 0, held)];
            let looks = signs.into_iter().zip([0, 4, 5, 6]);
            let looks: Vec<_> =
                looks.map(|(sign, second)| settling.judge(sign, second * SECOND)).collect();
            assert_eq!(looks, expected);
        };
        check(9, &[Motion::Moving, Motion::Calm, Motion::Quiet, Motion::Quiet]);
        check(8, &[Motion::Moving, Motion::Calm, Motion::Moving, Motion::Moving]);
    }

    #[tokio::test]
    async fn stores_that_move_until_the_deadline_are_moving() {
        for rows in [[(0, 1), (59, 2), (60, 3)], [(0, 1), (59, 2), (60, 2)]] {
            let (_, stillness) = watched(&rows.map(|(second, rows)| (second, rows, 0, 0)));
            assert_eq!(stillness, Stillness::Moving);
        }
    }

    #[tokio::test]
    async fn messages_that_wait_for_the_consumer_are_not_still() {
        let (looks, stillness) = watched(&[(0, 1, 7, 0), (10, 1, 7, 0), (60, 1, 7, 0)]);
        assert_eq!(looks, [Motion::Moving; 3]);
        assert_eq!(stillness, Stillness::Waiting { messages: 7 });
    }

    #[tokio::test]
    async fn a_wait_is_over_after_its_time_but_not_with_the_first_look() {
        let (server, options) = (server(), SettleOptions { wait_max: Duration::ZERO, ..options() });
        let mut settling = Settling::new(&server, None, Clock::starting_at(0), &options);
        settling.judge(sign(1, 0, 0), 0);
        assert!(!settling.is_over());
        settling.judge(sign(1, 0, 0), 1);
        assert!(settling.is_over());
    }

    #[tokio::test]
    async fn an_address_that_nobody_listens_on_does_not_accept() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        assert!(all_accept(&url).await);
        drop(listener);
        assert!(!all_accept(&url).await);
        assert!(!all_accept("nonsense").await);
    }
}
