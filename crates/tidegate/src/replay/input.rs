//! Lines from a file or standard input, plain or gzip, with bounded length and counted bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::error::ReplayError;

#[cfg(test)]
mod tests;

/// The longest line that is read, in bytes without its end. Apache's and nginx's own request limits keep
/// real lines far below it.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

const READ_BUFFER_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

/// One log being read.
pub struct LogInput {
    name: String,
    reader: BufReader<Box<dyn Read + Send>>,
    bytes_read: Arc<AtomicU64>,
    total_bytes: Option<u64>,
    line_number: u64,
    compressed: bool,
    buffer: Vec<u8>,
}

/// What stood on a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RawLine<'a> {
    /// Its bytes without the line end.
    Text(&'a [u8]),
    /// It was longer than [`MAX_LINE_BYTES`] and has been skipped.
    TooLong,
}

/// How reading stopped short.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// The gzip stream is cut or damaged: what came before it is good.
    Damaged(io::Error),
    /// The system could not read on.
    Io(io::Error),
}

impl LogInput {
    /// Opens a log; the path `-` is standard input. Gzip is recognised by its first bytes, not by the name.
    ///
    /// # Errors
    /// [`ReplayError::Open`], [`ReplayError::Directory`], or [`ReplayError::Read`] if its first bytes cannot
    /// be read.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        if path.as_os_str() == "-" {
            return Self::from_reader("standard input", Box::new(io::stdin()), None);
        }
        let name = path.display().to_string();
        let open_error = |source| ReplayError::Open { file: path.display().to_string(), source };
        let file = File::open(path).map_err(open_error)?;
        let metadata = file.metadata().map_err(open_error)?;
        if metadata.is_dir() {
            return Err(ReplayError::Directory { file: name });
        }
        let total_bytes = metadata.is_file().then_some(metadata.len());
        Self::from_reader(&name, Box::new(file), total_bytes)
    }

    /// Reads a log from any reader. `total_bytes` is the size before decompression, where known.
    ///
    /// # Errors
    /// [`ReplayError::Read`] if the first bytes cannot be read.
    pub fn from_reader(
        name: &str,
        reader: Box<dyn Read + Send>,
        total_bytes: Option<u64>,
    ) -> Result<Self, ReplayError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut counted = Counted { inner: reader, bytes_read: Arc::clone(&bytes_read) };
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        (&mut counted)
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(|source| ReplayError::Read { file: name.to_owned(), line: 0, source })?;
        let compressed = head == GZIP_MAGIC;
        let whole = BufReader::with_capacity(READ_BUFFER_BYTES, io::Cursor::new(head).chain(counted));
        let plain: Box<dyn Read + Send> =
            if compressed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok(Self {
            name: name.to_owned(),
            reader: BufReader::with_capacity(READ_BUFFER_BYTES, plain),
            bytes_read,
            total_bytes,
            line_number: 0,
            compressed,
            buffer: Vec::new(),
        })
    }

    /// The path as given, or `standard input`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes taken from the file so far, before decompression.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The file's size before decompression; `None` for a pipe.
    #[must_use]
    pub const fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// The number of the line read last, from 1.
    #[must_use]
    pub const fn line_number(&self) -> u64 {
        self.line_number
    }

    /// The next line, or `None` at the end. A last line without a line end is a line.
    pub(super) fn next_line(&mut self) -> Result<Option<RawLine<'_>>, ReadFault> {
        self.buffer.clear();
        if self.read_part()? == 0 {
            return Ok(None);
        }
        self.line_number += 1;
        if self.buffer.last() != Some(&b'\n') && self.buffer.len() > MAX_LINE_BYTES + 1 {
            self.skip_line()?;
            return Ok(Some(RawLine::TooLong));
        }
        let mut line = self.buffer.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.line_number == 1 {
            line = line.strip_prefix(UTF8_BOM).unwrap_or(line);
        }
        Ok(Some(if line.len() > MAX_LINE_BYTES { RawLine::TooLong } else { RawLine::Text(line) }))
    }

    fn skip_line(&mut self) -> Result<(), ReadFault> {
        loop {
            self.buffer.clear();
            if self.read_part()? == 0 || self.buffer.last() == Some(&b'\n') {
                return Ok(());
            }
        }
    }

    /// Reads up to a line end, or the longest line with `\r\n` at most.
    fn read_part(&mut self) -> Result<usize, ReadFault> {
        let limit = MAX_LINE_BYTES as u64 + 2;
        let compressed = self.compressed;
        (&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer).map_err(|source| {
            use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
            match source.kind() {
                InvalidData | InvalidInput | UnexpectedEof if compressed => ReadFault::Damaged(source),
                _ => ReadFault::Io(source),
            }
        })
    }
}

/// Counts what passes, for the progress bar.
struct Counted<R> {
    inner: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
