//! What a normalised path can look like: decoded once, without empty or dot segments, without query.

/// How much of a value a text stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Whole,
    Beginning,
    /// Anything but the beginning.
    Within,
}

/// Why no path is like `text`, and what to write instead.
pub(super) fn problem(text: &str, reach: Reach) -> Option<(&'static str, String)> {
    if reach != Reach::Within && !text.starts_with('/') {
        Some(("every path begins with '/'", format!("write /{}", text.trim_start())))
    } else if text.contains("//") {
        Some(("no normalised path has '//'", format!("write {}", merged_slashes(text))))
    } else if reach != Reach::Within && has_dot_segment(text, reach) {
        Some(("no normalised path has a segment '.' or '..'", "write the path without it".to_owned()))
    } else if text.contains(['?', '#']) {
        let remedy = "write the part before '?' or '#'; a path has neither query nor fragment".to_owned();
        Some(("no path contains '?' or '#'", remedy))
    } else if has_escape(text) {
        let remedy = "write the character itself, not %xx".to_owned();
        Some(("paths are decoded before they are matched", remedy))
    } else {
        None
    }
}

/// Whether a segment is `.` or `..`; the last one of a prefix may still go on, as in `/.well-known`.
fn has_dot_segment(text: &str, reach: Reach) -> bool {
    let mut segments: Vec<&str> = text.split('/').collect();
    if reach == Reach::Beginning {
        segments.pop();
    }
    segments.iter().any(|segment| matches!(*segment, "." | ".."))
}

fn has_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(
        |bytes| matches!(bytes, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()),
    )
}

fn merged_slashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}
