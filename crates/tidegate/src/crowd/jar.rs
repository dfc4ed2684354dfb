//! The cookies of one visitor, as the line that is sent.

use http::HeaderValue;

/// The longest line, in bytes. A cookie that would make it longer is not kept.
const MAX_BYTES: usize = 8 * 1024;

/// The line, if there are any cookies: one allocation, since there are many visitors.
#[derive(Clone, Debug, Default)]
pub(super) struct Jar(Option<HeaderValue>);

impl Jar {
    pub(super) fn line(&self) -> Option<&HeaderValue> {
        self.0.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Keeps a cookie as a browser would that has this one site; an empty one is forgotten.
    pub(super) fn keep(&mut self, set_cookie: &HeaderValue) {
        let Some((name, value)) = pair(set_cookie) else { return };
        let line = self.0.as_ref().and_then(|line| line.to_str().ok()).unwrap_or_default();
        let others =
            line.split("; ").filter(|one| one.split_once('=').is_some_and(|(other, _)| other != name));
        let own = (!value.is_empty()).then(|| format!("{name}={value}"));
        let all: Vec<&str> = others.chain(own.as_deref()).collect();
        let all = all.join("; ");
        if all.len() <= MAX_BYTES {
            self.0 = if all.is_empty() { None } else { HeaderValue::try_from(all).ok() };
        }
    }
}

/// The name and the value.
fn pair(set_cookie: &HeaderValue) -> Option<(&str, &str)> {
    set_cookie.to_str().ok()?.split(';').next()?.trim().split_once('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_takes_the_place_of_its_former_self_and_an_empty_one_goes() {
        let mut jar = Jar::default();
        let mut keep = |text: &'static str| {
            jar.keep(&HeaderValue::from_static(text));
            jar.line().map(|line| line.to_str().unwrap().to_owned())
        };
        assert_eq!(keep("a=1; Path=/; HttpOnly").as_deref(), Some("a=1"));
        assert_eq!(keep("b=2=2").as_deref(), Some("a=1; b=2=2"));
        assert_eq!(keep("a=3; Max-Age=5").as_deref(), Some("b=2=2; a=3"));
        assert_eq!(keep("nothing").as_deref(), Some("b=2=2; a=3"));
        assert_eq!(keep("b=; Max-Age=0").as_deref(), Some("a=3"));
        assert_eq!(keep("a="), None);
        jar.keep(&HeaderValue::try_from(format!("long={}", "x".repeat(MAX_BYTES))).unwrap());
        assert!(jar.is_empty());
    }
}
