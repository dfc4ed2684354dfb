//! What the door says of itself.

use tidegate_wire::resp::command::{COMMANDS, Table};
use tidegate_wire::resp::reply::{self, Version};

/// `COMMAND …`.
pub(super) fn write(wanted: &Table<'_>, version: Version, out: &mut Vec<u8>) {
    match wanted {
        Table::All => {
            reply::array(out, COMMANDS.len());
            COMMANDS.iter().for_each(|command| write_command(command, out));
        }
        Table::Count => reply::integer(out, i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX)),
        Table::Docs => reply::map(out, 0, version),
        Table::Info(names) => {
            reply::array(out, names.len());
            for name in names {
                match COMMANDS.iter().find(|(known, ..)| name.eq_ignore_ascii_case(known.as_bytes())) {
                    Some(command) => write_command(command, out),
                    None => reply::null(out, version),
                }
            }
        }
    }
}

/// Name, arity, flags, first and last key and the step between, as before Redis 7.
fn write_command((name, arity, flags, has_key): &(&str, i64, &str, bool), out: &mut Vec<u8>) {
    reply::array(out, 6);
    reply::bulk(out, name.as_bytes());
    reply::integer(out, *arity);
    reply::array(out, 1);
    reply::status(out, flags);
    for _ in 0..3 {
        reply::integer(out, i64::from(*has_key));
    }
}

/// `INFO`: what clients look at before they go on.
pub(super) fn write_info(out: &mut Vec<u8>) {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "# Server\r\ntidegate_version:{version}\r\nredis_mode:standalone\r\n\r\n\
         # Persistence\r\nloading:0\r\n\r\n\
         # Replication\r\nrole:master\r\n"
    );
    reply::bulk(out, text.as_bytes());
}

/// `HELLO`.
pub(super) fn write_hello(version: Version, id: u64, out: &mut Vec<u8>) {
    reply::map(out, 7, version);
    let mut text = |name: &str, value: &str| {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    };
    text("server", "tidegate");
    text("version", env!("CARGO_PKG_VERSION"));
    text("mode", "standalone");
    text("role", "master");
    reply::bulk(out, b"proto");
    reply::integer(out, version.number());
    reply::bulk(out, b"id");
    reply::integer(out, i64::try_from(id).unwrap_or(i64::MAX));
    reply::bulk(out, b"modules");
    reply::array(out, 0);
}
