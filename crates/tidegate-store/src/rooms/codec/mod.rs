//! How rooms and what happens in them are written: bytes that mean the same on every machine.
//!
//! Integers are variable-length (seven bits a byte, the lowest first, the highest bit set where more follow), options a
//! byte 0 or 1 before the value, enumerations a byte of their own, hashes and keys fixed-length with the lowest byte first.
//! What is kept or sent names the version of its format beside.

mod answer;
mod command;
mod event;
mod piece;
mod room;
mod settings;

pub(in crate::rooms) use answer::{get_answer, put_answer};
pub(in crate::rooms) use command::{get_command, get_ticket_of, put_command, put_ticket_of};
pub(in crate::rooms) use event::{get_event, put_event};
pub(in crate::rooms) use piece::{Piece, get_piece, put_end, put_store, put_whole_room};
#[cfg(test)]
pub(in crate::rooms) use piece::{put_room, put_seats, put_tickets};
pub(in crate::rooms) use room::{get_parts, get_seat, get_ticket, put_parts, put_seat, put_ticket};
pub(in crate::rooms) use settings::{get_settings, put_settings};

use tidegate_core::room::draw::Drawn;
use tidegate_core::room::{Identity, Prefix, QueueNumber, RoomName, Visitor};
use tidegate_core::time::{Micros, Timestamp};

/// What does not fit where something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rooms) struct Malformed(pub(in crate::rooms) &'static str);

pub(in crate::rooms) type Read<T> = Result<T, Malformed>;

/// Reads what was put, in the same order, and never beyond its end.
pub(in crate::rooms) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::rooms) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(in crate::rooms) const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(in crate::rooms) fn bytes(&mut self, count: usize) -> Read<&'a [u8]> {
        let (bytes, left) = self.left.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.left = left;
        Ok(bytes)
    }

    pub(in crate::rooms) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (bytes, left) = self.left.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.left = left;
        Ok(*bytes)
    }

    pub(in crate::rooms) fn byte(&mut self) -> Read<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(in crate::rooms) fn integer(&mut self) -> Read<u64> {
        let mut integer = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            integer |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(integer);
            }
        }
        Err(Malformed("an integer is too large"))
    }

    /// An integer of a smaller type.
    pub(in crate::rooms) fn small<T: TryFrom<u64>>(&mut self) -> Read<T> {
        T::try_from(self.integer()?).map_err(|_| Malformed("an integer is too large"))
    }

    pub(in crate::rooms) fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(in crate::rooms) fn option<T>(&mut self, get: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.flag()? { get(self).map(Some) } else { Ok(None) }
    }

    pub(in crate::rooms) fn coded<T: Coded>(&mut self) -> Read<T> {
        T::of(self.byte()?).ok_or(Malformed("an unknown kind"))
    }

    pub(in crate::rooms) fn at(&mut self) -> Read<Timestamp> {
        match self.integer()? {
            micros if micros <= Timestamp::MAX.as_micros() => Ok(Timestamp::from_micros(micros)),
            _ => Err(Malformed("a time after the end of time")),
        }
    }

    pub(in crate::rooms) fn span(&mut self) -> Read<Micros> {
        match self.integer()? {
            micros if micros <= Micros::MAX.as_micros() => Ok(Micros::from_micros(micros)),
            _ => Err(Malformed("a time longer than any")),
        }
    }

    pub(in crate::rooms) fn number(&mut self) -> Read<QueueNumber> {
        match self.integer()? {
            number if number <= QueueNumber::MAX.get() => Ok(QueueNumber::new(number)),
            _ => Err(Malformed("a queue number that cannot be")),
        }
    }

    /// A lease: whole seconds, told from those of `at`.
    pub(in crate::rooms) fn lease(&mut self, at: Timestamp) -> Read<u32> {
        let zigzag = self.integer()?;
        let difference = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        seconds_of(at)
            .checked_add(difference)
            .and_then(|lease| u32::try_from(lease).ok())
            .ok_or(Malformed("a lease that cannot be"))
    }

    pub(in crate::rooms) fn visitor(&mut self) -> Read<Visitor> {
        let known = self.byte()?;
        if known > 3 {
            return Err(Malformed("an unknown kind"));
        }
        let mut visitor = Visitor::default();
        if known & 1 != 0 {
            visitor.identity = Some(Identity::new(u64::from_le_bytes(self.array()?)));
        }
        if known & 2 != 0 {
            visitor.prefix = Some(Prefix::new(u32::from_le_bytes(self.array()?)));
        }
        Ok(visitor)
    }

    pub(in crate::rooms) fn drawn(&mut self) -> Read<Drawn> {
        Ok(Drawn { after: self.integer()?, last: self.integer()?, key: self.array()? })
    }

    pub(in crate::rooms) fn name(&mut self) -> Read<RoomName> {
        let length = self.small()?;
        let text =
            str::from_utf8(self.bytes(length)?).map_err(|_| Malformed("a room's name that cannot be"))?;
        RoomName::new(text).map_err(|_| Malformed("a room's name that cannot be"))
    }
}

/// An enumeration that is written as one byte.
pub(in crate::rooms) trait Coded: Sized {
    fn code(&self) -> u8;
    fn of(code: u8) -> Option<Self>;
}

/// Says which byte means which value.
macro_rules! coded {
    ($type:ty { $($code:literal => $variant:path),+ $(,)? }) => {
        impl $crate::rooms::codec::Coded for $type {
            fn code(&self) -> u8 {
                match self { $($variant => $code),+ }
            }

            fn of(code: u8) -> Option<Self> {
                match code { $($code => Some($variant),)+ _ => None }
            }
        }
    };
}
pub(in crate::rooms) use coded;

pub(in crate::rooms) fn put_integer(out: &mut Vec<u8>, mut integer: u64) {
    while integer >= 0x80 {
        out.push((integer & 0x7f) as u8 | 0x80);
        integer >>= 7;
    }
    out.push(integer as u8);
}

pub(in crate::rooms) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

pub(in crate::rooms) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    put_flag(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

pub(in crate::rooms) fn put_coded(out: &mut Vec<u8>, value: &impl Coded) {
    out.push(value.code());
}

pub(in crate::rooms) fn put_at(out: &mut Vec<u8>, at: Timestamp) {
    put_integer(out, at.as_micros());
}

pub(in crate::rooms) fn put_span(out: &mut Vec<u8>, span: Micros) {
    put_integer(out, span.as_micros());
}

pub(in crate::rooms) fn put_number(out: &mut Vec<u8>, number: QueueNumber) {
    put_integer(out, number.get());
}

pub(in crate::rooms) fn put_lease(out: &mut Vec<u8>, lease: u32, at: Timestamp) {
    let difference = i64::from(lease) - seconds_of(at);
    put_integer(out, ((difference << 1) ^ (difference >> 63)) as u64);
}

pub(in crate::rooms) fn put_visitor(out: &mut Vec<u8>, visitor: Visitor) {
    out.push(u8::from(visitor.identity.is_some()) | u8::from(visitor.prefix.is_some()) << 1);
    if let Some(identity) = visitor.identity {
        out.extend(identity.get().to_le_bytes());
    }
    if let Some(prefix) = visitor.prefix {
        out.extend(prefix.get().to_le_bytes());
    }
}

pub(in crate::rooms) fn put_drawn(out: &mut Vec<u8>, drawn: &Drawn) {
    put_integer(out, drawn.after);
    put_integer(out, drawn.last);
    out.extend(drawn.key);
}

pub(in crate::rooms) fn put_name(out: &mut Vec<u8>, name: &RoomName) {
    put_integer(out, name.as_str().len() as u64);
    out.extend(name.as_str().as_bytes());
}

/// At most 2^53 / 10^6, so it fits.
fn seconds_of(at: Timestamp) -> i64 {
    (at.as_micros() / 1_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        for integer in (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            let mut out = Vec::new();
            put_integer(&mut out, integer);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.integer(), Ok(integer));
            assert!(reader.is_empty());
        }
        assert!(Reader::new(&[0xff; 10]).integer().is_err(), "more than 64 bits");
        assert!(Reader::new(&[0x80]).integer().is_err(), "cut short");
    }

    #[test]
    fn leases_come_back_from_any_time() {
        for at in [0, 1_780_000_000_000_000, Timestamp::MAX.as_micros()].map(Timestamp::from_micros) {
            for lease in [0, 1, 1_780_000_075, u32::MAX] {
                let mut out = Vec::new();
                put_lease(&mut out, lease, at);
                assert_eq!(Reader::new(&out).lease(at), Ok(lease));
            }
        }
    }
}
