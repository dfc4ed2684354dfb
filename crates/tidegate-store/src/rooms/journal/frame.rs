//! Files of frames: each is written in one piece, and found whole or not at all.
//!
//! All fixed-length numbers are little-endian. A file begins with a head of 40 bytes: "TDGROOMS", the version (32 bits), the kind
//! (32 bits: 1 journal, 2 snapshot), the generation, the number of the first record, and a checksum of the 32 bytes before. A
//! frame is a head of 32 bytes and its payload: a mark, the payload's length (32 bits each), the number of the first record
//! in it, a checksum of the payload, and a checksum of the 24 bytes before. Checksums are SipHash-1-3 with a key of 0: they find damage, and
//! keep nobody out.
//!
//! A frame that is not whole at the end of a file is what a crash leaves: nobody was told of it, and it is left
//! out. One with another frame behind it is damage.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Of everything that is written to files.
pub(super) const VERSION: u32 = 1;
pub(super) const FILE_HEAD_BYTES: usize = 40;
const FRAME_HEAD_BYTES: usize = 32;
/// The most bytes of the payload of one frame.
pub(super) const MAX_PAYLOAD_BYTES: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"TDGROOMS";
const MARK: [u8; 4] = [0xf7, b'T', b'R', 0x0a];

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Journal = 1,
    Snapshot = 2,
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) kind: Kind,
    pub(super) generation: u64,
    /// The number of the first record that can be in it.
    pub(super) first_record: u64,
}

impl FileHead {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.kind as u32).to_le_bytes());
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.first_record.to_le_bytes());
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }
}

/// Where a frame's payload begins in a buffer that [`begin`] was called on.
pub(super) const fn payload_of(frame: &[u8]) -> &[u8] {
    frame.split_at(FRAME_HEAD_BYTES).1
}

/// Leaves room for the head of a frame in an empty buffer. The payload is put behind it.
pub(super) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(FRAME_HEAD_BYTES, 0);
}

/// Writes the head, once the payload is there.
pub(super) fn finish(buffer: &mut [u8], first_record: u64) {
    let Some((head, payload)) = buffer.split_first_chunk_mut::<FRAME_HEAD_BYTES>() else { return };
    head[..4].copy_from_slice(&MARK);
    // Below the maximum, so it fits.
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[8..16].copy_from_slice(&first_record.to_le_bytes());
    head[16..24].copy_from_slice(&checksum(payload).to_le_bytes());
    let sum = checksum(&head[..24]);
    head[24..].copy_from_slice(&sum.to_le_bytes());
}

/// A frame that was found whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Where it begins in its file.
    pub(super) offset: usize,
    pub(super) first_record: u64,
    pub(super) payload: &'a [u8],
}

/// What comes next in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next<'a> {
    Frame(Frame<'a>),
    /// Nothing more.
    End,
    /// From here to the end there is no whole frame: something was being written.
    Torn {
        offset: usize,
    },
    /// A frame that is not whole, and whole ones behind it.
    Broken {
        offset: usize,
    },
}

/// Reads the frames of a file.
pub(super) struct Frames<'a> {
    file: &'a [u8],
    offset: usize,
}

impl<'a> Frames<'a> {
    /// Those behind the head of a file.
    pub(super) const fn new(file: &'a [u8]) -> Self {
        Self { file, offset: FILE_HEAD_BYTES }
    }

    pub(super) fn next(&mut self) -> Next<'a> {
        let offset = self.offset;
        match self.file.get(offset..) {
            None | Some([]) => Next::End,
            Some(rest) => match frame_at(rest, offset) {
                Some(frame) => {
                    self.offset += FRAME_HEAD_BYTES + frame.payload.len();
                    Next::Frame(frame)
                }
                None if has_head_behind(rest) => Next::Broken { offset },
                None => Next::Torn { offset },
            },
        }
    }
}

fn frame_at(bytes: &[u8], offset: usize) -> Option<Frame<'_>> {
    let (head, rest) = head_at(bytes)?;
    let payload = rest.get(..head.length)?;
    (checksum(payload) == head.payload_sum).then_some(Frame {
        offset,
        first_record: head.first_record,
        payload,
    })
}

struct FrameHead {
    length: usize,
    first_record: u64,
    payload_sum: u64,
}

fn head_at(bytes: &[u8]) -> Option<(FrameHead, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let [_, first_record, payload_sum, head_sum] = words(head);
    if head[..4] != MARK || checksum(&head[..24]) != head_sum {
        return None;
    }
    let length = usize::try_from(u32::from_le_bytes([head[4], head[5], head[6], head[7]])).ok()?;
    (length <= MAX_PAYLOAD_BYTES).then_some((FrameHead { length, first_record, payload_sum }, rest))
}

/// Whether the head of a frame follows anywhere after the first byte. The next frame is written only once this one is kept, so
/// this one was damaged later.
fn has_head_behind(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|start| bytes[start] == MARK[0] && head_at(&bytes[start..]).is_some())
}

/// Why a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    /// It ends within its head.
    Short,
    /// It is something else.
    Foreign,
    /// Another version wrote it.
    Version(u32),
    /// Its head was changed.
    Damaged,
}

/// Reads the head of a file.
pub(super) fn file_head(file: &[u8], kind: Kind) -> Result<FileHead, BadHead> {
    let (head, _) = file.split_first_chunk::<FILE_HEAD_BYTES>().ok_or(BadHead::Short)?;
    let [_, version_and_kind, generation, first_record, sum] = words(head);
    let (version, found) = (version_and_kind as u32, (version_and_kind >> 32) as u32);
    if head[..8] != MAGIC {
        return Err(BadHead::Foreign);
    }
    if version != VERSION {
        return Err(BadHead::Version(version));
    }
    if checksum(&head[..32]) != sum || found != kind as u32 {
        return Err(BadHead::Damaged);
    }
    Ok(FileHead { kind, generation, first_record })
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    let words = bytes.as_chunks::<8>().0;
    core::array::from_fn(|index| words.get(index).copied().map_or(0, u64::from_le_bytes))
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}
