//! Lines of every shape, plain and gzip.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn input(bytes: &[u8]) -> LogInput {
    LogInput::from_reader("test", Box::new(io::Cursor::new(bytes.to_vec())), None).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines(mut input: LogInput) -> Vec<Option<Vec<u8>>> {
    let mut lines = Vec::new();
    while let Some(line) = input.next_line().unwrap() {
        lines.push(match line {
            RawLine::Text(text) => Some(text.to_vec()),
            RawLine::TooLong => None,
        });
    }
    assert_eq!(input.line_number(), lines.len() as u64);
    lines
}

fn texts(expected: &[&str]) -> Vec<Option<Vec<u8>>> {
    expected.iter().map(|line| Some(line.as_bytes().to_vec())).collect()
}

#[test]
fn line_ends_and_their_absence() {
    assert_eq!(lines(input(b"")), texts(&[]));
    assert_eq!(lines(input(b"a")), texts(&["a"]));
    assert_eq!(lines(input(b"a\nb\r\n\nc")), texts(&["a", "b", "", "c"]));
    assert_eq!(lines(input(b"\xef\xbb\xbfa\n\xef\xbb\xbfb")), texts(&["a", "\u{feff}b"]));
    assert_eq!(lines(input(b"\n")), texts(&[""]));
}

#[test]
fn the_longest_line_and_one_byte_more() {
    let longest = "x".repeat(MAX_LINE_BYTES);
    for end in ["\n", "\r\n"] {
        let text = format!("{longest}{end}b{end}");
        assert_eq!(lines(input(text.as_bytes())), texts(&[&longest, "b"]));
        let text = format!("a{end}{longest}x{end}b");
        let found = lines(input(text.as_bytes()));
        assert_eq!(found, [Some(b"a".to_vec()), None, Some(b"b".to_vec())]);
    }
    assert_eq!(lines(input(longest.as_bytes())), texts(&[&longest]));
    assert_eq!(lines(input(format!("{longest}x").as_bytes())), [None]);
    for more in [2, 3, MAX_LINE_BYTES, 5 * MAX_LINE_BYTES + 1] {
        let text = format!("{longest}{}\nb", "x".repeat(more));
        assert_eq!(lines(input(text.as_bytes())), [None, Some(b"b".to_vec())], "{more}");
    }
}

/// A line without end must not be kept: its length is the attacker's choice.
#[test]
fn a_huge_line_is_not_buffered() {
    let huge = io::repeat(b'x').take(64 * 1024 * 1024).chain(io::Cursor::new(b"\nb"));
    let mut input = LogInput::from_reader("test", Box::new(huge), None).unwrap();
    assert_eq!(input.next_line().unwrap(), Some(RawLine::TooLong));
    assert_eq!(input.next_line().unwrap(), Some(RawLine::Text(b"b")));
    assert!(input.buffer.capacity() <= 4 * MAX_LINE_BYTES, "{}", input.buffer.capacity());
}

#[test]
fn gzip_in_several_members() {
    let mut bytes = gzip(b"a\nb");
    bytes.extend(gzip(b"c\nd\n"));
    let total = bytes.len() as u64;
    let mut input = input(&bytes);
    while input.next_line().unwrap().is_some() {}
    assert_eq!(input.bytes_read(), total, "counted before decompression");
    assert_eq!(lines(self::input(&bytes)), texts(&["a", "bc", "d"]));
    assert_eq!(lines(self::input(&gzip(b""))), texts(&[]));
}

#[test]
fn a_cut_gzip_gives_its_lines_and_then_the_damage() {
    let text: String =
        (0..20_000).map(|number| format!("line {number} {}\n", number * 7919 % 10_007)).collect();
    let whole = gzip(text.as_bytes());
    let mut input = input(&whole[..whole.len() / 2]);
    let fault = loop {
        match input.next_line() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the cut was not noticed"),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(fault, ReadFault::Damaged(_)), "{fault:?}");
    assert!(input.line_number() > 1_000);
}

#[test]
fn two_bytes_are_enough_to_tell_and_fewer_are_no_gzip() {
    assert_eq!(lines(input(b"\x1f")), [Some(b"\x1f".to_vec())]);
    let mut damaged = input(b"\x1f\x8b");
    assert!(matches!(damaged.next_line(), Err(ReadFault::Damaged(_))));
}

/// A pipe may give its bytes one by one.
#[test]
fn a_slow_reader() {
    struct Slow(io::Cursor<Vec<u8>>);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    for bytes in [b"a\nb\n".to_vec(), gzip(b"a\nb\n")] {
        let slow = Slow(io::Cursor::new(bytes));
        let input = LogInput::from_reader("test", Box::new(slow), None).unwrap();
        assert_eq!(lines(input), texts(&["a", "b"]));
    }
}

#[test]
fn a_fault_of_the_system_is_no_damage() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let half = io::Cursor::new(b"a\nb".to_vec()).chain(Broken);
    let mut input = LogInput::from_reader("test", Box::new(half), None).unwrap();
    assert!(matches!(input.next_line(), Ok(Some(RawLine::Text(b"a"))) | Err(ReadFault::Io(_))));
    assert!(matches!(input.next_line(), Err(ReadFault::Io(_))));
    assert!(matches!(LogInput::from_reader("x", Box::new(Broken), None), Err(ReplayError::Read { .. })));
}

#[test]
fn paths_that_cannot_be_read() {
    let missing = LogInput::open(Path::new("does/not/exist.log"));
    assert!(matches!(missing, Err(ReplayError::Open { .. })));
    let directory = LogInput::open(Path::new("."));
    assert!(matches!(directory, Err(ReplayError::Directory { .. })));
}
