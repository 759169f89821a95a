//! Asks for scopes that nobody has: a server that shows them anything does not look at the scope.

use queries::door::Door;
use queries::question::{LIMIT_MAX, Question, Scope, UnixSeconds, WINDOW_SECONDS_MAX};
use runs::readback::{ReadFault, ReadFinding, WalkKind};
use uuid::Uuid;

use super::asking::{Asking, Unanswered};
use super::unit::{UnitResult, WalkResult};

/// Asks for a scope of a kind that there is not, and for a project that nobody has.
///
/// # Errors
///
/// Returns [`Unanswered`] if nothing can be asked. That a server refuses is as it should be.
pub(super) async fn probe<D: Door>(
    asking: &mut Asking<'_, D>,
    run_id: Uuid,
    (from, until): (UnixSeconds, UnixSeconds),
) -> Result<UnitResult, Unanswered> {
    let name = format!("auditstorm-nobody-{}", run_id.simple());
    let scopes = [Scope::stranger(&*name), Scope::Project(name)];
    let mut findings = Vec::new();
    let mut pages = 0;
    for scope in scopes {
        let from = from.max(until.plus(-WINDOW_SECONDS_MAX));
        let question = Question::all(scope, from, until, LIMIT_MAX);
        let page = match asking.ask(&question, None).await {
            Ok(page) => page,
            Err(Unanswered::Failed(_)) => continue,
            Err(error) => return Err(error),
        };
        pages += 1;
        if let Some(first) = page.events.first() {
            findings.push(ReadFinding {
                fault: ReadFault::ScopeIgnored,
                walk: WalkKind::Windows,
                page_size: LIMIT_MAX,
                scope: question.scope.to_string(),
                audit_id: first.id,
                beside: None,
                blame: None,
                tenant: None,
                run: None,
            });
        }
    }
    let walk = WalkKind::Windows;
    let walk = WalkResult { walk, page_size: LIMIT_MAX, pages, stored: 0, shown: 0, findings };
    Ok(UnitResult { walks: vec![walk], ..UnitResult::default() })
}
