//! Replies, appended to a buffer.

/// The version of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// What every client begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`: with maps, booleans and a null of its own.
    Resp3,
}

impl Version {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        }
    }
}

/// A status, as `OK`. It must have no line end in it.
pub fn status(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text.as_bytes());
}

/// An error: its code first, as `ERR unknown command`. Line ends in it become spaces.
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// A number.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    line(out, b':', itoa::Buffer::new().format(number).as_bytes());
}

/// A string of bytes.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Nothing.
pub fn null(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(match version {
        Version::Resp2 => b"$-1\r\n",
        Version::Resp3 => b"_\r\n",
    });
}

/// Yes or no; 1 or 0 in version 2.
pub fn boolean(out: &mut Vec<u8>, is_true: bool, version: Version) {
    out.extend_from_slice(match (version, is_true) {
        (Version::Resp2, true) => b":1\r\n",
        (Version::Resp2, false) => b":0\r\n",
        (Version::Resp3, true) => b"#t\r\n",
        (Version::Resp3, false) => b"#f\r\n",
    });
}

/// The head of an array of so many replies.
pub fn array(out: &mut Vec<u8>, count: usize) {
    length(out, b'*', count);
}

/// The head of so many pairs: a map, or an array of twice as many in version 2.
pub fn map(out: &mut Vec<u8>, pairs: usize, version: Version) {
    match version {
        Version::Resp2 => length(out, b'*', 2 * pairs),
        Version::Resp3 => length(out, b'%', pairs),
    }
}

fn length(out: &mut Vec<u8>, kind: u8, count: usize) {
    line(out, kind, itoa::Buffer::new().format(count).as_bytes());
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}
