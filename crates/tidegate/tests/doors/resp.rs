//! `TIDEGATE.CHECK` in both versions of the protocol, in milliseconds; `CL.THROTTLE` and `THROTTLE`, in seconds.

use redis::{Connection, Value};
use tidegate_engine::Decision;
use tidegate_store::BucketStore;

use crate::door::{Asked, Door};
use crate::said::{NOTHING, Said, milliseconds, or_nothing, seconds};
use crate::site::Site;

fn connect<S: BucketStore>(site: &Site<S>, version: &str) -> Connection {
    let url = format!("redis://{}/0?protocol={version}", site.resp);
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

fn text(value: &Value) -> String {
    match value {
        Value::Nil => NOTHING.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

// === the rules ===

pub(crate) struct Check {
    connection: Connection,
    version: &'static str,
}

/// The order of an array, and the names in a map.
const NAMES: [&str; 7] =
    ["allowed", "limit", "remaining", "retry_after_ms", "reset_after_ms", "rule", "degraded"];

impl Check {
    pub(crate) fn connect<S: BucketStore>(site: &Site<S>, version: &'static str) -> Self {
        Self { connection: connect(site, version), version }
    }

    fn has_maps(&self) -> bool {
        self.version == "resp3"
    }
}

impl Door for Check {
    fn name(&self) -> String {
        format!("check-{}", self.version)
    }

    async fn ask(&mut self, asked: &Asked<'_>) -> Said {
        let mut command = redis::cmd("TIDEGATE.CHECK");
        command.arg(asked.case.domain);
        for (name, value) in asked.entries() {
            command.arg(name).arg(value);
        }
        command.arg("COST").arg(asked.step.cost);
        if asked.step.peek {
            command.arg("PEEK");
        }
        match command.query::<Value>(&mut self.connection).unwrap() {
            Value::Array(items) if !self.has_maps() => {
                assert_eq!(items.len(), 6, "{items:?}");
                NAMES.into_iter().zip(items.iter().map(text)).collect()
            }
            Value::Map(pairs) if self.has_maps() => {
                assert_eq!(pairs.iter().map(|(name, _)| text(name)).collect::<Vec<_>>(), NAMES);
                NAMES.into_iter().zip(pairs.iter().map(|(_, value)| text(value))).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn expected(&self, _asked: &Asked<'_>, decision: &Decision) -> Said {
        let binding = decision.binding();
        let allowed = decision.is_allowed();
        let allowed = if self.has_maps() { allowed.to_string() } else { u8::from(allowed).to_string() };
        let retry_after = decision.retry_after().map(milliseconds);
        let values = [
            allowed,
            or_nothing(binding.map(|binding| binding.quota.limit())),
            or_nothing(binding.map(|binding| binding.gauge.remaining)),
            retry_after.map_or_else(|| "-1".to_owned(), |ms| ms.to_string()),
            or_nothing(binding.map(|binding| milliseconds(binding.gauge.reset_after))),
            or_nothing(binding.map(|binding| binding.rule.name())),
            NOTHING.to_owned(),
        ];
        let count = if self.has_maps() { 7 } else { 6 };
        NAMES.into_iter().zip(values).take(count).collect()
    }
}

// === a quota that comes along ===

pub(crate) struct Throttle {
    connection: Connection,
    command: &'static str,
}

impl Throttle {
    pub(crate) fn connect<S: BucketStore>(site: &Site<S>, command: &'static str) -> Self {
        Self { connection: connect(site, "resp2"), command }
    }

    /// Which numbers a reply consists of.
    fn names(&self) -> [&'static str; 5] {
        match self.command {
            "CL.THROTTLE" => ["limited", "limit", "remaining", "retry_after", "reset_after"],
            _ => ["allowed", "limit", "remaining", "reset_after", "retry_after"],
        }
    }
}

impl Door for Throttle {
    fn name(&self) -> String {
        self.command.to_lowercase()
    }

    async fn ask(&mut self, asked: &Asked<'_>) -> Said {
        let plain = asked.case.plain.unwrap();
        let mut command = redis::cmd(self.command);
        // A quantity of nothing is a look.
        let quantity = if asked.step.peek { 0 } else { asked.step.cost };
        command.arg(asked.who).arg(plain.max_burst).arg(plain.count).arg(plain.period_s).arg(quantity);
        let numbers: Vec<i64> = command.query(&mut self.connection).unwrap();
        assert_eq!(numbers.len(), 5);
        self.names().into_iter().zip(numbers.iter().map(ToString::to_string)).collect()
    }

    fn expected(&self, asked: &Asked<'_>, decision: &Decision) -> Said {
        let binding = decision.binding().unwrap();
        // A look is one at a cost of nothing, which always passes.
        let passes = decision.is_allowed() || asked.step.peek;
        let retry_after = decision.retry_after().filter(|_| !passes).map(seconds);
        let number_of = |name| match name {
            "limited" => u64::from(!passes).to_string(),
            "allowed" => u64::from(passes).to_string(),
            "limit" => binding.quota.burst().to_string(),
            "remaining" => binding.gauge.remaining.to_string(),
            "reset_after" => seconds(binding.gauge.reset_after).to_string(),
            _ => retry_after.map_or_else(|| "-1".to_owned(), |seconds| seconds.to_string()),
        };
        self.names().map(|name| (name, number_of(name))).to_vec()
    }
}
