//! What an answer looks like: two servers can be compared only while they say the same things.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::http_load::response_length;
use crate::template::Template;
use anyhow::{Context, ensure};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The names in an answer, and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    fields: BTreeSet<String>,
    members: BTreeSet<String>,
    /// How long it is, head and body.
    pub bytes: usize,
}

/// Asks once.
///
/// # Errors
/// There is no answer of 200 with a JSON object.
pub fn of_answer(address: SocketAddr, request: &Template) -> anyhow::Result<Shape> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&request.bytes)?;
    let mut answer = Vec::new();
    let length = loop {
        let mut part = [0; 16_384];
        let count = stream.read(&mut part).context("no answer")?;
        ensure!(count > 0 && answer.len() < MAX_ANSWER_BYTES, "the server hung up, or never stops");
        answer.extend_from_slice(&part[..count]);
        if let Some(length) = response_length(&answer)?.filter(|length| answer.len() >= *length) {
            break length;
        }
    };
    let text = String::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let body: serde_json::Value = serde_json::from_str(body)?;
    let first = body.get("results").and_then(|results| results.get(0)).unwrap_or(&body);
    let members = first.as_object().context("an answer that is no JSON object")?.keys().cloned().collect();
    let fields = fields.map(|(name, _)| name.to_ascii_lowercase()).collect();
    Ok(Shape { fields, members, bytes: length })
}

/// Refuses to compare servers whose answers differ in what they name.
///
/// # Errors
/// They do.
pub fn compare<'a>(mut answers: impl Iterator<Item = (&'a str, &'a Shape)>) -> anyhow::Result<()> {
    let Some((reference, expected)) = answers.next() else { return Ok(()) };
    for (name, shape) in answers {
        ensure!(
            shape.fields == expected.fields && shape.members == expected.members,
            "{name} answers {:?} with {:?}, but {reference} {:?} with {:?}: make axum-echo say the same",
            shape.members,
            shape.fields,
            expected.members,
            expected.fields
        );
    }
    Ok(())
}
