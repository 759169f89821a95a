//! Cuts the rows that a statement returned into a page, and says where the next one begins.

use super::cursor::{Cursor, Key, no_stage};
use super::event::{Event, decode};
use super::sql::Paging;
use super::times::Moment;

/// A row as it came from the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) json: String,
    /// Its place in the order, if the statement asks for it.
    pub(super) key: Option<Key>,
}

/// What is shown, and from where to go on.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) next: Option<Cursor>,
}

/// Cuts a page of at most `limit` rows; there is another one if there are more.
pub(super) fn cut(rows: &[Row], limit: usize, paging: Paging) -> Page {
    match paging {
        Paging::Right => cut_rightly(rows, limit),
        Paging::Real => cut_really(rows, limit),
    }
}

/// The place in which a page ends that has more rows, of which some are on the next page.
pub(super) fn divided(rows: &[Row], limit: usize) -> Option<&Key> {
    let [last, next] = [rows.get(limit - 1)?, rows.get(limit)?].map(|row| row.key.as_ref());
    last.filter(|last| next == Some(last))
}

/// Puts the rows of one place in order where a page divides them: `tied` are all of them with
/// their digests, the largest first.
pub(super) fn put_in_order(rows: &mut [Row], limit: usize, tied: Vec<(String, u64)>) {
    let Some(place) = divided(rows, limit).cloned() else { return };
    let is_there = |row: &Row| row.key.as_ref() == Some(&place);
    let first = rows.iter().position(is_there).expect("the last row of the page is there");
    for (row, (json, digest)) in rows[first..].iter_mut().zip(tied) {
        let key = Some(Key { digest: Some(digest), ..place.clone() });
        *row = Row { json, key };
    }
}

/// A row that does not decode takes its place, is not shown, and hides no other.
fn cut_rightly(rows: &[Row], limit: usize) -> Page {
    let shown = &rows[..rows.len().min(limit)];
    let events = shown.iter().filter_map(|row| decode(&row.json)).collect();
    let next = shown.last().filter(|_| rows.len() > limit).map(|last| {
        let key = last.key.clone();
        match decode(&last.json) {
            Some(event) => cursor_behind(&event, key),
            None => Cursor {
                stage: no_stage(),
                audit_id: key.as_ref().map(|key| key.audit_id.clone()).unwrap_or_default(),
                key,
            },
        }
    });
    Page { events, next }
}

/// The real server counts what it could decode, so one bad row ends all pages.
fn cut_really(rows: &[Row], limit: usize) -> Page {
    let mut events: Vec<Event> = rows.iter().filter_map(|row| decode(&row.json)).collect();
    let has_more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| has_more).map(|event| cursor_behind(event, None));
    Page { events, next }
}

fn cursor_behind(event: &Event, key: Option<Key>) -> Cursor {
    let stage = event.stage_timestamp.0.map_or_else(no_stage, Moment::zulu);
    Cursor { stage, audit_id: event.audit_id.clone(), key }
}

/// The place of an event in the order, as far as its JSON tells; `None` if it has no time.
pub(super) fn key_of(event: &Event, columns: &[&str]) -> Option<Key> {
    let at = event.request_received_timestamp.0?;
    let columns = columns.iter().map(|column| event.column(column).to_owned()).collect();
    let audit_id = event.audit_id.clone();
    Some(Key { millis: at.timestamp_millis(), columns, audit_id, digest: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: u32, is_good: bool) -> Row {
        let key = Key {
            millis: i64::from(index),
            columns: Vec::new(),
            audit_id: format!("id-{index}"),
            digest: None,
        };
        let json = if is_good { format!(r#"{{"auditID":"id-{index}"}}"#) } else { "{".to_owned() };
        Row { json, key: Some(key) }
    }

    #[track_caller]
    fn check(bad: &[u32], paging: Paging, shown: usize, next: Option<&str>) {
        let rows: Vec<Row> = (0..4).map(|index| row(index, !bad.contains(&index))).collect();
        let page = cut(&rows, 3, paging);
        assert_eq!(page.events.len(), shown, "{bad:?}");
        assert_eq!(page.next.map(|next| next.audit_id).as_deref(), next, "{bad:?}");
    }

    #[test]
    fn a_row_that_does_not_decode_ends_only_the_real_servers_pages() {
        for paging in [Paging::Right, Paging::Real] {
            check(&[], paging, 3, Some("id-2"));
        }
        for (bad, next) in [(1, "id-2"), (2, "id-2"), (3, "id-2")] {
            let shown = if bad == 3 { 3 } else { 2 };
            check(&[bad], Paging::Right, shown, Some(next));
            check(&[bad], Paging::Real, 3, None);
        }
    }

    #[test]
    fn rows_of_one_place_are_put_in_order_where_a_page_divides_them() {
        let mut rows: Vec<Row> = [1, 2, 2, 2].iter().map(|index| row(*index, true)).collect();
        assert!(divided(&rows, 1).is_none());
        assert!(divided(&rows, 4).is_none());
        assert!(divided(&rows, 3).is_some());
        let tied = [9, 5, 3].map(|digest| (format!("{{\"auditID\":\"d-{digest}\"}}"), digest));
        put_in_order(&mut rows, 2, tied.into());
        let page = cut(&rows, 2, Paging::Right);
        assert_eq!(page.events[1].audit_id, "d-9");
        assert_eq!(page.next.unwrap().key.unwrap().digest, Some(9));
        assert!(divided(&rows, 2).is_none());
    }
}
