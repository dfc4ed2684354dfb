//! Answers held against the OpenAPI documents: status, media type, header fields, and the body to the last member.
//!
//! The documents let members be added, since programs must be ready for more. Here none may be there that the document does
//! not have.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// What belongs to HTTP itself, on any response.
const OF_HTTP: &[&str] = &["connection", "content-length", "content-type", "date", "transfer-encoding"];
/// Of the pages only: what a browser may do, not what a program should read.
const OF_PAGES: &[&str] =
    &["content-encoding", "content-security-policy", "referrer-policy", "vary", "x-content-type-options"];

/// One document.
pub struct Api {
    pub document: Value,
    /// Its components, with all objects closed.
    components: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
    /// Where answers have been held against it in this process.
    reached: Mutex<BTreeSet<Place>>,
}

/// A response as it came.
pub struct Seen<'a> {
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub status: u16,
    /// Name and value of each field.
    pub fields: Vec<(&'a str, &'a str)>,
    pub body: &'a [u8],
}

/// The place in a document that a response has been held against: path, method, status.
pub type Place = (String, String, u16);

/// The document of the HTTP door.
pub fn http_door() -> &'static Api {
    static API: LazyLock<Api> = LazyLock::new(|| Api::new(&tidegate::http::open_api_document()));
    &API
}

/// The document of the admin API.
pub fn admin() -> &'static Api {
    static API: LazyLock<Api> = LazyLock::new(|| Api::new(&tidegate::admin::open_api_document()));
    &API
}

impl Api {
    pub fn new(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap();
        let mut components = document["components"].clone();
        for schema in components["schemas"].as_object_mut().unwrap().values_mut() {
            let schema = schema.as_object_mut().unwrap();
            if schema.contains_key("properties") && !schema.contains_key("additionalProperties") {
                schema.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Self { document, components, validators: Mutex::default(), reached: Mutex::default() }
    }

    /// Every place: each status of each method of each path.
    pub fn places(&self) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for (path, item) in self.paths() {
            for (method, operation) in item.as_object().unwrap() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    places.insert((path.clone(), method.clone(), status.parse().unwrap()));
                }
            }
        }
        places
    }

    pub fn paths(&self) -> &Map<String, Value> {
        self.document["paths"].as_object().unwrap()
    }

    /// Holds a response against the document, where it has a place in it: not on paths that do not exist, nor what the listener
    /// says by itself.
    ///
    /// # Panics
    /// It does not conform.
    #[track_caller]
    pub fn hold(&self, seen: &Seen<'_>) {
        let places = self.held(seen).unwrap_or_else(|error| {
            let body = String::from_utf8_lossy(seen.body);
            panic!("{} {} {}: {error}\n{:?}\n{body}", seen.method, seen.target, seen.status, seen.fields)
        });
        self.reached.lock().unwrap().extend(places);
    }

    /// The places that answers have been held against so far.
    pub fn reached(&self) -> BTreeSet<Place> {
        self.reached.lock().unwrap().clone()
    }

    /// Where it has its place; a method that there is not has its refusal at all of the path's.
    fn held(&self, seen: &Seen<'_>) -> Result<Vec<Place>, String> {
        let is_bare = matches!(seen.status, 400 | 431) && seen.field("x-correlation-id").is_none();
        if is_bare && seen.body.is_empty() {
            return Ok(Vec::new());
        }
        let path = seen.target.split('?').next().unwrap_or_default();
        let Some((template, item)) = self.find(path) else {
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            self.body("no such path", &schema, seen.body)?;
            return Ok(Vec::new());
        };
        let method = match seen.method {
            "HEAD" => "get".to_owned(),
            method => method.to_ascii_lowercase(),
        };
        let operations = item.as_object().unwrap();
        let methods = match operations.get(&method) {
            Some(_) => vec![method],
            None => operations.keys().cloned().collect(),
        };
        for method in &methods {
            let response = operations[method]["responses"]
                .get(seen.status.to_string())
                .ok_or_else(|| format!("the document has no such status for {method} {template}"))?;
            let response = self.whole(response);
            self.fields(response, seen)?;
            if seen.method != "HEAD" {
                self.content(&format!("{method} {template} {}", seen.status), response, seen)?;
            }
        }
        Ok(methods.into_iter().map(|method| (template.to_owned(), method, seen.status)).collect())
    }

    /// A response that may be kept among the components.
    pub fn whole<'a>(&'a self, response: &'a Value) -> &'a Value {
        let pointer = response.get("$ref").and_then(|reference| reference.as_str()?.strip_prefix('#'));
        pointer.map_or(response, |pointer| self.document.pointer(pointer).unwrap())
    }

    /// The path of the document that a path is of; one without names goes before one with.
    fn find(&self, path: &str) -> Option<(&str, &Value)> {
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let own: Vec<&str> = template.split('/').collect();
            own.len() == segments.len()
                && own.iter().zip(&segments).all(|(own, other)| own.starts_with('{') || own == other)
        };
        let mut fitting: Vec<_> = self.paths().iter().filter(|(template, _)| fits(template)).collect();
        fitting.sort_by_key(|(template, _)| template.matches('{').count());
        fitting.first().map(|(template, item)| (template.as_str(), *item))
    }

    fn fields(&self, response: &Value, seen: &Seen<'_>) -> Result<(), String> {
        let declared = response["headers"].as_object().cloned().unwrap_or_default();
        for name in declared.keys() {
            let field = &self.components["headers"][name];
            match seen.field(name) {
                Some(value) => {
                    let validator = self.validator(&format!("field {name}"), &field["schema"]);
                    if !validator.is_valid(&Value::from(value)) {
                        return Err(format!("{name}: '{value}' is not of {}", field["schema"]));
                    }
                }
                None if field["required"] == true => return Err(format!("{name} is missing")),
                None => {}
            }
        }
        let is_page = seen.field("content-security-policy").is_some();
        for (name, _) in &seen.fields {
            let is_known = declared.keys().any(|known| known.eq_ignore_ascii_case(name))
                || OF_HTTP.iter().any(|known| known.eq_ignore_ascii_case(name))
                || is_page && OF_PAGES.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !is_known {
                return Err(format!("the document has no field {name}"));
            }
        }
        Ok(())
    }

    fn content(&self, name: &str, response: &Value, seen: &Seen<'_>) -> Result<(), String> {
        let Some(content) = response.get("content") else {
            return if seen.body.is_empty() { Ok(()) } else { Err("a body, where there is none".to_owned()) };
        };
        let media_type = seen.field("content-type").ok_or("no media type")?;
        let content =
            content.get(media_type).ok_or_else(|| format!("the document has no {media_type} here"))?;
        if !media_type.ends_with("/json") && !media_type.ends_with("+json") {
            return Ok(());
        }
        self.body(&format!("{name} {media_type}"), &content["schema"], seen.body)
    }

    fn body(&self, name: &str, schema: &Value, body: &[u8]) -> Result<(), String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let validator = self.validator(name, schema);
        let errors: Vec<String> =
            validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    }

    /// Validates a value against a schema of the document, like an example.
    pub fn conforms(&self, name: &str, schema: &Value, value: &Value) -> Result<(), String> {
        self.body(name, schema, value.to_string().as_bytes())
    }

    fn validator(&self, name: &str, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(name.to_owned()).or_insert_with(|| {
            let whole = json!({ "components": self.components, "allOf": [schema] });
            Arc::new(jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{name}: {error}")))
        });
        Arc::clone(validator)
    }
}

impl<'a> Seen<'a> {
    /// A response from its head, as it came.
    pub fn new(method: &'a str, target: &'a str, head: &'a str, body: &'a [u8]) -> Self {
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
        Self { method, target, status, fields, body }
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(*value))
    }
}
