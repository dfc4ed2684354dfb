//! Any bytes are read as commands or refused, at the same places however they are torn; what was read keeps every maximum,
//! reads the same when it is written out again, and is carried out or refused with one line.

use tidegate_wire::identity::Ipv6Prefix;
use tidegate_wire::resp::command::{self, Command};
use tidegate_wire::resp::frame::{self, Arguments, Progress};
use tidegate_wire::resp::{MAX_ARGUMENTS, MAX_FRAME_BYTES, reply};

/// The longest error, in bytes.
const MAX_ERROR_BYTES: usize = 512;
/// As many pieces are tried where a stream is too long to be torn at every byte.
const PIECES: usize = 64;

/// The commands of a stream, and whether it was refused at the end.
type Stream = (Vec<Vec<Vec<u8>>>, bool);

pub(crate) fn holds(data: &[u8]) {
    let whole = read_in_pieces(data, data.len().max(1));
    for piece in [1, 2, 7, data.len().div_ceil(PIECES).max(1)] {
        if data.len() / piece <= 4_096 {
            assert_eq!(whole, read_in_pieces(data, piece), "in pieces of {piece}");
        }
    }
    for command in &whole.0 {
        assert!((1..=MAX_ARGUMENTS).contains(&command.len()));
        assert!(command.iter().map(Vec::len).sum::<usize>() <= MAX_FRAME_BYTES);
        let mut written = Vec::new();
        reply::array(&mut written, command.len());
        command.iter().for_each(|argument| reply::bulk(&mut written, argument));
        if written.len() <= MAX_FRAME_BYTES {
            assert_eq!(read_in_pieces(&written, written.len()), (vec![command.clone()], false));
        }
        carried_out(command);
    }
}

/// Reads as a connection does: what is left of one piece is looked at again when enough of the next has come.
fn read_in_pieces(data: &[u8], piece: usize) -> Stream {
    let (mut commands, mut buffer, mut wanted) = (Vec::new(), Vec::new(), 1);
    for piece in data.chunks(piece) {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        while buffer.len() - at >= wanted {
            let mut arguments = Arguments::new();
            match frame::read(buffer.get(at..).unwrap_or_default(), &mut arguments) {
                Err(_) => return (commands, true),
                Ok(Progress::Partial { bytes }) => {
                    assert!(bytes > buffer.len() - at && bytes <= MAX_FRAME_BYTES);
                    wanted = bytes;
                }
                Ok(Progress::Whole { bytes }) => {
                    assert!(bytes >= 1 && bytes <= buffer.len() - at);
                    if !arguments.is_empty() {
                        commands.push(arguments.iter().map(|argument| argument.to_vec()).collect());
                    }
                    (at, wanted) = (at + bytes, 1);
                }
            }
        }
        buffer.drain(..at);
    }
    (commands, false)
}

fn carried_out(command: &[Vec<u8>]) {
    let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    match command::parse(&arguments, Ipv6Prefix::default()) {
        Ok(Command::Throttle(throttle)) => {
            assert!(throttle.quota.burst() >= 1 && throttle.quota.limit() >= 1);
        }
        Ok(_) => {}
        Err(error) => {
            let mut out = Vec::new();
            reply::error(&mut out, error.text());
            let lines = out.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
            assert!(out.len() <= MAX_ERROR_BYTES && lines == 2, "{error}");
        }
    }
}
