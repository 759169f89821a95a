//! Findings about the query API that events will be read through.

use stores::bounds::SecondBounds;

use crate::facts::ReaderFacts;
use crate::finding::Findings;

pub(super) fn judge(facts: &ReaderFacts, found: &mut Findings) {
    let ReaderFacts { unanswered, shows_strangers, bounds, .. } = facts;
    if let Some(why) = unanswered {
        let reason = format!("it does not answer a question: {why}");
        let fix = "see --query-api, --query-as and the flags of its token and certificates";
        found.block("reader", reason, fix);
    }
    if *shows_strangers == Some(true) {
        let reason = "a scope of a type that it does not know is shown everybody's events: a \
                      misspelt scope header opens all tenants"
            .to_owned();
        let fix =
            "let the proxy before it refuse scopes that are not Organization, Project or User";
        found.warn("reader", reason, fix);
    }
    if *bounds == SecondBounds::LosesRows {
        let reason = "ClickHouse leaves out rows of the last second before a bound like \
                      `timestamp < toDateTime(\u{2026})`, as the API writes it: an answer may lack \
                      events of the last second of its period"
            .to_owned();
        let fix = "run ClickHouse 26.1, or ask for a second more than you need";
        found.warn("reader", reason, fix);
    }
}
