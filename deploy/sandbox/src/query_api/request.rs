//! Reads the bodies of requests as Go would, and complains as Go does.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::status::{GROUP, Status};

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request<Spec> {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    /// Fields that are not known, by their paths.
    pub(super) unknown: Vec<String>,
}

/// The parts of an object's metadata that are sent back.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    generate_name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What an `AuditLogQuery` asks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QuerySpec {
    pub(super) start_time: String,
    pub(super) end_time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) filter: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) limit: i32,
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub(super) cursor: String,
}

/// What an `AuditLogFacetsQuery` asks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FacetsSpec {
    pub(super) time_range: TimeRange,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) filter: String,
    pub(super) facets: Vec<FacetSpec>,
}

/// The times of a facets query; both may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct TimeRange {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) start: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) end: String,
}

/// One field whose values are counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct FacetSpec {
    pub(super) field: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) limit: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// A body that becomes a query.
pub(super) trait Spec: Sized {
    const KIND: &'static str;
    /// Go's name of the type, which its messages show.
    const GO_TYPE: &'static str;

    /// Takes what is known out of the object.
    ///
    /// # Errors
    ///
    /// Returns Go's words for a value of a wrong type.
    fn take(object: &mut Object) -> Result<Self, String>;

    /// The fields that are set, as the server's record of who manages them lists them.
    fn managed(&self) -> Value;
}

/// A JSON object from which fields are taken one by one; what is left is unknown.
pub(super) struct Object {
    map: Map<String, Value>,
    path: String,
    go_type: &'static str,
    unknown: Vec<String>,
}

impl Spec for QuerySpec {
    const KIND: &'static str = "AuditLogQuery";
    const GO_TYPE: &'static str = "AuditLogQuerySpec";

    fn take(object: &mut Object) -> Result<Self, String> {
        Ok(Self {
            start_time: object.string("startTime")?,
            end_time: object.string("endTime")?,
            filter: object.string("filter")?,
            limit: object.int32("limit")?,
            cursor: object.string("continue")?,
        })
    }

    fn managed(&self) -> Value {
        let mut fields = Map::new();
        let set = [
            ("f:continue", !self.cursor.is_empty()),
            ("f:endTime", true),
            ("f:filter", !self.filter.is_empty()),
            ("f:limit", self.limit != 0),
            ("f:startTime", true),
        ];
        fields.extend(set.iter().filter(|(_, is)| *is).map(|(name, _)| field(name)));
        Value::Object(fields)
    }
}

impl Spec for FacetsSpec {
    const KIND: &'static str = "AuditLogFacetsQuery";
    const GO_TYPE: &'static str = "AuditLogFacetsQuerySpec";

    fn take(object: &mut Object) -> Result<Self, String> {
        let mut time_range = TimeRange::default();
        if let Some(mut range) = object.object("timeRange", "FacetTimeRange")? {
            time_range.start = range.string("start")?;
            time_range.end = range.string("end")?;
            object.adopt(range);
        }
        let filter = object.string("filter")?;
        let mut facets = Vec::new();
        for mut facet in object.list("facets", "FacetSpec")? {
            let (field, limit) = (facet.string("field")?, facet.int32("limit")?);
            object.adopt(facet);
            facets.push(FacetSpec { field, limit });
        }
        Ok(Self { time_range, filter, facets })
    }

    fn managed(&self) -> Value {
        let mut range = Map::new();
        let times = [("f:end", &self.time_range.end), ("f:start", &self.time_range.start)];
        range.extend(times.iter().filter(|(_, at)| !at.is_empty()).map(|(name, _)| field(name)));
        let mut fields = Map::new();
        fields.extend([field("f:facets")]);
        fields.extend((!self.filter.is_empty()).then(|| field("f:filter")));
        if !range.is_empty() {
            fields.insert("f:timeRange".to_owned(), Value::Object(range));
        }
        Value::Object(fields)
    }
}

fn field(name: &str) -> (String, Value) {
    (name.to_owned(), Value::Object(Map::new()))
}

/// Reads a body.
///
/// # Errors
///
/// Returns the answer to a body that is none.
pub(super) fn read<S: Spec>(body: &[u8]) -> Result<Request<S>, Status> {
    let unreadable = |error: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
             json parse error: {error} ({})",
            S::KIND,
            summary(body)
        ))
    };
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let is_cut = error.is_eof();
        let other = || format!("invalid character at line {}", error.line());
        unreadable(if is_cut { "unexpected end of JSON input".to_owned() } else { other() })
    })?;
    let Value::Object(mut map) = value else {
        return Err(unreadable(format!(
            "json: cannot unmarshal {} into Go value of type struct",
            kind_of(&value)
        )));
    };
    check_kind::<S>(&mut map)?;
    let cannot = |error: String| {
        Status::bad_request(format!(
            "{kind} in version \"v1alpha1\" cannot be handled as a {kind}: {error}",
            kind = S::KIND
        ))
    };
    let mut root = Object::new(map, String::new(), S::KIND);
    let metadata = take_metadata(&mut root).map_err(cannot)?;
    let object = root.object("spec", S::GO_TYPE).map_err(cannot)?;
    let mut object =
        object.unwrap_or_else(|| Object::new(Map::new(), "spec".to_owned(), S::GO_TYPE));
    let spec = S::take(&mut object).map_err(cannot)?;
    root.adopt(object);
    // What the client sent as a status is overwritten.
    root.map.shift_remove("status");
    Ok(Request { metadata, spec, unknown: root.finish() })
}

impl<S: Spec> Request<S> {
    /// The refusal of what is not known, which a client may ask for.
    pub(super) fn strict_refusal(&self) -> Option<Status> {
        let names: Vec<String> =
            self.unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        (!names.is_empty()).then(|| {
            Status::bad_request(format!(
                "{kind} in version \"v1alpha1\" cannot be handled as a {kind}: \
                 strict decoding error: {}",
                names.join(", "),
                kind = S::KIND
            ))
        })
    }
}

fn check_kind<S: Spec>(map: &mut Map<String, Value>) -> Result<(), Status> {
    let mut word = |key| match map.shift_remove(key) {
        Some(Value::String(word)) => word,
        _ => String::new(),
    };
    let (kind, version) = (word("kind"), word("apiVersion"));
    let expected = format!("{GROUP}/v1alpha1");
    let is_kind = kind.is_empty() || kind == S::KIND;
    if is_kind && (version.is_empty() || version == expected) {
        return Ok(());
    }
    let version = if version.is_empty() { expected } else { version };
    let short = version.rsplit('/').next().unwrap_or_default();
    Err(Status::bad_request(format!(
        "{kind} in version \"{short}\" cannot be handled as a {}: no kind \"{kind}\" is registered \
         for version \"{version}\"",
        S::KIND
    )))
}

/// The start of a body, as it is shown to who sent it.
fn summary(body: &[u8]) -> String {
    const LIMIT: usize = 30;
    let shown = &body[..body.len().min(LIMIT)];
    let more = if body.len() > LIMIT { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}{more}", hex.concat())
        }
    }
}

fn take_metadata(root: &mut Object) -> Result<Metadata, String> {
    /// Known, and of no use here.
    const OTHERS: [&str; 10] = [
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
    ];
    let Some(mut object) = root.object("metadata", "ObjectMeta")? else {
        return Ok(Metadata::default());
    };
    let metadata = Metadata {
        name: object.string("name")?,
        generate_name: object.string("generateName")?,
        labels: object.words("labels")?,
        annotations: object.words("annotations")?,
    };
    for known in OTHERS.iter().chain(&["managedFields"]) {
        object.map.shift_remove(*known);
    }
    root.adopt(object);
    Ok(metadata)
}

impl Object {
    fn string(&mut self, key: &str) -> Result<String, String> {
        match self.map.shift_remove(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.mismatch(key, &other, "string")),
        }
    }

    fn int32(&mut self, key: &str) -> Result<i32, String> {
        let value = match self.map.shift_remove(key) {
            None | Some(Value::Null) => return Ok(0),
            Some(value) => value,
        };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.mismatch(key, &value, "int32"))
    }

    fn words(&mut self, key: &str) -> Result<BTreeMap<String, String>, String> {
        match self.map.shift_remove(key) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(value) => Ok((name, value)),
                    other => Err(self.mismatch(key, &other, "string")),
                })
                .collect(),
            Some(other) => Err(self.mismatch(key, &other, "map[string]string")),
        }
    }

    fn object(&mut self, key: &str, go_type: &'static str) -> Result<Option<Self>, String> {
        match self.map.shift_remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self::new(map, self.path_of(key), go_type))),
            Some(other) => Err(self.mismatch(key, &other, &format!("v1alpha1.{go_type}"))),
        }
    }

    fn list(&mut self, key: &str, go_type: &'static str) -> Result<Vec<Self>, String> {
        let values = match self.map.shift_remove(key) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(other) => {
                return Err(self.mismatch(key, &other, &format!("[]v1alpha1.{go_type}")));
            }
        };
        let path = self.path_of(key);
        let object = |(index, value)| match value {
            Value::Object(map) => Ok(Self::new(map, format!("{path}[{index}]"), go_type)),
            Value::Null => Ok(Self::new(Map::new(), path.clone(), go_type)),
            other => Err(self.mismatch(key, &other, &format!("v1alpha1.{go_type}"))),
        };
        values.into_iter().enumerate().map(object).collect()
    }

    fn new(map: Map<String, Value>, path: String, go_type: &'static str) -> Self {
        Self { map, path, go_type, unknown: Vec::new() }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn mismatch(&self, key: &str, value: &Value, to: &str) -> String {
        let (kind, path) = (kind_of(value), self.path_of(key));
        let go_type = self.go_type;
        let number = match (value, to) {
            (Value::Number(number), "int32") => format!(" {number}"),
            _ => String::new(),
        };
        format!(
            "json: cannot unmarshal {kind}{number} into Go struct field {go_type}.{path} \
             of type {to}"
        )
    }

    /// Takes over what is unknown in a part.
    fn adopt(&mut self, part: Self) {
        self.unknown.extend(part.finish());
    }

    /// The paths of all that nobody took.
    fn finish(mut self) -> Vec<String> {
        let left: Vec<String> = self.map.keys().map(|key| self.path_of(key)).collect();
        self.unknown.extend(left);
        self.unknown
    }
}

/// Go's word for the kind of a JSON value.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_query(body: &Value) -> Result<Request<QuerySpec>, Status> {
        read(body.to_string().as_bytes())
    }

    #[test]
    fn what_is_not_known_is_listed_by_its_path() {
        let body = json!({ "metadata": { "name": "q", "x": 1 }, "y": 1, "status": { "z": 1 },
            "spec": { "startTime": "a", "continueAfter": "b", "limit": null } });
        let request = read_query(&body).unwrap();
        assert_eq!(request.unknown, ["metadata.x", "spec.continueAfter", "y"]);
        assert_eq!(request.spec.start_time, "a");
        assert_eq!(request.metadata.name, "q");
        let body = json!({ "spec": { "timeRange": { "begin": "" },
            "facets": [{ "field": "verb" }, { "field": "verb", "max": 1 }] } });
        let request = read::<FacetsSpec>(body.to_string().as_bytes()).unwrap();
        assert_eq!(request.unknown, ["spec.timeRange.begin", "spec.facets[1].max"]);
        assert_eq!(request.spec.facets.len(), 2);
    }

    #[test]
    fn a_wrong_body_is_told_in_gos_words() {
        let check = |body: &str, expected: &str| {
            let status = read::<QuerySpec>(body.as_bytes()).unwrap_err();
            let text = super::super::go_json::to_text(&status);
            assert_eq!(status.code, 400);
            assert!(text.contains(expected), "{text}");
        };
        check("", "unexpected end of JSON input (\\u003cempty\\u003e)");
        check("nonsense", "(6e6f6e73656e7365)");
        check("[]", "cannot unmarshal array into Go value");
        check(r#"{"kind":"Pod","apiVersion":"v1"}"#, r#"Pod in version \"v1\" cannot be handled"#);
        check(r#"{"spec":{"filter":1}}"#, "unmarshal number into Go struct field");
        check(r#"{"spec":{"limit":true}}"#, "unmarshal bool into Go struct field");
        check(r#"{"spec":[]}"#, "AuditLogQuery.spec of type v1alpha1.AuditLogQuerySpec");
    }
}
