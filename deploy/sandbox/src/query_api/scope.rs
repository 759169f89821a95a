//! Whose events a query may show, as the headers of a front proxy say.

use std::fmt;

use super::literal::quoted;

/// The headers, as they were sent. An empty one counts as none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ScopeHeaders {
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
}

/// What is asked; the real server treats unknown scopes differently by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Events,
    Facets,
}

impl Asked {
    /// The resource's name in paths.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Events => "auditlogqueries",
            Self::Facets => "auditlogfacetsqueries",
        }
    }
}

/// What to do with a scope that is not known, or given by half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strangers {
    Refused,
    /// Treated as the real server treats them, which shows them everything.
    Admitted,
}

/// Whose events are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everybody's.
    Platform,
    /// Those of one organization or project.
    Tenant { kind: String, name: String },
    /// Those of one user, in all tenants.
    User { uid: String },
}

impl ScopeHeaders {
    /// Joins the first values of the two headers.
    pub(super) fn new(kind: Option<&str>, name: Option<&str>) -> Self {
        let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Self { kind: filled(kind), name: filled(name) }
    }

    /// The scope of a query, or `None` if it is to be refused.
    pub(super) fn scope(&self, asked: Asked, strangers: Strangers) -> Option<Scope> {
        match (self.kind.as_deref(), self.name.as_deref()) {
            (None, None) => Some(Scope::Platform),
            (Some("User"), Some(uid)) => Some(Scope::User { uid: uid.to_owned() }),
            (Some(kind @ ("Organization" | "Project")), Some(name)) => Some(tenant(kind, name)),
            _ if strangers == Strangers::Refused => None,
            (Some(kind), name) if asked == Asked::Facets => {
                Some(tenant(kind, name.unwrap_or_default()))
            }
            _ => Some(Scope::Platform),
        }
    }
}

fn tenant(kind: &str, name: &str) -> Scope {
    Scope::Tenant { kind: kind.to_owned(), name: name.to_owned() }
}

impl Scope {
    /// The condition that a row must meet, if there is one.
    pub(super) fn condition(&self) -> Option<String> {
        match self {
            Self::Platform => None,
            Self::Tenant { kind, name } => {
                Some(format!("scope_type = {} AND scope_name = {}", quoted(kind), quoted(name)))
            }
            Self::User { uid } => Some(format!("user_uid = {}", quoted(uid))),
        }
    }

    /// What distinguishes it in the metrics.
    pub(super) fn label(&self) -> &str {
        match self {
            Self::Platform => "platform",
            Self::Tenant { kind, .. } => kind,
            Self::User { .. } => "User",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("platform"),
            Self::Tenant { kind, name } => write!(f, "{kind}/{name}"),
            Self::User { uid } => write!(f, "User/{uid}"),
        }
    }
}

impl fmt::Display for ScopeHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        write!(f, "{}/{}", word(&self.kind), word(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: (&str, &str), asked: Asked, strangers: Strangers, expected: Option<&str>) {
        let headers = ScopeHeaders::new(Some(headers.0), Some(headers.1));
        let scope = headers.scope(asked, strangers);
        let condition = scope.map(|scope| scope.condition().unwrap_or_default());
        assert_eq!(condition.as_deref(), expected, "{headers:?}");
    }

    #[test]
    fn a_known_scope_is_the_same_for_all() {
        for (asked, strangers) in [
            (Asked::Events, Strangers::Refused),
            (Asked::Facets, Strangers::Refused),
            (Asked::Events, Strangers::Admitted),
            (Asked::Facets, Strangers::Admitted),
        ] {
            let check = |headers, expected| check(headers, asked, strangers, Some(expected));
            check(("", ""), "");
            check(("Project", "a'b\\c"), r"scope_type = 'Project' AND scope_name = 'a\'b\\c'");
            check(("Organization", "o"), "scope_type = 'Organization' AND scope_name = 'o'");
            check(("User", "u"), "user_uid = 'u'");
        }
    }

    #[test]
    fn a_stranger_is_refused_unless_the_scope_is_open() {
        for headers in [("organization", "o"), ("Folder", "x"), ("Project", ""), ("", "p")] {
            for asked in [Asked::Events, Asked::Facets] {
                check(headers, asked, Strangers::Refused, None);
            }
            check(headers, Asked::Events, Strangers::Admitted, Some(""));
        }
        let facets = |headers, expected| {
            check(headers, Asked::Facets, Strangers::Admitted, Some(expected));
        };
        facets(("Folder", "x"), "scope_type = 'Folder' AND scope_name = 'x'");
        facets(("Project", ""), "scope_type = 'Project' AND scope_name = ''");
        facets(("", "p"), "");
    }
}
