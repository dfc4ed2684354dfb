//! All logs of a run as one stream of records in the order of time.
//!
//! Logs are merged by time, so rotated files may be named in any order and the logs of several servers
//! replay as the one crowd that they were.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::PathBuf;

use serde::Serialize;

use super::error::{ReplayError, Unreadable};
use super::format::{self, FieldMap, LogFormat, LogParser};
use super::input::{LogInput, RawLine, ReadFault};
use super::order::{HORIZON_US, MAX_HELD_LINES, ReorderBuffer};
use super::record::LogRecord;

#[cfg(test)]
mod tests;

/// The most logs of one run: all are open at once.
pub const MAX_LOG_FILES: usize = 256;

/// How many lines of each log decide its format.
const DETECT_LINES: usize = 50;

/// How many unreadable lines are kept to be shown.
const MAX_SHOWN_UNREADABLE: usize = 5;

/// Few lines per log would make a log of a busy server late where many logs share the buffer.
const MIN_HELD_LINES: usize = 1_000;

/// How to read the logs.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The format of all logs, or each its own by [`LogFormat::Auto`].
    pub format: LogFormat,
    /// Where entries come from beyond the usual names.
    pub fields: FieldMap,
    /// How far lines may be out of order, in microseconds; [`HORIZON_US`] by default.
    pub horizon_us: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { format: LogFormat::Auto, fields: FieldMap::default(), horizon_us: HORIZON_US }
    }
}

/// What was read so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReadStats {
    /// How many logs there are.
    pub files: usize,
    /// Lines read, of any kind.
    pub lines: u64,
    /// Lines with nothing on them.
    pub blank: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// Lines that came too late for their time and were replayed at a later one.
    pub late: u64,
    /// The first unreadable lines.
    pub first_unreadable: Vec<UnreadableLine>,
    /// Logs that were read only in part.
    pub damaged: Vec<DamagedFile>,
}

/// An unreadable line.
#[derive(Debug, Clone, Serialize)]
pub struct UnreadableLine {
    /// The log.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A gzip file that is cut or damaged; what came before the damage was replayed.
#[derive(Debug, Clone, Serialize)]
pub struct DamagedFile {
    /// The log.
    pub file: String,
    /// Lines read before the damage.
    pub lines: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Records of all logs by time. An iterator: [`LogRecord::at_us`] never goes back.
pub struct LogStream {
    logs: Vec<Log>,
    options: ReadOptions,
    /// (time, log) of each log's waiting record; `None` until the first record is asked for.
    heads: Option<BinaryHeap<Reverse<(u64, usize)>>>,
    stats: ReadStats,
}

struct Log {
    input: LogInput,
    parser: Option<LogParser>,
    /// Lines read to find the format, still to be parsed; `None` is one that was too long.
    sample: VecDeque<(u64, Option<Vec<u8>>)>,
    held: ReorderBuffer<LogRecord>,
    head: Option<LogRecord>,
    /// Nothing more comes from the input; the sample may still hold lines.
    input_ended: bool,
    /// Every line has been parsed; the buffer may still hold records.
    at_end: bool,
}

impl LogStream {
    /// Opens the logs; `-` is standard input.
    ///
    /// # Errors
    /// [`ReplayError::NoLogs`], [`ReplayError::TooManyLogs`], [`ReplayError::StdinTwice`] and those of
    /// [`LogInput::open`].
    pub fn open(paths: &[PathBuf], options: &ReadOptions) -> Result<Self, ReplayError> {
        check_count(paths.len())?;
        if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            return Err(ReplayError::StdinTwice);
        }
        let inputs = paths.iter().map(|path| LogInput::open(path)).collect::<Result<_, _>>()?;
        Self::new(inputs, options)
    }

    /// Reads logs that are open already.
    ///
    /// # Errors
    /// [`ReplayError::NoLogs`] and [`ReplayError::TooManyLogs`].
    pub fn new(inputs: Vec<LogInput>, options: &ReadOptions) -> Result<Self, ReplayError> {
        check_count(inputs.len())?;
        let max_held = (MAX_HELD_LINES / inputs.len()).max(MIN_HELD_LINES);
        let stats = ReadStats { files: inputs.len(), ..ReadStats::default() };
        let log = |input| Log {
            input,
            parser: None,
            sample: VecDeque::new(),
            held: ReorderBuffer::new(options.horizon_us, max_held),
            head: None,
            input_ended: false,
            at_end: false,
        };
        let logs = inputs.into_iter().map(log).collect();
        Ok(Self { logs, options: options.clone(), heads: None, stats })
    }

    /// What was read so far.
    #[must_use]
    pub const fn stats(&self) -> &ReadStats {
        &self.stats
    }

    /// Bytes read so far, before decompression.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.logs.iter().map(|log| log.input.bytes_read()).sum()
    }

    /// The size of all logs before decompression; `None` if one is a pipe.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.logs.iter().map(|log| log.input.total_bytes()).sum()
    }

    fn next_record(&mut self) -> Result<Option<LogRecord>, ReplayError> {
        let mut heads = match self.heads.take() {
            Some(heads) => heads,
            None => {
                let mut heads = BinaryHeap::with_capacity(self.logs.len());
                for (index, log) in self.logs.iter_mut().enumerate() {
                    heads.extend(log.advance(&self.options, &mut self.stats)?.map(|at| Reverse((at, index))));
                }
                heads
            }
        };
        let record = match heads.pop() {
            None => None,
            Some(Reverse((_, index))) => {
                let log = &mut self.logs[index];
                let record = log.head.take();
                heads.extend(log.advance(&self.options, &mut self.stats)?.map(|at| Reverse((at, index))));
                record
            }
        };
        self.heads = Some(heads);
        Ok(record)
    }
}

impl Iterator for LogStream {
    type Item = Result<LogRecord, ReplayError>;

    /// The next record. After an error the stream cannot be read on.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

const fn check_count(count: usize) -> Result<(), ReplayError> {
    match count {
        0 => Err(ReplayError::NoLogs),
        1..=MAX_LOG_FILES => Ok(()),
        _ => Err(ReplayError::TooManyLogs { count }),
    }
}

impl Log {
    /// Fills the head with the next record and returns its time; `None` at the end.
    fn advance(&mut self, options: &ReadOptions, stats: &mut ReadStats) -> Result<Option<u64>, ReplayError> {
        loop {
            let next = if self.at_end { self.held.pop() } else { self.held.pop_ready() };
            if let Some((at_us, mut record)) = next {
                record.at_us = at_us;
                self.head = Some(record);
                return Ok(Some(at_us));
            }
            if self.at_end {
                return Ok(None);
            }
            if self.parser.is_none() {
                self.choose_parser(options, stats)?;
            }
            self.read_line(stats)?;
        }
    }

    fn choose_parser(&mut self, options: &ReadOptions, stats: &mut ReadStats) -> Result<(), ReplayError> {
        let mut format = options.format;
        if format == LogFormat::Auto {
            self.fill_sample(stats)?;
            let lines =
                || self.sample.iter().filter_map(|(_, line)| line.as_deref()).filter(|line| !is_blank(line));
            format = match format::detect(lines(), &options.fields) {
                Ok(format) => format,
                Err(Some(first)) => {
                    let file = self.input.name().to_owned();
                    return Err(ReplayError::UnknownFormat { file, lines: lines().count(), first });
                }
                // Nothing to judge by: an empty log, or one whose lines are all too long.
                Err(None) => LogFormat::Common,
            };
        }
        self.parser = Some(LogParser::new(format, &options.fields, self.input.name())?);
        Ok(())
    }

    fn fill_sample(&mut self, stats: &mut ReadStats) -> Result<(), ReplayError> {
        while self.sample.len() < DETECT_LINES {
            let line = match self.input.next_line() {
                Ok(Some(RawLine::Text(line))) => Some(line.to_vec()),
                Ok(Some(RawLine::TooLong)) => None,
                Ok(None) => {
                    self.input_ended = true;
                    return Ok(());
                }
                Err(fault) => {
                    self.input_ended = true;
                    return self.note_fault(fault, stats);
                }
            };
            self.sample.push_back((self.input.line_number(), line));
        }
        Ok(())
    }

    fn read_line(&mut self, stats: &mut ReadStats) -> Result<(), ReplayError> {
        let Some(parser) = &self.parser else { return Ok(()) };
        let (number, parsed) = if let Some((number, line)) = self.sample.pop_front() {
            (number, line.map_or(Some(Err(Unreadable::TooLong)), |line| parse(parser, &line)))
        } else if self.input_ended {
            self.at_end = true;
            return Ok(());
        } else {
            let parsed = match self.input.next_line() {
                Ok(Some(RawLine::Text(line))) => parse(parser, line),
                Ok(Some(RawLine::TooLong)) => Some(Err(Unreadable::TooLong)),
                Ok(None) => {
                    self.at_end = true;
                    return Ok(());
                }
                Err(fault) => {
                    self.at_end = true;
                    return self.note_fault(fault, stats);
                }
            };
            (self.input.line_number(), parsed)
        };
        stats.lines += 1;
        match parsed {
            None => stats.blank += 1,
            Some(Ok(record)) => {
                let late = self.held.late();
                self.held.push(record.at_us, record);
                stats.late += self.held.late() - late;
            }
            Some(Err(reason)) => {
                stats.unreadable += 1;
                if stats.first_unreadable.len() < MAX_SHOWN_UNREADABLE {
                    let file = self.input.name().to_owned();
                    stats.first_unreadable.push(UnreadableLine {
                        file,
                        line: number,
                        reason: reason.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Damage to a compressed log ends that log; any other fault ends the run.
    fn note_fault(&self, fault: ReadFault, stats: &mut ReadStats) -> Result<(), ReplayError> {
        let file = self.input.name().to_owned();
        let lines = self.input.line_number();
        match fault {
            ReadFault::Io(source) => Err(ReplayError::Read { file, line: lines, source }),
            ReadFault::Damaged(error) => {
                stats.damaged.push(DamagedFile { file, lines, reason: error.to_string() });
                Ok(())
            }
        }
    }
}

/// `None` for a blank line.
fn parse(parser: &LogParser, line: &[u8]) -> Option<Result<LogRecord, Unreadable>> {
    (!is_blank(line)).then(|| parser.parse(line))
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}
