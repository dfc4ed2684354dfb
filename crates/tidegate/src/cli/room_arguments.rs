//! Arguments of `tidegate serve` about waiting rooms.

use std::path::PathBuf;

use clap::Args;

use crate::serve::RoomSettings;
use crate::settings::Secret;

/// The heading of the help, and of the reference page.
const ROOMS: &str = "Waiting rooms";

#[derive(Debug, Args)]
pub(super) struct RoomArguments {
    /// File with the secret that tickets and passes are signed with: 64 hexadecimal digits (openssl rand -hex 32), and on a line
    /// below them the secret before, while keys are changed. Without one, a secret is made; beside --state-file it is kept. Nodes
    /// that share rooms (--store) need the same one
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_SECRET_FILE", value_name = "FILE")]
    room_secret_file: Option<PathBuf>,

    /// The secret itself, in the form of that file
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_SECRET", value_name = "SECRET", hide_env_values = true)]
    room_secret: Option<Secret>,
}

impl RoomArguments {
    /// The settings that the arguments mean.
    ///
    /// # Errors
    /// They contradict one another.
    pub(super) fn settings(self) -> anyhow::Result<RoomSettings> {
        if self.room_secret.is_some() && self.room_secret_file.is_some() {
            anyhow::bail!("--room-secret and --room-secret-file say the same: give one of them");
        }
        Ok(RoomSettings { secret_file: self.room_secret_file, secret: self.room_secret })
    }
}
