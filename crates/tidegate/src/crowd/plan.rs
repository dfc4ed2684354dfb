//! What is asked of a crowd. Everything has a maximum: this is a tool for tests, not for attacks.

use http::Uri;
use http::uri::{Authority, Scheme};
use tidegate_core::time::Micros;
use tidegate_wire::room::name::RoomName;

/// The most visitors of one run.
pub const MAX_VISITORS: u32 = 1_000_000;
/// The most visitors that come in one second.
pub const MAX_ARRIVALS_PER_S: u32 = 100_000;
/// The most requests at one time, and so the most connections to one node.
pub const MAX_CONNECTIONS: u32 = 10_000;
/// The most nodes.
pub const MAX_NODES: usize = 64;
/// The longest run.
pub const MAX_TIME: Micros = Micros::from_secs(86_400);
/// The shortest time that an answer is waited for.
pub const MIN_TIMEOUT: Micros = Micros::from_millis(10);
/// The longest time that an answer is waited for.
pub const MAX_TIMEOUT: Micros = Micros::from_secs(600);
/// The oldest that an answer may be.
pub const MAX_AGE: Micros = Micros::from_secs(60);

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the room is: 1 to [`MAX_NODES`].
    pub nodes: Vec<Node>,
    /// Which room.
    pub room: RoomName,
    /// Visitors: 1 to [`MAX_VISITORS`].
    pub visitors: u32,
    /// How many come in a second: 1 to [`MAX_ARRIVALS_PER_S`].
    pub arrivals_per_s: u32,
    /// Requests at one time: 1 to [`MAX_CONNECTIONS`].
    pub connections: u32,
    /// How long the whole takes at most.
    pub at_most: Micros,
    /// How long an answer is waited for.
    pub timeout: Micros,
    /// How old what nodes tell may be, up to [`MAX_AGE`]: a visitor is overtaken only if it waited longer than that after a later
    /// one was called.
    pub max_age: Micros,
    /// What visitors ask first.
    pub first_call: FirstCall,
    /// What they are like.
    pub habits: Habits,
    /// The same numbers make the same visitors.
    pub seed: u64,
}

/// What a visitor asks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstCall {
    /// For a place at once, as the snippet in another page does. Whoever does not hear the answer has no cookie, and is somebody
    /// new when it asks again.
    Join,
    /// For the page, which gives it a cookie; then for a place.
    Page,
}

/// What visitors are like. Shares of one line add up to a hundred at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Of all: say that they go while they wait.
    pub leave_line: Share,
    /// Of all: stop asking while they wait.
    pub vanish_line: Share,
    /// About how long those wait first.
    pub patience: Micros,
    /// Of those who are called: never come.
    pub unclaimed: Share,
    /// Of those inside: say that they go.
    pub leave_inside: Share,
    /// Of those inside: close the page, which says so by a hint.
    pub close_inside: Share,
    /// Of those inside: are not heard of any more.
    pub vanish_inside: Share,
    /// About how long those are inside first. All others stay until their session ends.
    pub stay: Micros,
    /// Of polls: a page that is loaded again, and joins again.
    pub reload: Share,
}

/// A part of a whole, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

/// More than a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// One share is.
    #[error("a share is 0 to 100 percent")]
    Share,
    /// Shares of the same visitors are.
    #[error("the shares of those who {0} are more than 100 percent together")]
    Sum(&'static str),
}

/// A node, by its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    scheme: Scheme,
    authority: Authority,
    /// What its paths begin with, without a slash at the end.
    base: String,
}

/// A URL that is none of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no http:// or https:// URL: write for example http://127.0.0.1:8080")]
pub struct NodeError(String);

// === impl Share ===

impl Share {
    /// So many percent.
    ///
    /// # Errors
    /// More than 100.
    pub const fn percent(percent: u8) -> Result<Self, ShareError> {
        if percent <= 100 { Ok(Self(percent)) } else { Err(ShareError::Share) }
    }

    /// The percent.
    #[must_use]
    pub const fn as_percent(self) -> u8 {
        self.0
    }
}

// === impl Habits ===

impl Habits {
    /// Visitors who do nothing but wait, come when they are called, and stay until their session ends.
    pub const PATIENT: Self = Self {
        leave_line: Share(0),
        vanish_line: Share(0),
        patience: Micros::from_secs(30),
        unclaimed: Share(0),
        leave_inside: Share(0),
        close_inside: Share(0),
        vanish_inside: Share(0),
        stay: Micros::from_secs(10),
        reload: Share(0),
    };

    /// Checks that no visitor is to do two things at once.
    ///
    /// # Errors
    /// [`ShareError::Sum`].
    pub fn check(&self) -> Result<(), ShareError> {
        let sum = |shares: &[Share]| shares.iter().map(|share| u32::from(share.0)).sum::<u32>();
        if sum(&[self.leave_line, self.vanish_line]) > 100 {
            return Err(ShareError::Sum("leave the line or vanish from it"));
        }
        if sum(&[self.leave_inside, self.close_inside, self.vanish_inside]) > 100 {
            return Err(ShareError::Sum("leave, close or vanish inside"));
        }
        Ok(())
    }
}

// === impl Node ===

impl Node {
    /// The node of a URL.
    ///
    /// # Errors
    /// It is no HTTP URL with a host, or has a query.
    pub fn parse(url: &str) -> Result<Self, NodeError> {
        let refuse = || NodeError(url.chars().filter(|c| !c.is_control()).take(100).collect());
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let scheme = uri.scheme().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let (Some(scheme), Some(authority), None) = (scheme, uri.authority(), uri.query()) else {
            return Err(refuse());
        };
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme: scheme.clone(), authority: authority.clone(), base })
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The address of a path that begins with a slash.
    pub(super) fn uri(&self, path: &str) -> Result<Uri, NodeError> {
        let built = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.base));
        built.build().map_err(|_| NodeError(format!("{}{path}", self.base)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_url_with_a_host() {
        let node = Node::parse("http://[::1]:8080/queue/").unwrap();
        assert_eq!(node.uri("/v1/x").unwrap().to_string(), "http://[::1]:8080/queue/v1/x");
        assert!(!node.is_tls() && Node::parse("https://a.example").unwrap().is_tls());
        for url in ["", "127.0.0.1:80", "/path", "ftp://a", "http://a?x=1", "http://"] {
            assert!(Node::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn nobody_does_two_things_at_once() {
        let share = |percent| Share::percent(percent).unwrap();
        let mut habits = Habits { leave_line: share(60), vanish_line: share(40), ..Habits::PATIENT };
        assert_eq!(habits.check(), Ok(()));
        habits.vanish_line = share(41);
        assert!(habits.check().is_err());
        let habits = Habits {
            leave_inside: share(50),
            close_inside: share(50),
            vanish_inside: share(1),
            ..Habits::PATIENT
        };
        assert!(habits.check().is_err());
        assert_eq!(Share::percent(101), Err(ShareError::Share));
    }
}
