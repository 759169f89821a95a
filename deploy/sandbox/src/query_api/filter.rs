//! Filters in CEL: parsed by a crate, checked as the real server's compiler checks them, and
//! translated to SQL by hand. Nothing is ever evaluated here.

mod kinds;
mod typing;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use cel::parser::{Expression, Parser};

use self::kinds::Kind;
use self::typing::{Complaint, Typing};
use super::literal::quoted;
use super::sql::Paging;
use super::times::read_absolute;

/// A filter that compiles. Not all of them can be translated.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    root: Expression,
}

/// Why a filter does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FilterError {
    /// It is no CEL, names what is not declared, or has operands of wrong types.
    Compilation { line: usize, column: usize, text: String },
    /// It is a value and no condition.
    NotBoolean { kind: String },
    /// It names a field that has no column.
    NoField { variable: String, field: String },
}

impl Filter {
    /// Reads and checks a filter.
    ///
    /// # Errors
    ///
    /// Returns what the real server's compiler complains of first.
    pub(super) fn read(text: &str) -> Result<Self, FilterError> {
        let parser = Parser::new();
        let (root, source) = parser.parse_with_source_info(text).map_err(|errors| {
            let first = errors.errors.first();
            let (line, column) = first.map_or((1, 1), |error| error.pos);
            let text = first.map_or_else(String::new, |error| error.msg.clone());
            let position = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
            FilterError::Compilation { line: position(line), column: position(column), text }
        })?;
        let kind = Typing::default().kind_of(&root).map_err(|complaint| {
            let Complaint { at, text } = complaint;
            let (line, column) = position(&source, at);
            FilterError::Compilation { line, column, text }
        })?;
        if kind != Kind::Bool {
            return Err(FilterError::NotBoolean { kind: kind.to_string() });
        }
        if let Some((variable, field)) = field_without_column(&root) {
            return Err(FilterError::NoField { variable, field });
        }
        Ok(Self { root })
    }

    /// The filter as SQL, or `None` if the real server's translation has no words for it.
    pub(super) fn sql(&self, paging: Paging) -> Option<String> {
        to_sql(&self.root, paging)
    }
}

/// The line and the column, from 1, where a node is.
fn position(source: &SourceInfo, id: u64) -> (usize, usize) {
    let start = source.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before: Vec<char> = source.source.chars().take(start).collect();
    let line = before.iter().filter(|char| **char == '\n').count() + 1;
    let column = before.iter().rev().take_while(|char| **char != '\n').count() + 1;
    (line, column)
}

impl FilterError {
    /// The whole text that is shown for the field `spec.filter`.
    pub(super) fn to_text(&self) -> String {
        const HELP: &str = "Available fields: auditID, verb, requestReceivedTimestamp, \
            objectRef.namespace, objectRef.resource, objectRef.name, user.username, user.groups, \
            responseStatus.code. See https://cel.dev for CEL syntax";
        match self {
            Self::Compilation { line, column, text } => {
                format!("Invalid filter at line {line}, column {column}: {text}. {HELP}")
            }
            Self::NotBoolean { kind } => format!(
                "Invalid filter: filter expression must return a boolean, got {kind}. {HELP}"
            ),
            Self::NoField { variable, field } => {
                let fields = FIELDS.iter().filter(|(of, ..)| of == variable);
                let fields: Vec<String> =
                    fields.map(|(of, field, _)| format!("{of}.{field}")).collect();
                format!(
                    "Invalid filter: field '{variable}.{field}' is not available for filtering. \
                     Available fields for {variable}: [{}]. {HELP}",
                    fields.join(" ")
                )
            }
        }
    }

    /// What distinguishes it in the metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Compilation { .. } => "compilation",
            Self::NotBoolean { .. } => "type_mismatch",
            Self::NoField { .. } => "invalid_field",
        }
    }
}

/// The fields that have a column.
const FIELDS: [(&str, &str, &str); 7] = [
    ("objectRef", "apiGroup", "api_group"),
    ("objectRef", "namespace", "namespace"),
    ("objectRef", "resource", "resource"),
    ("objectRef", "name", "resource_name"),
    ("user", "username", "user"),
    ("user", "uid", "user_uid"),
    ("responseStatus", "code", "status_code"),
];

fn column(variable: &str, field: &str) -> Option<&'static str> {
    let found = FIELDS.iter().find(|(of, name, _)| (*of, *name) == (variable, field));
    found.map(|(_, _, column)| *column)
}

/// The first field of a variable that has no column.
fn field_without_column(node: &IdedExpr) -> Option<(String, String)> {
    if let Some((variable, field)) = selected(node)
        && FIELDS.iter().any(|(of, ..)| *of == variable)
        && column(variable, field).is_none()
    {
        return Some((variable.to_owned(), field.to_owned()));
    }
    kinds::children(node).into_iter().find_map(field_without_column)
}

fn selected(node: &IdedExpr) -> Option<(&str, &str)> {
    match &node.expr {
        Expr::Select(SelectExpr { operand, field, .. }) => match &operand.expr {
            Expr::Ident(variable) => Some((variable, field)),
            _ => None,
        },
        _ => None,
    }
}

fn to_sql(node: &IdedExpr, paging: Paging) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => match name.as_str() {
            "auditID" => Some("audit_id".to_owned()),
            "verb" => Some("verb".to_owned()),
            "requestReceivedTimestamp" => Some("timestamp".to_owned()),
            _ => None,
        },
        Expr::Select(_) => {
            let (variable, field) = selected(node)?;
            column(variable, field).map(str::to_owned)
        }
        Expr::Literal(value) => literal(value),
        Expr::List(list) => {
            let elements: Option<Vec<String>> =
                list.elements.iter().map(|element| to_sql(element, paging)).collect();
            Some(format!("[{}]", elements?.join(", ")))
        }
        Expr::Call(call) => call_to_sql(call, paging),
        _ => None,
    }
}

fn literal(value: &LiteralValue) -> Option<String> {
    match value {
        LiteralValue::Boolean(is) => Some(if *is.inner() { "1" } else { "0" }.to_owned()),
        LiteralValue::String(text) => Some(quoted(text.inner())),
        LiteralValue::Int(number) => Some(number.inner().to_string()),
        LiteralValue::UInt(number) => Some(number.inner().to_string()),
        LiteralValue::Double(number) => Some(number.inner().to_string()),
        LiteralValue::Bytes(_) | LiteralValue::Null => None,
    }
}

fn call_to_sql(call: &CallExpr, paging: Paging) -> Option<String> {
    let CallExpr { func_name, target, args } = call;
    let operands: Vec<&IdedExpr> = target.iter().map(AsRef::as_ref).chain(args).collect();
    let infix = match func_name.as_str() {
        operators::EQUALS => "=",
        operators::NOT_EQUALS => "!=",
        operators::LESS => "<",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::GREATER_EQUALS => ">=",
        operators::IN => "IN",
        operators::LOGICAL_AND => "AND",
        operators::LOGICAL_OR => "OR",
        "timestamp" => return timestamp(&operands, paging),
        _ => "",
    };
    let sql: Option<Vec<String>> = operands.iter().map(|node| to_sql(node, paging)).collect();
    match (func_name.as_str(), sql?.as_slice()) {
        (operators::LOGICAL_NOT, [a]) => Some(format!("NOT ({a})")),
        ("startsWith" | "endsWith", [a, b]) => Some(format!("{func_name}({a}, {b})")),
        ("contains", [a, b]) => Some(format!("position({a}, {b}) > 0")),
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
            Some(format!("({a} {infix} {b})"))
        }
        (_, [a, b]) if !infix.is_empty() => Some(format!("{a} {infix} {b}")),
        _ => None,
    }
}

/// A time as a literal: anything but a constant string that Go reads has no translation.
fn timestamp(operands: &[&IdedExpr], paging: Paging) -> Option<String> {
    match operands {
        [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] => {
            read_absolute(text.inner()).map(|moment| paging.time(&moment))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, expected: &str) {
        let outcome = match Filter::read(filter) {
            Ok(filter) => filter.sql(Paging::Real).unwrap_or_else(|| "no SQL".to_owned()),
            Err(error) => match error {
                FilterError::Compilation { line, column, text } => {
                    format!("{line}:{column} {text}")
                }
                FilterError::NotBoolean { kind } => format!("is {kind}"),
                FilterError::NoField { variable, field } => format!("no {variable}.{field}"),
            },
        };
        assert_eq!(outcome, expected, "{filter}");
    }

    #[test]
    fn what_has_words_in_sql_is_translated() {
        check("verb == 'get'", "verb = 'get'");
        check("verb != \"o'b\\\\\"", r"verb != 'o\'b\\'");
        check("auditID < 'a' && verb >= 'b'", "(audit_id < 'a' AND verb >= 'b')");
        check(
            "verb == 'a' && verb == 'b' && verb == 'c'",
            "((verb = 'a' AND verb = 'b') AND verb = 'c')",
        );
        check("!(verb in ['get', 'list'])", "NOT (verb IN ['get', 'list'])");
        check("responseStatus.code > 399.5", "status_code > 399.5");
        check("responseStatus.code == -1 || true", "(status_code = -1 OR 1)");
        check("objectRef.name.contains('web')", "position(resource_name, 'web') > 0");
        check("user.username.endsWith(verb)", "endsWith(user, verb)");
        check("has(objectRef.namespace)", "namespace");
        check("verb in []", "verb IN []");
        check(
            "requestReceivedTimestamp >= timestamp('2026-11-28T12:00:00.5Z')",
            "timestamp >= toDateTime('2026-11-28 12:00:00')",
        );
        check(
            "requestReceivedTimestamp < timestamp('2026-11-28T12:00:00+02:00')",
            "timestamp < toDateTime('1795860000')",
        );
        check("// all\nverb == 'get' // c", "verb = 'get'");
    }

    #[test]
    fn what_has_none_compiles_all_the_same() {
        for filter in [
            "user.username.matches('^a')",
            "size(verb) > 3",
            "verb.size() == 3",
            "verb == 'get' ? true : false",
            "objectRef['namespace'] == 'x'",
            "['get'].exists(v, v == verb)",
            "['get'].all(v, v == verb) && [1].exists_one(n, n == 1)",
            "requestReceivedTimestamp > timestamp('2026-11-28T12:00:00Z') + duration('1h')",
            "responseStatus.code > 200 + 200",
            "objectRef.name == null",
            "requestReceivedTimestamp > timestamp('nope')",
            "'namespace' in objectRef",
            "requestReceivedTimestamp.getHours() == 3",
            "string(responseStatus.code) == '200'",
        ] {
            check(filter, "no SQL");
        }
    }

    #[test]
    fn what_does_not_compile_is_told_with_its_place() {
        check("foo == 'x'", "1:1 undeclared reference to 'foo' (in container '')");
        check("verb == 'a' &&\n  foo", "2:3 undeclared reference to 'foo' (in container '')");
        check("verb == 1", "1:6 found no matching overload for '_==_' applied to '(string, int)'");
        check(
            "verb.startsWith(1)",
            "1:16 found no matching overload for 'startsWith' applied to 'string.(int)'",
        );
        check(
            "verb in 'x'",
            "1:6 found no matching overload for '@in' applied to '(string, string)'",
        );
        check("nope(verb)", "1:5 undeclared reference to 'nope' (in container '')");
        check("verb.x == 'y'", "1:5 type 'string' does not support field selection");
        check("verb", "is string");
        check("objectRef.namespace", "is dyn");
        check("objectRef", "is map(string, dyn)");
        check("[verb]", "is list(string)");
        check("requestReceivedTimestamp", "is timestamp");
        check("'x' in user.groups", "no user.groups");
        check("has(objectRef.kind)", "no objectRef.kind");
    }
}
