//! Any bytes can be replayed as an access log, whatever format they are read as: every line is counted once, records
//! never go back in time, and no entry of a record stands twice.

use std::io::Cursor;

use tidegate::replay::{FieldMap, LogFormat, LogInput, LogStream, ReadOptions, ReplayError};

/// The latest time that is taken from a log, in microseconds since the epoch.
const MAX_AT_US: u64 = (1 << 53) - 1;
/// The longest reason why a line is unreadable, in bytes.
const MAX_REASON_BYTES: usize = 512;
/// The horizon of logs whose lines are out of order, in microseconds; with 0 every earlier line is late.
const HORIZONS_US: [u64; 2] = [0, 60_000_000];

pub(crate) fn holds(data: &[u8]) {
    // Which horizon hardly depends on the lines, so that both are tried with all kinds of them.
    let horizon_us = HORIZONS_US[data.len() % HORIZONS_US.len()];
    for (format, mapping) in [
        (LogFormat::Auto, "user_id=auth.user.id"),
        (LogFormat::Combined, "user_id=user"),
        (LogFormat::Json, "time=event.at"),
    ] {
        let mut fields = FieldMap::default();
        let added = fields.add(mapping);
        assert!(added.is_ok(), "{added:?}");
        fields.offer("team");
        let options = ReadOptions { format, fields, horizon_us };
        replay(&[data], &options);
        if format == LogFormat::Json {
            replay(&halves(data), &options);
        }
    }
}

/// The same lines as the logs of two servers.
fn halves(data: &[u8]) -> [&[u8]; 2] {
    let middle = data.len() / 2;
    let line_end = data.iter().skip(middle).position(|byte| *byte == b'\n');
    let (first, second) = data.split_at(line_end.map_or(data.len(), |end| middle + end + 1));
    [first, second]
}

fn replay(logs: &[&[u8]], options: &ReadOptions) {
    let open = |log: &&[u8]| LogInput::from_reader("access.log", Box::new(Cursor::new(log.to_vec())), None);
    let opened: Result<Vec<LogInput>, ReplayError> = logs.iter().map(open).collect();
    let stream = opened.and_then(|inputs| LogStream::new(inputs, options));
    let Ok(mut stream) = stream else { unreachable!("bytes in memory can be opened") };
    let (mut records, mut latest) = (0_u64, 0);
    for record in &mut stream {
        let record = match record {
            Ok(record) => record,
            Err(ReplayError::UnknownFormat { .. } | ReplayError::FieldNotInFormat { .. }) => return,
            Err(error) => unreachable!("bytes in memory can be read: {error}"),
        };
        assert!((latest..=MAX_AT_US).contains(&record.at_us), "{} comes after {latest}", record.at_us);
        (records, latest) = (records + 1, record.at_us);
        let mut names: Vec<&str> = record.entries().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "an entry stands twice");
        assert!(record.entries().all(|(name, value)| record.entry(name) == Some(value)));
    }
    let stats = stream.stats();
    assert_eq!(stats.lines, records + stats.blank + stats.unreadable, "{stats:?}");
    assert!(stats.late <= records, "{stats:?}");
    for line in &stats.first_unreadable {
        assert!((1..=stats.lines).contains(&line.line) && line.reason.len() <= MAX_REASON_BYTES, "{line:?}");
    }
}
