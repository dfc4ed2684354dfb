//! Whether a server that was started again, or took over, can have lost what it had answered for.

use std::str::from_utf8;

use redis::{Value, cmd};
use tokio::time::Instant;

use super::Shared;
use super::keys::KeysOfRoom;
use crate::link::Refusal;

impl Shared {
    /// Whether the room's server may have lost entries when its present run began: not where every write is on its disk before it is
    /// answered, and it is no former replica. Where it will not say, it may have.
    pub(super) async fn forgets(&self, keys: &KeysOfRoom) -> bool {
        let route = keys.short();
        let replies = self.router.command(&route, Instant::now() + self.deadline, |_| {
            let (mut replication, mut persistence, mut config) = (cmd("INFO"), cmd("INFO"), cmd("CONFIG"));
            replication.arg("replication");
            persistence.arg("persistence");
            config.arg("GET").arg("appendfsync");
            vec![replication, persistence, config]
        });
        !replies.await.is_ok_and(|replies| keeps_all(&replies))
    }
}

/// What the server says to the three questions.
fn keeps_all(replies: &[Result<Value, Refusal>]) -> bool {
    let [Ok(Value::BulkString(replication)), Ok(Value::BulkString(persistence)), Ok(Value::Array(config))] =
        replies
    else {
        return false;
    };
    // A replica that was promoted keeps the name of the history it followed; any other server has none here.
    let never_followed =
        field(replication, "master_replid2").is_some_and(|id| id.bytes().all(|byte| byte == b'0'));
    let on_disk = field(persistence, "aof_enabled") == Some("1");
    let at_once = matches!(config.as_slice(), [_, Value::BulkString(value)] if value == b"always");
    never_followed && on_disk && at_once
}

fn field<'a>(info: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = from_utf8(info).ok()?.lines();
    lines
        .filter_map(|line| line.trim_end().split_once(':'))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(replid2: &str, aof: &str, fsync: &str) -> Vec<Result<Value, Refusal>> {
        let bulk = |text: &str| Value::BulkString(text.into());
        vec![
            Ok(bulk(&format!("# Replication\r\nrole:master\r\nmaster_replid2:{replid2}\r\n"))),
            Ok(bulk(&format!("# Persistence\r\naof_enabled:{aof}\r\n"))),
            Ok(Value::Array(vec![bulk("appendfsync"), bulk(fsync)])),
        ]
    }

    #[test]
    fn only_a_server_that_answers_for_its_disk_keeps_all() {
        let zeros = "0".repeat(40);
        assert!(keeps_all(&replies(&zeros, "1", "always")));
        assert!(!keeps_all(&replies(&zeros, "1", "everysec")));
        assert!(!keeps_all(&replies(&zeros, "0", "always")));
        assert!(!keeps_all(&replies(&"1b".repeat(20), "1", "always")), "it was a replica");
        let mut forbidden = replies(&zeros, "1", "always");
        forbidden[2] = Err(Refusal::NoPerm("NOPERM".into()));
        assert!(!keeps_all(&forbidden));
        assert!(!keeps_all(&[]));
    }
}
