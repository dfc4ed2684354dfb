//! What a connection may cost, and for how long.

use std::time::Duration;

use thiserror::Error;

use super::registry::AddressKey;

/// Bounds of one door's connections. The defaults suit a public door.
///
/// Times are checked by a sweep that runs every quarter of the shortest of them, at most every
/// 250 ms: they fire late by up to two such ticks, never early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Longest time from a connection's opening, or from the first byte of a later request, to
    /// the end of that request's head, in ms. 1 to 600,000, default 10,000.
    pub header_timeout_ms: u64,
    /// Longest wait for the next request, in ms. 1 to 86,400,000, default 60,000.
    pub idle_timeout_ms: u64,
    /// Longest time in which a client may take nothing of what is being written to it, in ms.
    /// 1 to 600,000, default 30,000.
    pub write_stall_timeout_ms: u64,
    /// Longest time a request's body may take, in ms. 1 to 600,000, default 10,000. Handlers
    /// apply it through [`read_body`](super::read_body).
    pub body_timeout_ms: u64,
    /// How long after the shutdown signal idle keep-alive connections stay open, in ms, so that
    /// requests already on their way are answered (with `Connection: close`) instead of cut off.
    /// 0 to 60,000, default 1,000.
    pub linger_ms: u64,
    /// Longest time from the shutdown signal to the end of the last request, in ms; what remains
    /// is aborted. 1 to 3,600,000, default 30,000.
    pub drain_timeout_ms: u64,
    /// Connections in all. 1 to 1,000,000, default 10,000. At the cap the connection that has
    /// waited longest for its client makes room for the new one.
    pub max_connections: usize,
    /// Connections of one IPv4 address or one IPv6 /64. 1 to 1,000,000, default 1,000. Raise it
    /// behind a proxy, where all clients share an address.
    pub max_connections_per_address: usize,
    /// Connections of one loopback address, if they are to be counted differently. Default: not.
    pub max_connections_from_loopback: Option<usize>,
    /// Longest request head, in bytes, and the most read at once. 8,192 to 262,144, default 16,384.
    pub max_header_bytes: usize,
    /// Header fields in a request. 1 to 4,096, default 64. Over HTTP/1.1 never more than 100.
    pub max_headers: usize,
    /// Bounds that only HTTP/2 has.
    pub http2: Http2Limits,
}

/// Bounds of one HTTP/2 connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests in flight on one connection. 1 to 10,000, default 100.
    pub max_concurrent_streams: u32,
    /// Bytes of one request's body a client may send ahead of its reader.
    /// 65,535 to 16,777,216, default 65,535.
    pub stream_window_bytes: u32,
    /// Bytes of all bodies a client may send ahead of their readers.
    /// 65,535 to 16,777,216, default 1,048,576.
    pub connection_window_bytes: u32,
    /// Bytes of one response kept ready for a client that does not take them.
    /// 16,384 to 16,777,216, default 65,536.
    pub max_send_buffer_bytes: usize,
    /// Streams a client may reset before they were looked at (rapid reset); more close the
    /// connection. 1 to 10,000, default 20.
    pub max_pending_reset_streams: usize,
    /// Streams reset by this side for the client's faults before the connection is closed.
    /// 1 to 10,000, default 100.
    pub max_local_error_resets: usize,
    /// Time between keep-alive pings, in ms. 1,000 to 3,600,000, default 20,000.
    pub keep_alive_interval_ms: u64,
    /// Longest wait for a ping's answer, in ms. 1,000 to 600,000, default 10,000.
    pub keep_alive_timeout_ms: u64,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            header_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            write_stall_timeout_ms: 30_000,
            body_timeout_ms: 10_000,
            linger_ms: 1_000,
            drain_timeout_ms: 30_000,
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            max_connections_from_loopback: None,
            max_header_bytes: 16 * 1024,
            max_headers: 64,
            http2: Http2Limits::default(),
        }
    }
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window_bytes: 65_535,
            connection_window_bytes: 1024 * 1024,
            max_send_buffer_bytes: 64 * 1024,
            max_pending_reset_streams: 20,
            max_local_error_resets: 100,
            keep_alive_interval_ms: 20_000,
            keep_alive_timeout_ms: 10_000,
        }
    }
}

/// A limit outside its range.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{field} is {value}: choose a value from {min} to {max}")]
pub struct LimitError {
    /// The field, with the fields that contain it (`http2.max_concurrent_streams`).
    pub field: &'static str,
    /// The value found.
    pub value: u64,
    /// Smallest value allowed.
    pub min: u64,
    /// Largest value allowed.
    pub max: u64,
}

/// Longest time a sweep may be away, in ms.
const MAX_TICK_MS: u64 = 250;
/// Shortest time between two sweeps, in ms.
const MIN_TICK_MS: u64 = 5;

impl ConnectionLimits {
    /// Checks that every limit is within the range its documentation names.
    ///
    /// # Errors
    /// The first limit that is not.
    pub fn validate(&self) -> Result<(), LimitError> {
        let h2 = &self.http2;
        let ranges = [
            ("header_timeout_ms", self.header_timeout_ms, 1, 600_000),
            ("idle_timeout_ms", self.idle_timeout_ms, 1, 86_400_000),
            ("write_stall_timeout_ms", self.write_stall_timeout_ms, 1, 600_000),
            ("body_timeout_ms", self.body_timeout_ms, 1, 600_000),
            ("linger_ms", self.linger_ms, 0, 60_000),
            ("drain_timeout_ms", self.drain_timeout_ms, 1, 3_600_000),
            ("max_connections", self.max_connections as u64, 1, 1_000_000),
            ("max_connections_per_address", self.max_connections_per_address as u64, 1, 1_000_000),
            ("max_header_bytes", self.max_header_bytes as u64, 8_192, 262_144),
            ("max_headers", self.max_headers as u64, 1, 4_096),
            ("http2.max_concurrent_streams", h2.max_concurrent_streams.into(), 1, 10_000),
            ("http2.stream_window_bytes", h2.stream_window_bytes.into(), 65_535, 16_777_216),
            ("http2.connection_window_bytes", h2.connection_window_bytes.into(), 65_535, 16_777_216),
            ("http2.max_send_buffer_bytes", h2.max_send_buffer_bytes as u64, 16_384, 16_777_216),
            ("http2.max_pending_reset_streams", h2.max_pending_reset_streams as u64, 1, 10_000),
            ("http2.max_local_error_resets", h2.max_local_error_resets as u64, 1, 10_000),
            ("http2.keep_alive_interval_ms", h2.keep_alive_interval_ms, 1_000, 3_600_000),
            ("http2.keep_alive_timeout_ms", h2.keep_alive_timeout_ms, 1_000, 600_000),
        ];
        for (field, value, min, max) in ranges {
            if value < min || value > max {
                return Err(LimitError { field, value, min, max });
            }
        }
        Ok(())
    }

    /// The cap that holds for an address.
    pub(super) fn connections_of(&self, address: AddressKey) -> usize {
        self.max_connections_from_loopback
            .filter(|_| address.is_loopback())
            .unwrap_or(self.max_connections_per_address)
    }

    /// [`Self::body_timeout_ms`] as a duration.
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// Time between two sweeps, in ms.
    pub(super) fn tick_ms(&self) -> u64 {
        let shortest = self.header_timeout_ms.min(self.idle_timeout_ms).min(self.write_stall_timeout_ms);
        (shortest / 4).clamp(MIN_TICK_MS, MAX_TICK_MS)
    }
}
