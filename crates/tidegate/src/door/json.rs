//! JSON objects, written straight into a buffer.

use tidegate_core::time::{Micros, Timestamp};

/// Writes one JSON object, member by member. Names are ours and need no escapes.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(crate) fn null(&mut self, name: &str) {
        self.name(name);
        self.out.extend_from_slice(b"null");
    }

    pub(crate) fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(crate) fn integer(&mut self, name: &str, value: u64) {
        self.name(name);
        write_integer(self.out, value);
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(self.out, value);
    }

    /// A value that is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.extend_from_slice(json.as_bytes());
    }

    pub(crate) fn strings<'s>(&mut self, name: &str, values: impl Iterator<Item = &'s str>) {
        self.name(name);
        self.out.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(self.out, value);
        }
        self.out.push(b']');
    }

    pub(crate) fn array<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Object<'_>, T),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut object = Object::begin(self.out);
            write(&mut object, item);
            object.end();
        }
        self.out.push(b']');
    }

    /// A point in time as Unix seconds with milliseconds, rounded up.
    pub(crate) fn seconds(&mut self, name: &str, at: Timestamp) {
        let millis = at.as_micros().div_ceil(1_000);
        self.name(name);
        write_integer(self.out, millis / 1_000);
        self.out.push(b'.');
        let rest = u8::try_from(millis % 1_000 / 100).unwrap_or(0);
        self.out.push(b'0' + rest);
        let rest = u8::try_from(millis % 100).unwrap_or(0);
        self.out.extend_from_slice(&[b'0' + rest / 10, b'0' + rest % 10]);
    }

    /// A span as seconds: whole where it is whole, else with as many decimals as it takes.
    pub(crate) fn decimal_seconds(&mut self, name: &str, span: Micros) {
        self.name(name);
        write_integer(self.out, span.as_micros() / 1_000_000);
        let fraction = span.as_micros() % 1_000_000;
        if fraction > 0 {
            let digits = format!(".{fraction:06}");
            self.out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }
}

fn write_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_string(out: &mut Vec<u8>, value: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if value.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, value).is_err() {
        // Writing into memory does not fail; an empty text keeps the document whole.
        out.extend_from_slice(b"\"\"");
    }
}
