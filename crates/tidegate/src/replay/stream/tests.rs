//! Whole logs through the stream: formats, damage, order, several logs.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::record::Field;
use super::*;

const MINUTE_S: u64 = 60;
/// 2015-05-17T10:00:00Z
const START_S: u64 = 1_431_856_800;

fn combined(second: u64, path: &str) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(
        "192.0.2.1 - - [17/May/2015:{:02}:{:02}:{second:02} +0000] \"GET {path} HTTP/1.1\" 200 1 \"-\" \"curl\"\n",
        10 + minute / 60,
        minute % 60
    )
}

fn input(name: &str, bytes: &[u8]) -> LogInput {
    LogInput::from_reader(name, Box::new(Cursor::new(bytes.to_vec())), Some(bytes.len() as u64)).unwrap()
}

fn stream(logs: &[&[u8]]) -> LogStream {
    let inputs = logs.iter().zip(1..).map(|(log, number)| input(&format!("{number}.log"), log)).collect();
    LogStream::new(inputs, &ReadOptions::default()).unwrap()
}

fn records(stream: &mut LogStream) -> Vec<(u64, String)> {
    let records: Vec<LogRecord> = stream.collect::<Result<_, _>>().unwrap();
    assert!(records.is_sorted_by_key(|record| record.at_us), "time went back");
    let show = |record: LogRecord| {
        (record.at_us / 1_000_000 - START_S, record.get(Field::Path).unwrap_or("none").to_owned())
    };
    records.into_iter().map(show).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn one_log_with_everything_wrong() {
    let mut log = combined(5, "/a").into_bytes();
    log.extend(b"Server started\n\n");
    log.extend(combined(3, "/b").into_bytes());
    log.extend("x".repeat(200_000).as_bytes());
    log.extend(b"\n");
    log.extend(combined(200, "/c").into_bytes());
    log.extend(combined(4, "/late").into_bytes());
    let torn = combined(201, "/torn");
    log.extend(&torn.as_bytes()[..torn.find("HTTP").unwrap()]);
    let mut stream = stream(&[&log]);
    let found = records(&mut stream);
    let wanted = [(3, "/b"), (5, "/a"), (5, "/late"), (200, "/c")].map(|(at, path)| (at, path.to_owned()));
    assert_eq!(found, wanted);
    let stats = stream.stats();
    assert_eq!((stats.lines, stats.blank, stats.unreadable, stats.late), (8, 1, 3, 1));
    let shown: Vec<_> = stats.first_unreadable.iter().map(|line| (line.file.as_str(), line.line)).collect();
    assert_eq!(shown, [("1.log", 2), ("1.log", 5), ("1.log", 8)]);
    assert!(stats.first_unreadable[1].reason.contains("65536"), "{:?}", stats.first_unreadable);
    assert_eq!(stream.total_bytes(), Some(stream.bytes_read()));
}

#[test]
fn logs_of_several_formats_are_merged_by_time() {
    let web1: String = (0..300).map(|second| combined(second * 2, "/1")).collect();
    let web2: String =
        (0..300).map(|second| format!("{{\"ts\":{},\"path\":\"/2\"}}\n", START_S + second * 2 + 1)).collect();
    let (compressed, later) = (gzip(&web1), combined(20 * MINUTE_S, "/3"));
    let mut stream = stream(&[later.as_bytes(), &compressed, web2.as_bytes()]);
    let found = records(&mut stream);
    let mut wanted: Vec<(u64, String)> =
        (0..600).map(|second| (second, if second % 2 == 0 { "/1" } else { "/2" }.to_owned())).collect();
    wanted.push((20 * MINUTE_S, "/3".to_owned()));
    assert_eq!(found, wanted);
    assert_eq!((stream.stats().lines, stream.stats().late, stream.stats().files), (601, 0, 3));
}

#[test]
fn equal_times_keep_the_order_of_the_file() {
    let log: String = (0..200).map(|number| combined(number / 50, &format!("/{number}"))).collect();
    let found = records(&mut stream(&[log.as_bytes()]));
    let wanted: Vec<_> = (0..200).map(|number| (number / 50, format!("/{number}"))).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_cut_gzip_counts_as_far_as_it_goes() {
    let log: String =
        (0..30_000).map(|number| combined(number / 10, &format!("/{}", number * 7919 % 10_007))).collect();
    let whole = gzip(&log);
    let mut stream = stream(&[&whole[..whole.len() - 500], combined(7, "/other").as_bytes()]);
    let found = records(&mut stream);
    assert!((20_000..30_000).contains(&found.len()), "{}", found.len());
    assert_eq!(stream.stats().damaged.len(), 1);
    assert_eq!(stream.stats().damaged[0].file, "1.log");
    // Damage within the lines that decide the format is noted once, too.
    let short = gzip(&combined(1, "/a").repeat(3));
    let mut short_stream = self::stream(&[&short[..short.len() - 6]]);
    assert_eq!(records(&mut short_stream).len(), 3);
    assert_eq!(short_stream.stats().damaged.len(), 1);
}

#[test]
fn empty_logs_and_unknown_formats() {
    let mut empty = stream(&[b"", b"\n\n"]);
    assert_eq!(records(&mut empty), []);
    assert_eq!((empty.stats().lines, empty.stats().blank), (2, 2));
    let error = stream(&[b"hello\nworld\n"]).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("1.log") && error.contains("--log-format"), "{error}");
    // A format that was named is believed: the lines are counted as unreadable.
    let options = ReadOptions { format: LogFormat::Combined, ..ReadOptions::default() };
    let mut named = LogStream::new(vec![input("a", b"hello\nworld\n")], &options).unwrap();
    assert_eq!(records(&mut named), []);
    assert_eq!(named.stats().unreadable, 2);
}

#[test]
fn only_the_first_unreadable_lines_are_kept() {
    let log = combined(1, "/a") + &"garbage\n".repeat(10_000);
    let mut stream = stream(&[log.as_bytes()]);
    assert_eq!(records(&mut stream).len(), 1);
    assert_eq!((stream.stats().unreadable, stream.stats().first_unreadable.len()), (10_000, 5));
}

#[test]
fn which_logs_may_be_named() {
    let open = |paths: Vec<PathBuf>| LogStream::open(&paths, &ReadOptions::default()).err();
    assert!(matches!(open(vec![]), Some(ReplayError::NoLogs)));
    assert!(matches!(open(vec!["-".into(), "-".into()]), Some(ReplayError::StdinTwice)));
    assert!(matches!(open(vec!["a".into(); 257]), Some(ReplayError::TooManyLogs { count: 257 })));
    assert!(matches!(open(vec!["no/such/file".into()]), Some(ReplayError::Open { .. })));
}

#[test]
fn a_pipe_has_no_total() {
    let pipe = LogInput::from_reader("-", Box::new(Cursor::new(Vec::new())), None).unwrap();
    let stream = LogStream::new(vec![input("a", b""), pipe], &ReadOptions::default()).unwrap();
    assert_eq!(stream.total_bytes(), None);
}
