//! What a server says about itself: read once per connection.

use std::fmt;

use redis::Value;

/// Which program the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Redis, or something that passes for it.
    Redis,
    /// Valkey, with its own version numbers.
    Valkey,
}

/// The part a server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary.
    Replica,
    /// Watches over others.
    Sentinel,
}

/// Major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

/// What is known about a server; `None` where it would not say (an ACL can forbid `INFO` and `ROLE`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// The program and its version.
    pub version: Option<(Product, Version)>,
    /// Another one after every start: scripts, and data since the last save, are gone.
    pub run_id: Option<Box<str>>,
    /// Whether it belongs to a Cluster.
    pub clustered: Option<bool>,
    /// Its part.
    pub role: Option<Role>,
    /// What happens when memory is short: `maxmemory-policy`.
    pub memory_policy: Option<Box<str>>,
    /// `maxmemory` in bytes; 0 is none.
    pub max_memory: Option<u64>,
}

impl ServerFacts {
    /// Whether the server forgets buckets when memory is short, and so admits too much then.
    #[must_use]
    pub fn evicts(&self) -> Option<bool> {
        match (self.memory_policy.as_deref(), self.max_memory) {
            (Some("noeviction"), _) | (_, Some(0)) => Some(false),
            (Some(_), _) => Some(true),
            (None, _) => None,
        }
    }

    /// What to know about this version's script engine, if its makers say that it can be broken out of.
    ///
    /// CVE-2025-49844, -46817, -46818 and -46819: whoever may run scripts may run code, or scripts as another user.
    #[must_use]
    pub fn lua_advisory(&self) -> Option<&'static str> {
        let (product, version) = self.version?;
        let fixed = match product {
            Product::Redis => REDIS_FIXED,
            Product::Valkey => VALKEY_FIXED,
        };
        let Version(major, minor, patch) = version;
        let line = fixed.iter().find(|Version(a, b, _)| (*a, *b) == (major, minor));
        let newest = fixed.iter().map(|Version(a, b, _)| (*a, *b)).max();
        let safe = match line {
            Some(Version(_, _, first)) => patch >= *first,
            None => newest.is_some_and(|newest| (major, minor) > newest),
        };
        (!safe).then_some(LUA_ADVISORY)
    }

    /// Takes what `INFO server` or `INFO memory` says.
    pub(super) fn note_info(&mut self, info: &Value) {
        let Some(text) = text(info) else { return };
        let mut redis = None;
        let mut valkey = None;
        for (name, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match name {
                "redis_version" => redis = Version::parse(value),
                "valkey_version" => valkey = Version::parse(value),
                "redis_mode" | "server_mode" => self.clustered = Some(value == "cluster"),
                "run_id" => self.run_id = Some(value.into()),
                "maxmemory_policy" => self.memory_policy = Some(value.into()),
                "maxmemory" => self.max_memory = value.parse().ok(),
                _ => {}
            }
        }
        // Valkey also gives the version of Redis that it is compatible with.
        let version = match (valkey, redis) {
            (Some(version), _) => Some((Product::Valkey, version)),
            (None, Some(version)) => Some((Product::Redis, version)),
            (None, None) => None,
        };
        self.version = version.or(self.version);
    }

    /// Takes what `ROLE` says.
    pub(super) fn note_role(&mut self, role: &Value) {
        let Value::Array(parts) = role else { return };
        self.role = match parts.first().and_then(text) {
            Some("master") => Some(Role::Primary),
            Some("slave") => Some(Role::Replica),
            Some("sentinel") => Some(Role::Sentinel),
            _ => None,
        };
    }
}

/// The first version of each line in which the errors of 2025-10-03 are mended; older lines never were.
const REDIS_FIXED: &[Version] =
    &[Version(6, 2, 20), Version(7, 2, 11), Version(7, 4, 6), Version(8, 0, 4), Version(8, 2, 2)];
const VALKEY_FIXED: &[Version] = &[Version(7, 2, 11), Version(8, 0, 6), Version(8, 1, 4)];

const LUA_ADVISORY: &str = "this version has known errors in its script engine (CVE-2025-49844 and others) unless the \
                            distributor mended them: let only trusted users run scripts, and update the server";

impl Version {
    /// The numbers of `7.0.15`; what follows them is left out, what is missing is 0.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            part.get(..digits).and_then(|digits| digits.parse::<u16>().ok())
        });
        let major = numbers.next()??;
        let mut next = || numbers.next().flatten().unwrap_or(0);
        Some(Self(major, next(), next()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Product::Redis => "Redis",
            Product::Valkey => "Valkey",
        })
    }
}

/// The text of a string reply.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(info: &str) -> ServerFacts {
        let mut facts = ServerFacts::default();
        facts.note_info(&Value::BulkString(info.as_bytes().to_vec()));
        facts
    }

    #[test]
    fn info_is_read() {
        let mut facts = facts("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n");
        facts.note_info(&Value::BulkString(
            b"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n".to_vec(),
        ));
        assert_eq!(facts.version, Some((Product::Redis, Version(7, 0, 15))));
        assert_eq!(facts.run_id.as_deref(), Some("abc"));
        assert_eq!(facts.clustered, Some(false));
        assert_eq!(facts.evicts(), Some(false), "without a maximum nothing is evicted");
        facts.max_memory = Some(1 << 30);
        assert_eq!(facts.evicts(), Some(true));
        facts.memory_policy = Some("noeviction".into());
        assert_eq!(facts.evicts(), Some(false));
        assert_eq!(ServerFacts::default().evicts(), None);
    }

    #[test]
    fn valkey_goes_by_its_own_version() {
        let facts = facts("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.1-rc1\r\n");
        assert_eq!(facts.version, Some((Product::Valkey, Version(9, 0, 1))));
        assert_eq!(facts.lua_advisory(), None);
    }

    #[test]
    fn lua_advisories() {
        for (version, safe) in [
            ("5.0.14", false),
            ("6.2.19", false),
            ("6.2.20", true),
            ("7.0.15", false),
            ("7.2.10", false),
            ("7.2.11", true),
            ("7.4.5", false),
            ("8.0.4", true),
            ("8.2.1", false),
            ("8.2.2", true),
            ("8.4.0", true),
            ("10.0.0", true),
        ] {
            let facts = facts(&format!("redis_version:{version}\r\n"));
            assert_eq!(facts.lua_advisory().is_none(), safe, "Redis {version}");
        }
        for (version, safe) in
            [("7.2.10", false), ("7.2.11", true), ("8.0.6", true), ("8.1.3", false), ("9.0.0", true)]
        {
            let facts = facts(&format!("redis_version:7.2.4\r\nvalkey_version:{version}\r\n"));
            assert_eq!(facts.lua_advisory().is_none(), safe, "Valkey {version}");
        }
        assert_eq!(ServerFacts::default().lua_advisory(), None);
    }

    #[test]
    fn roles() {
        for (name, role) in [
            ("master", Some(Role::Primary)),
            ("slave", Some(Role::Replica)),
            ("sentinel", Some(Role::Sentinel)),
            ("x", None),
        ] {
            let mut facts = ServerFacts::default();
            facts.note_role(&Value::Array(vec![Value::BulkString(name.into()), Value::Int(0)]));
            assert_eq!(facts.role, role);
        }
    }
}
