//! The API's documentation: the document, and pages that show it. All of it is in the program: the pages fetch nothing from
//! elsewhere, and their policy forbids it.
//!
//! What is vendored is kept compressed, and sent so to whoever takes it: nearly everybody. For the others a file is expanded
//! once, when first asked for, and kept.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};
use tidegate_wire::problem::{Problem, ProblemType};

use super::open_api;
use crate::door::{DoorResponse, problem};

/// What the pages may do. Swagger UI and Redoc have pictures in their style sheets. Redoc searches in a worker that it makes
/// from a part of itself, and makes style sheets: one that is empty at first, and one for its scroll bars. The hashes are
/// those of nothing and of the latter; another version has another, which the browser's test will tell.
const POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' \
    'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; img-src 'self' data:; connect-src 'self'; \
    worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// All of it is asked for again each time, which mostly costs a 304: with another version of the program come other bytes
/// under the same names, and those of two versions do not fit together.
const REVALIDATE: &str = "no-cache";

/// Something that is sent as it is, for as long as the program runs.
struct Kept {
    content_type: &'static str,
    form: Form,
}

enum Form {
    Plain(Tagged),
    Compressed { gzip: Tagged, plain: LazyLock<Tagged, Box<dyn FnOnce() -> Tagged + Send>> },
}

/// Bytes and their strong tag.
struct Tagged {
    bytes: Bytes,
    tag: HeaderValue,
}

/// All files of the pages by name.
static FILES: LazyLock<[(&str, Kept); 8]> = LazyLock::new(|| {
    macro_rules! asset {
        ($path:literal) => {
            include_bytes!(concat!("../../assets/api-docs/", $path)).as_slice()
        };
    }
    [
        ("page.css", Kept::plain(STYLE, asset!("page.css"))),
        ("swagger-ui.css", Kept::compressed(STYLE, asset!("swagger-ui/swagger-ui.css.gz"))),
        ("swagger-ui-dark.css", Kept::plain(STYLE, asset!("swagger-ui-dark.css"))),
        ("swagger-ui-bundle.js", Kept::compressed(SCRIPT, asset!("swagger-ui/swagger-ui-bundle.js.gz"))),
        ("start-swagger-ui.js", Kept::plain(SCRIPT, asset!("start-swagger-ui.js"))),
        ("redoc.standalone.js", Kept::compressed(SCRIPT, asset!("redoc/redoc.standalone.js.gz"))),
        ("redoc-dark.css", Kept::plain(STYLE, asset!("redoc-dark.css"))),
        ("start-redoc.js", Kept::plain(SCRIPT, asset!("start-redoc.js"))),
    ]
});

pub(super) fn document(headers: &HeaderMap) -> DoorResponse {
    static DOCUMENT: LazyLock<Kept> = LazyLock::new(|| Kept::plain("application/json", open_api::compact()));
    DOCUMENT.response(headers)
}

pub(super) fn swagger_ui(headers: &HeaderMap) -> DoorResponse {
    static PAGE: LazyLock<Kept> = LazyLock::new(|| {
        Kept::plain(HTML, include_bytes!("../../assets/api-docs/swagger-ui.html").as_slice())
    });
    PAGE.response(headers)
}

pub(super) fn redoc(headers: &HeaderMap) -> DoorResponse {
    static PAGE: LazyLock<Kept> =
        LazyLock::new(|| Kept::plain(HTML, include_bytes!("../../assets/api-docs/redoc.html").as_slice()));
    PAGE.response(headers)
}

pub(super) fn file(name: &str, headers: &HeaderMap) -> DoorResponse {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, kept)) => kept.response(headers),
        None => problem(&Problem::new(ProblemType::NotFound, "the documentation has no such file")),
    }
}

// === impl Kept ===

impl Kept {
    fn plain(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self { content_type, form: Form::Plain(Tagged::new(bytes)) }
    }

    /// A vendored file; those are in the program compressed.
    fn compressed(content_type: &'static str, gzip: &'static [u8]) -> Self {
        let expand = move || {
            let mut bytes = Vec::new();
            // It is part of the program, so it is whole: a test expands each.
            let _ = GzDecoder::new(gzip).read_to_end(&mut bytes);
            Tagged::new(bytes)
        };
        let plain = LazyLock::new(Box::new(expand) as Box<dyn FnOnce() -> Tagged + Send>);
        Self { content_type, form: Form::Compressed { gzip: Tagged::new(gzip), plain } }
    }

    fn response(&self, headers: &HeaderMap) -> DoorResponse {
        let (tagged, is_gzip) = match &self.form {
            Form::Plain(tagged) => (tagged, false),
            Form::Compressed { gzip, .. } if takes_gzip(headers) => (gzip, true),
            Form::Compressed { plain, .. } => (&**plain, false),
        };
        let is_known = is_known(headers, &tagged.tag);
        let body = if is_known { Bytes::new() } else { tagged.bytes.clone() };
        let mut response = Response::new(Full::new(body));
        let fields = response.headers_mut();
        fields.insert(ETAG, tagged.tag.clone());
        let mut set = |name: HeaderName, value| fields.insert(name, HeaderValue::from_static(value));
        set(CACHE_CONTROL, REVALIDATE);
        set(CONTENT_SECURITY_POLICY, POLICY);
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(REFERRER_POLICY, "no-referrer");
        if matches!(self.form, Form::Compressed { .. }) {
            set(VARY, "accept-encoding");
        }
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        set(CONTENT_TYPE, self.content_type);
        if is_gzip {
            set(CONTENT_ENCODING, "gzip");
        }
        response
    }
}

// === impl Tagged ===

impl Tagged {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let mut tag = String::from("\"");
        for byte in &Sha256::digest(&bytes)[..16] {
            // Writing to a string does not fail.
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        // Digits between quotes are always a value.
        Self { bytes, tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")) }
    }
}

/// Whether the client takes gzip (RFC 9110 section 12.5.3): it names it, or everything, and not with a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in fields.flat_map(|field| field.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), |weight| weight.trim().parse::<f32>());
        let is_taken = weight.is_ok_and(|weight| weight > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return is_taken,
            "*" => any = is_taken,
            _ => {}
        }
    }
    any
}

/// Whether the client has these bytes already (RFC 9110 section 13.1.2: compared weakly).
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let fields = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        for taken in ["gzip", "br, GZIP;q=0.5", "*", "gzip;q=1, *;q=0"] {
            assert!(takes_gzip(&with(ACCEPT_ENCODING, taken)), "{taken}");
        }
        for refused in ["", "br", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "gzip;q=x", "identity"] {
            assert!(!takes_gzip(&with(ACCEPT_ENCODING, refused)), "{refused}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn both_forms_of_a_file_are_the_same_file_with_tags_of_their_own() {
        for (name, kept) in FILES.iter() {
            let Form::Compressed { gzip, plain } = &kept.form else { continue };
            let mut expanded = Vec::new();
            GzDecoder::new(&gzip.bytes[..]).read_to_end(&mut expanded).unwrap();
            assert!(expanded.len() > 100_000 && expanded == plain.bytes, "{name}");
            assert_ne!(gzip.tag, plain.tag, "{name}");
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let whole = file("page.css", &HeaderMap::new());
        let tag = whole.headers()[ETAG].clone();
        let again = file("page.css", &HeaderMap::from_iter([(IF_NONE_MATCH, tag.clone())]));
        assert_eq!((whole.status(), again.status()), (StatusCode::OK, StatusCode::NOT_MODIFIED));
        assert_eq!(again.headers()[ETAG], tag);
        assert_eq!(file("page.css", &with(IF_NONE_MATCH, "\"other\"")).status(), StatusCode::OK);
        assert_eq!(file("nothing.js", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
