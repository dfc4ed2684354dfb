//! What an operation is made of.

use serde_json::{Map, Value, json};

/// A header field of responses.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    /// Its name, as documents show it.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Whether every response that has it at all always has it.
    pub(crate) is_always_there: bool,
    /// A regular expression of its values (ECMA 262).
    pub(crate) pattern: &'static str,
    pub(crate) example: &'static str,
}

/// A parameter of the path or the query.
pub(crate) struct Parameter {
    name: &'static str,
    place: &'static str,
    is_required: bool,
    description: String,
    schema: Value,
    example: Option<&'static str>,
}

/// The body of a request.
pub(crate) struct Body {
    pub(crate) description: String,
    pub(crate) content_type: &'static str,
    pub(crate) schema: Value,
    pub(crate) is_required: bool,
    /// Bodies that work: a name, what it shows, and the body.
    pub(crate) examples: Vec<(&'static str, &'static str, Value)>,
}

/// A response.
pub(crate) struct Reply {
    /// Where several operations have it: its name among the document's components, where it is written once.
    pub(crate) name: Option<&'static str>,
    pub(crate) status: u16,
    pub(crate) description: String,
    /// Bodies by media type; none where it has none.
    pub(crate) content: Vec<(&'static str, Value)>,
    pub(crate) example: Option<Value>,
    pub(crate) fields: Vec<Field>,
}

/// One method of one path.
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) tag: &'static str,
    pub(crate) summary: String,
    pub(crate) description: String,
    /// The security requirements: one of them is enough.
    pub(crate) security: Value,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Body>,
    pub(crate) replies: Vec<Reply>,
}

/// `X-Correlation-ID`: on everything that an endpoint answers.
pub(crate) const CORRELATION: Field = Field {
    name: "X-Correlation-ID",
    description: "Yours where you sent one of 1 to 128 of the characters that the pattern shows, else a new one. It is in the log and in the audit log.",
    is_always_there: true,
    pattern: r"^[A-Za-z0-9._:/+=@-]{1,128}$",
    example: "e1291f2c4f93026b7de83d2c84763b8c",
};

/// The longest text in a path or query, in bytes.
const MAX_TEXT_BYTES: usize = tidegate_wire::check::MAX_VALUE_BYTES;
/// Text without control characters.
const PLAIN: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";

// === impl Parameter ===

impl Parameter {
    /// A name in the path: text, percent-encoded.
    pub(crate) fn in_path(name: &'static str, description: &str, example: &'static str) -> Self {
        Self::new("path", name, description, text_schema()).required().with_example(example)
    }

    /// A parameter of the query with text.
    pub(crate) fn text(name: &'static str, description: &str) -> Self {
        Self::new("query", name, description, text_schema())
    }

    /// A parameter of the query.
    pub(crate) fn in_query(name: &'static str, description: &str, schema: Value) -> Self {
        Self::new("query", name, description, schema)
    }

    /// A header field of the request.
    pub(crate) fn in_header(name: &'static str, description: &str, schema: Value) -> Self {
        Self::new("header", name, description, schema)
    }

    pub(crate) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    pub(crate) fn with_example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    fn new(place: &'static str, name: &'static str, description: &str, schema: Value) -> Self {
        Self { name, place, is_required: false, description: description.to_owned(), schema, example: None }
    }

    fn into_value(self) -> Value {
        let mut value = json!({
            "name": self.name,
            "in": self.place,
            "required": self.is_required,
            "description": self.description,
            "schema": self.schema,
        });
        if let Some(example) = self.example {
            value["example"] = Value::from(example);
        }
        value
    }
}

fn text_schema() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_TEXT_BYTES, "pattern": PLAIN })
}

// === impl Field ===

impl Field {
    pub(super) fn value(&self) -> Value {
        json!({
            "description": self.description,
            "required": self.is_always_there,
            "schema": { "type": "string", "pattern": self.pattern },
            "example": self.example,
        })
    }
}

// === impl Body ===

impl Body {
    fn into_value(self) -> Value {
        let mut content = json!({ "schema": self.schema });
        if !self.examples.is_empty() {
            let examples = self.examples.into_iter().map(|(name, summary, value)| {
                (name.to_owned(), json!({ "summary": summary, "value": value }))
            });
            content["examples"] = Value::Object(examples.collect());
        }
        json!({
            "description": self.description,
            "required": self.is_required,
            "content": { self.content_type: content },
        })
    }
}

// === impl Reply ===

impl Reply {
    /// A response with a body.
    pub(crate) fn of(status: u16, description: &str, content_type: &'static str, schema: Value) -> Self {
        Self { content: vec![(content_type, schema)], ..Self::bare(status, description) }
    }

    /// A response of JSON.
    pub(crate) fn json(status: u16, description: &str, schema: Value) -> Self {
        Self::of(status, description, "application/json", schema)
    }

    /// A response without a body.
    pub(crate) fn bare(status: u16, description: &str) -> Self {
        Self {
            name: None,
            status,
            description: description.to_owned(),
            content: Vec::new(),
            example: None,
            fields: vec![CORRELATION],
        }
    }

    pub(crate) fn with(mut self, fields: &[Field]) -> Self {
        self.fields.extend_from_slice(fields);
        self
    }

    pub(crate) fn with_example(self, example: Value) -> Self {
        Self { example: Some(example), ..self }
    }

    /// Under a name: one that is the same wherever it has it.
    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// What stands with the operation.
    fn value(&self) -> Value {
        match self.name {
            Some(name) => json!({ "$ref": format!("#/components/responses/{name}") }),
            None => self.whole(),
        }
    }

    pub(super) fn whole(&self) -> Value {
        let fields: Map<String, Value> = self
            .fields
            .iter()
            .map(|field| {
                (field.name.to_owned(), json!({ "$ref": format!("#/components/headers/{}", field.name) }))
            })
            .collect();
        let mut value = json!({ "description": self.description, "headers": fields });
        if !self.content.is_empty() {
            value["content"] = Value::Object(Map::new());
        }
        for (index, (content_type, schema)) in self.content.iter().enumerate() {
            let mut content = json!({ "schema": schema });
            // An example is of the first kind of body.
            if let Some(example) = self.example.as_ref().filter(|_| index == 0) {
                content["example"] = example.clone();
            }
            value["content"][*content_type] = content;
        }
        value
    }
}

// === impl Operation ===

impl Operation {
    pub(super) fn into_value(mut self, path: &str) -> Value {
        let names = path.split(['{', '}']).skip(1).step_by(2);
        debug_assert!(
            names.eq(self.parameters.iter().filter(|one| one.place == "path").map(|one| one.name)),
            "{path}: other names in the path than among the parameters"
        );
        self.replies.sort_by_key(|reply| reply.status);
        let mut value = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "security": self.security,
        });
        if self.description.is_empty() {
            remove(&mut value, "description");
        }
        if !self.parameters.is_empty() {
            value["parameters"] = self.parameters.into_iter().map(Parameter::into_value).collect();
        }
        if let Some(body) = self.body {
            value["requestBody"] = body.into_value();
        }
        let replies = self.replies.iter().map(|reply| (reply.status.to_string(), reply.value()));
        value["responses"] = Value::Object(replies.collect());
        value
    }
}

fn remove(value: &mut Value, name: &str) {
    if let Some(object) = value.as_object_mut() {
        object.shift_remove(name);
    }
}
