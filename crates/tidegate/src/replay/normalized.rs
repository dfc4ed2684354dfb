//! Values of a log as a door would take them, and requests made of them.

use tidegate_wire::check::{CLIENT_IP, HOST, PATH, REMOTE_ADDRESS};
use tidegate_wire::identity::{Ipv6Prefix, canonical_ip_key};
use tidegate_wire::path::normalize_path;

use super::error::ReplayError;
use super::progress::Progress;
use super::record::LogRecord;
use super::stream::LogStream;
use crate::trial::TrialRequest;

/// The values that a door would not take as they are written in a log.
#[derive(Debug)]
pub struct Normalized {
    client_ip: Option<String>,
    remote_address: Option<String>,
    host: Option<String>,
    path: Option<String>,
}

impl Normalized {
    /// What a door would make of the record's values.
    #[must_use]
    pub fn of(record: &LogRecord) -> Self {
        // What cannot be normalised stays as it is logged: a log is not refused.
        let address =
            |name| record.entry(name).and_then(|text| canonical_ip_key(text, Ipv6Prefix::default()));
        let (client_ip, remote_address) = (address(CLIENT_IP), address(REMOTE_ADDRESS));
        let host = record.entry(HOST).map(str::to_ascii_lowercase);
        let path =
            record.entry(PATH).and_then(|path| normalize_path(path).ok()).map(std::borrow::Cow::into_owned);
        Self { client_ip, remote_address, host, path }
    }

    /// A value as a door takes it.
    #[must_use]
    pub fn value<'a>(&'a self, name: &str, logged: &'a str) -> &'a str {
        match name {
            CLIENT_IP => self.client_ip.as_deref().unwrap_or(logged),
            REMOTE_ADDRESS => self.remote_address.as_deref().unwrap_or(logged),
            HOST => self.host.as_deref().unwrap_or(logged),
            PATH => self.path.as_deref().unwrap_or(logged),
            _ => logged,
        }
    }
}

/// The requests of a log, in the order of their times.
pub fn trial_requests(stream: LogStream) -> impl Iterator<Item = Result<TrialRequest, ReplayError>> {
    trial_requests_with(stream, Progress::hidden())
}

/// As [`trial_requests`], with a progress bar.
pub fn trial_requests_with(
    mut stream: LogStream,
    mut progress: Progress,
) -> impl Iterator<Item = Result<TrialRequest, ReplayError>> {
    std::iter::from_fn(move || {
        let record = stream.next();
        match &record {
            Some(_) => progress.update(&stream),
            None => progress.finish(),
        }
        record
    })
    .map(|record| {
        let record = record?;
        let normalized = Normalized::of(&record);
        let entries =
            record.entries().map(|(name, value)| (name.to_owned(), normalized.value(name, value).to_owned()));
        Ok(TrialRequest { at_us: record.at_us, entries: entries.collect(), cost: 1 })
    })
}
