//! Connections are open files, of which the system allows so many.

use crate::net::ConnectionLimits;

/// Files the server opens beside these connections: those of the admin API (256), to stores and databases, what it listens on.
const OTHER_FILES: u64 = 512;
/// A door with room for fewer connections than this is worth a warning, even if nobody asked for more.
const FEW_CONNECTIONS: usize = 1_000;

/// The most connections of a door, and whose word that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxConnections {
    /// The operator's: kept, and warned of where the system does not allow them.
    Told(usize),
    /// The default: it gives way to what the system allows.
    Default(usize),
}

impl MaxConnections {
    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        match self {
            Self::Told(connections) | Self::Default(connections) => connections,
        }
    }

    /// What holds for each of so many doors, where so many files may be open.
    fn within(self, open_files: u64, doors: usize) -> usize {
        let room = open_files.saturating_sub(OTHER_FILES) / (doors as u64).max(1);
        match self {
            Self::Told(connections) => connections,
            Self::Default(connections) => connections.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1),
        }
    }
}

/// Raises the limit of open files as far as it is needed and allowed: a shell's usual one is far below the connections that
/// are. Bounds the connections of each of so many doors.
pub(super) fn bound(limits: &mut ConnectionLimits, wanted: MaxConnections, doors: usize) {
    let files = (doors * wanted.get()) as u64 + OTHER_FILES;
    let allowed = match rlimit::increase_nofile_limit(files) {
        Ok(allowed) if allowed < files => allowed,
        Ok(_) => return set(limits, wanted.get()),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be read");
            return set(limits, wanted.get());
        }
    };
    let connections = wanted.within(allowed, doors);
    set(limits, connections);
    if let MaxConnections::Told(_) = wanted {
        tracing::warn!(
            limit = allowed,
            wanted = files,
            "fewer open files are allowed than connections: raise the limit (ulimit -n) or lower --max-connections"
        );
    } else if connections < FEW_CONNECTIONS {
        tracing::warn!(
            limit = allowed,
            connections,
            "the limit of open files leaves room for few connections of each door: raise it (ulimit -n)"
        );
    } else {
        tracing::info!(limit = allowed, connections, "as many connections of each door as open files allow");
    }
}

fn set(limits: &mut ConnectionLimits, connections: usize) {
    limits.max_connections = connections;
    // Sidecars and proxies on this machine bring everybody's connections.
    limits.max_connections_from_loopback = Some(connections);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_gives_way_and_what_was_told_does_not() {
        let default = MaxConnections::Default(10_000);
        for (open_files, doors, connections) in [
            (1_048_576, 3, 10_000),
            (30_512, 3, 10_000),
            (30_511, 3, 9_999),
            (20_000, 3, 6_496),
            (20_000, 1, 10_000),
            (4_096, 3, 1_194),
            (1_024, 3, 170),
            (512, 3, 1),
            (0, 1, 1),
        ] {
            assert_eq!(default.within(open_files, doors), connections, "{open_files}, {doors}");
            assert_eq!(MaxConnections::Told(7).within(open_files, doors), 7);
        }
    }
}
