//! OpenAPI 3.1 documents, built from typed parts: what the documents of all doors have in common.
//!
//! Schemas come from types (schemars, as for the rule file); an operation is made of the parts here, so that a response
//! without its correlation id, or a path parameter without a name in the path, cannot be written down.

mod parts;
mod problem;
mod state;

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub(crate) use parts::{Body, Field, Operation, Parameter, Reply};
pub(crate) use problem::{ProblemSchema, RETRY_AFTER, of_kinds};
pub(crate) use state::{CatalogSchema, Seconds};

/// Declares types that exist for their schemas, which come from elsewhere or are nothing but JSON: written where they are used.
macro_rules! schema_only {
    ($(#[doc = $doc:literal] $name:ident => $schema:expr;)*) => {$(
        #[doc = $doc]
        pub(crate) struct $name;

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    )*};
}
pub(crate) use schema_only;

/// A document while it is put together.
pub(crate) struct Document {
    generator: SchemaGenerator,
    head: Map<String, Value>,
    paths: Map<String, Value>,
    fields: BTreeMap<&'static str, Field>,
    replies: BTreeMap<&'static str, Value>,
}

/// What stands at the top of a document.
pub(crate) struct Head {
    pub(crate) title: &'static str,
    /// In CommonMark.
    pub(crate) description: &'static str,
    /// Groups of operations: name and description.
    pub(crate) tags: &'static [(&'static str, &'static str)],
    /// Ways to show a key: name and scheme.
    pub(crate) security_schemes: Value,
}

impl Document {
    pub(crate) fn new(head: &Head) -> Self {
        let tags: Vec<Value> = head
            .tags
            .iter()
            .map(|(name, description)| json!({ "name": name, "description": description }))
            .collect();
        let head = json!({
            "openapi": "3.1.0",
            "info": {
                "title": head.title,
                "version": env!("CARGO_PKG_VERSION"),
                "description": head.description,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/", "description": "The server that this document comes from." }],
            "tags": tags,
            "components": { "securitySchemes": head.security_schemes },
        });
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
            .with_transform(RecursiveTransform(tidy));
        Self {
            generator: settings.into_generator(),
            head: as_object(head),
            paths: Map::new(),
            fields: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }

    /// The schema of a type: a reference, where the type has a name.
    pub(crate) fn schema<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// Adds an operation. `method` in lower case; names of the path in braces.
    pub(crate) fn add(&mut self, path: &str, method: &str, operation: Operation) {
        for field in operation.replies.iter().flat_map(|reply| &reply.fields) {
            self.fields.insert(field.name, *field);
        }
        for reply in &operation.replies {
            if let Some(name) = reply.name {
                let known = self.replies.entry(name).or_insert_with(|| reply.whole());
                debug_assert!(*known == reply.whole(), "{path}: two replies are called {name}");
            }
        }
        let item = self.paths.entry(path.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_owned(), operation.into_value(path));
        }
    }

    /// The document. `more` are schemas that come from elsewhere.
    pub(crate) fn finish(mut self, more: Map<String, Value>) -> Value {
        let mut schemas = self.generator.take_definitions(true);
        schemas.extend(more);
        schemas.sort_keys();
        let fields: Map<String, Value> =
            self.fields.iter().map(|(name, field)| ((*name).to_owned(), field.value())).collect();
        self.head.insert("paths".to_owned(), Value::Object(self.paths));
        // What refers to them comes first, in the order in which people read.
        let mut components = self.head.remove("components").map(as_object).unwrap_or_default();
        let replies = self.replies.into_iter().map(|(name, reply)| (name.to_owned(), reply));
        components.insert("responses".to_owned(), Value::Object(replies.collect()));
        components.insert("headers".to_owned(), Value::Object(fields));
        components.insert("schemas".to_owned(), Value::Object(schemas));
        self.head.insert("components".to_owned(), Value::Object(components));
        Value::Object(self.head)
    }
}

/// A document as it is sent and kept: indented, with a line break at its end.
pub(crate) fn text(document: &Value) -> String {
    format!("{document:#}\n")
}

/// A value that is there and may be null; an `Option` is left out, never null.
pub(crate) struct Nullable<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Nullable<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Nullable{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let schema = generator.subschema_for::<T>();
        // In this order: the other one is how an optional field looks before it is tidied.
        schemars::json_schema!({ "anyOf": [{ "type": "null" }, schema] })
    }
}

/// An optional field is left out, never null; a description is one paragraph; the widths of integers are left to `maximum`.
fn tidy(schema: &mut Schema) {
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        let line = description.replace('\n', " ");
        schema.insert("description".to_owned(), line.into());
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    let null = json!({ "type": "null" });
    match schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([kept, other]) if *other == null => {
            let kept = kept.clone();
            schema.remove("anyOf");
            for (key, value) in kept.as_object().into_iter().flatten() {
                schema.insert(key.clone(), value.clone());
            }
        }
        Some([other, kept]) if *other == null && kept.get("type").is_some_and(Value::is_string) => {
            let (kept, kind) = (kept.clone(), kept["type"].clone());
            schema.remove("anyOf");
            for (key, value) in kept.as_object().into_iter().flatten() {
                schema.insert(key.clone(), value.clone());
            }
            schema.insert("type".to_owned(), json!([kind, "null"]));
            return;
        }
        _ => {}
    }
    let plain = match schema.get("type").and_then(Value::as_array).map(Vec::as_slice) {
        Some([kept, other]) if other == "null" => Some(kept.clone()),
        _ => None,
    };
    if let Some(plain) = plain {
        schema.insert("type".to_owned(), plain);
    }
    if schema.get("format").is_some_and(|format| ["uint64", "uint32", "double"].iter().any(|f| format == f)) {
        schema.remove("format");
    }
}

fn as_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
