//! Finds the type of an expression, or what the real server's compiler would say against it.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};

use super::kinds::{Kind, children};

/// What is wrong, at which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) at: u64,
    pub(super) text: String,
}

/// The variables that macros such as `exists` declare.
#[derive(Debug, Default)]
pub(super) struct Typing {
    declared: Vec<(String, Kind)>,
}

impl Typing {
    /// The type of an expression.
    ///
    /// # Errors
    ///
    /// Returns the first mistake, in the order in which the expression is evaluated.
    pub(super) fn kind_of(&mut self, node: &IdedExpr) -> Result<Kind, Complaint> {
        match &node.expr {
            Expr::Ident(name) => self.variable(name).ok_or_else(|| undeclared(node.id, name)),
            Expr::Literal(value) => Ok(literal_kind(value)),
            Expr::Select(select) => self.select_kind(node.id, select),
            Expr::List(list) => {
                let mut of: Option<Kind> = None;
                for element in &list.elements {
                    let kind = self.kind_of(element)?;
                    let same = of.as_ref().is_none_or(|of| *of == kind);
                    of = Some(if same { kind } else { Kind::Dyn });
                }
                Ok(Kind::List(Box::new(of.unwrap_or(Kind::Dyn))))
            }
            Expr::Map(_) => {
                for child in children(node) {
                    self.kind_of(child)?;
                }
                Ok(Kind::Map(Box::new(Kind::Dyn), Box::new(Kind::Dyn)))
            }
            Expr::Struct(of) => Err(undeclared(node.id, &of.type_name)),
            Expr::Comprehension(all) => self.comprehension_kind(all),
            Expr::Call(call) => self.call_kind(node.id, call),
            Expr::Unspecified => Ok(Kind::Dyn),
        }
    }

    fn variable(&self, name: &str) -> Option<Kind> {
        if let Some((_, kind)) = self.declared.iter().rev().find(|(declared, _)| declared == name) {
            return Some(kind.clone());
        }
        match name {
            "auditID" | "verb" => Some(Kind::String),
            "requestReceivedTimestamp" => Some(Kind::Timestamp),
            "objectRef" | "user" | "responseStatus" => {
                Some(Kind::Map(Box::new(Kind::String), Box::new(Kind::Dyn)))
            }
            "bool" | "bytes" | "double" | "int" | "list" | "map" | "null_type" | "string"
            | "type" | "uint" => Some(Kind::Type),
            _ => None,
        }
    }

    fn select_kind(&mut self, id: u64, select: &SelectExpr) -> Result<Kind, Complaint> {
        let operand = self.kind_of(&select.operand)?;
        let kind = match operand {
            Kind::Map(_, value) => *value,
            Kind::Dyn => Kind::Dyn,
            _ => {
                let text = format!("type '{operand}' does not support field selection");
                return Err(Complaint { at: id, text });
            }
        };
        Ok(if select.test { Kind::Bool } else { kind })
    }

    fn comprehension_kind(&mut self, all: &ComprehensionExpr) -> Result<Kind, Complaint> {
        let element = match self.kind_of(&all.iter_range)? {
            Kind::List(of) => *of,
            Kind::Map(key, _) => *key,
            Kind::Dyn => Kind::Dyn,
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension \
                     (must be list, map, or dynamic)"
                );
                return Err(Complaint { at: all.iter_range.id, text });
            }
        };
        let before = self.declared.len();
        let result = self.kind_of(&all.accu_init).and_then(|accumulated| {
            self.declared.push((all.accu_var.clone(), accumulated));
            self.declared.push((all.iter_var.clone(), element));
            let second = all.iter_var2.iter().map(|name| (name.clone(), Kind::Dyn));
            self.declared.extend(second);
            self.kind_of(&all.loop_cond)?;
            self.kind_of(&all.loop_step)?;
            self.kind_of(&all.result)
        });
        self.declared.truncate(before);
        result
    }

    fn call_kind(&mut self, id: u64, call: &CallExpr) -> Result<Kind, Complaint> {
        let CallExpr { func_name, target, args } = call;
        let target = target.as_ref().map(|target| self.kind_of(target)).transpose()?;
        let args = args.iter().map(|arg| self.kind_of(arg)).collect::<Result<Vec<_>, _>>()?;
        let kind = match &target {
            Some(target) => method_kind(func_name, target, &args),
            None => function_kind(func_name, &args),
        };
        kind.map_err(|reason| match reason {
            Reason::Undeclared => undeclared(id, func_name),
            Reason::NoOverload => {
                let args = args.iter().map(Kind::to_string).collect::<Vec<_>>().join(", ");
                let target = target.map(|target| format!("{target}.")).unwrap_or_default();
                let text = format!(
                    "found no matching overload for '{func_name}' applied to '{target}({args})'"
                );
                Complaint { at: id, text }
            }
        })
    }
}

fn undeclared(at: u64, name: &str) -> Complaint {
    Complaint { at, text: format!("undeclared reference to '{name}' (in container '')") }
}

fn literal_kind(value: &LiteralValue) -> Kind {
    match value {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::Bytes(_) => Kind::Bytes,
        LiteralValue::Double(_) => Kind::Double,
        LiteralValue::Int(_) => Kind::Int,
        LiteralValue::Null => Kind::Null,
        LiteralValue::String(_) => Kind::String,
        LiteralValue::UInt(_) => Kind::Uint,
    }
}

/// Why a call has no type.
enum Reason {
    Undeclared,
    NoOverload,
}

/// The result, if the operands are right.
fn if_right(is_right: bool, result: Kind) -> Result<Kind, Reason> {
    is_right.then_some(result).ok_or(Reason::NoOverload)
}

fn function_kind(name: &str, args: &[Kind]) -> Result<Kind, Reason> {
    let is = |arg: &Kind, kinds: &[Kind]| *arg == Kind::Dyn || kinds.contains(arg);
    match (name, args) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
            if_right(is(a, &[Kind::Bool]) && is(b, &[Kind::Bool]), Kind::Bool)
        }
        (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [a]) => {
            if_right(is(a, &[Kind::Bool]), Kind::Bool)
        }
        (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => if_right(a.fits(b), Kind::Bool),
        (
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS,
            [a, b],
        ) => if_right(a.is_ordered_with(b), Kind::Bool),
        (operators::IN, [a, Kind::List(of) | Kind::Map(of, _)]) => if_right(a.fits(of), Kind::Bool),
        (operators::IN, [_, b]) => if_right(*b == Kind::Dyn, Kind::Bool),
        (operators::CONDITIONAL, [a, b, c]) => {
            if_right(is(a, &[Kind::Bool]) && b.fits(c), if b == c { b.clone() } else { Kind::Dyn })
        }
        (operators::INDEX, [a, b]) => index_kind(a, b),
        (operators::NEGATE, [a]) => if_right(is(a, &[Kind::Int, Kind::Double]), a.clone()),
        (
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO,
            [a, b],
        ) => arithmetic_kind(name, a, b),
        ("size", [a]) => size_kind(a),
        ("matches", [a, b]) => {
            if_right(is(a, &[Kind::String]) && is(b, &[Kind::String]), Kind::Bool)
        }
        ("size" | "matches", _) => Err(Reason::NoOverload),
        ("type", [_]) => Ok(Kind::Type),
        ("dyn", [_]) => Ok(Kind::Dyn),
        (_, [a]) => conversion_kind(name, a),
        _ => Err(Reason::Undeclared),
    }
}

fn index_kind(of: &Kind, index: &Kind) -> Result<Kind, Reason> {
    match of {
        Kind::List(element) => if_right(index.fits(&Kind::Int), (**element).clone()),
        Kind::Map(key, value) => if_right(index.fits(key), (**value).clone()),
        _ => if_right(*of == Kind::Dyn, Kind::Dyn),
    }
}

fn arithmetic_kind(name: &str, a: &Kind, b: &Kind) -> Result<Kind, Reason> {
    let (is_add, is_sub) = (name == operators::ADD, name == operators::SUBSTRACT);
    match (a, b) {
        (Kind::Dyn, _) | (_, Kind::Dyn) => Ok(Kind::Dyn),
        (Kind::Double, Kind::Double) => if_right(name != operators::MODULO, Kind::Double),
        (Kind::Int | Kind::Uint, _) => if_right(a == b, a.clone()),
        (Kind::String | Kind::Bytes | Kind::List(_), _) => if_right(is_add && a == b, a.clone()),
        (Kind::Timestamp, Kind::Duration) => if_right(is_add || is_sub, Kind::Timestamp),
        (Kind::Duration, Kind::Timestamp) => if_right(is_add, Kind::Timestamp),
        (Kind::Timestamp, Kind::Timestamp) => if_right(is_sub, Kind::Duration),
        (Kind::Duration, Kind::Duration) => if_right(is_add || is_sub, Kind::Duration),
        _ => Err(Reason::NoOverload),
    }
}

fn size_kind(of: &Kind) -> Result<Kind, Reason> {
    let has_size =
        matches!(of, Kind::Dyn | Kind::String | Kind::Bytes | Kind::List(_) | Kind::Map(..));
    if_right(has_size, Kind::Int)
}

fn conversion_kind(name: &str, from: &Kind) -> Result<Kind, Reason> {
    use Kind::{Bool, Bytes, Double, Duration, Dyn, Int, String, Timestamp, Uint};
    let (to, sources): (Kind, &[Kind]) = match name {
        "timestamp" => (Timestamp, &[String, Int, Timestamp]),
        "duration" => (Duration, &[String, Duration]),
        "string" => (String, &[Bool, Bytes, Double, Duration, Int, String, Timestamp, Uint]),
        "int" => (Int, &[Double, Duration, Int, String, Timestamp, Uint]),
        "uint" => (Uint, &[Double, Int, String, Uint]),
        "double" => (Double, &[Double, Int, String, Uint]),
        "bytes" => (Bytes, &[Bytes, String]),
        "bool" => (Bool, &[Bool, String]),
        _ => return Err(Reason::Undeclared),
    };
    if_right(*from == Dyn || sources.contains(from), to)
}

fn method_kind(name: &str, target: &Kind, args: &[Kind]) -> Result<Kind, Reason> {
    let is_text = |kind: &Kind| matches!(kind, Kind::String | Kind::Dyn);
    match name {
        "startsWith" | "endsWith" | "contains" | "matches" => {
            if_right(is_text(target) && matches!(args, [arg] if is_text(arg)), Kind::Bool)
        }
        "size" if args.is_empty() => size_kind(target),
        "size" => Err(Reason::NoOverload),
        "getDate" | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getFullYear"
        | "getHours" | "getMilliseconds" | "getMinutes" | "getMonth" | "getSeconds" => {
            let is_time = matches!(target, Kind::Timestamp | Kind::Duration | Kind::Dyn);
            let has_zone = args.is_empty() || matches!(args, [zone] if is_text(zone));
            if_right(is_time && has_zone, Kind::Int)
        }
        _ => Err(Reason::Undeclared),
    }
}
