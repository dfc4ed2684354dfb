//! Arguments of `tidegate serve` about waiting rooms.

use std::path::PathBuf;

use clap::Args;
use tidegate_wire::room::token::Issuer;

use crate::rooms::web::LanguageOptions;
use crate::rooms::{
    DEFAULT_JOINS_PER_ADDRESS, DEFAULT_STREAMS_PER_ADDRESS, MAX_JOINS_PER_ADDRESS, MAX_STREAMS_PER_ADDRESS,
    PageSettings,
};
use crate::serve::RoomSettings;
use crate::settings::Secret;

/// The heading of the help, and of the reference page.
const ROOMS: &str = "Waiting rooms";

#[derive(Debug, Args)]
pub(super) struct RoomArguments {
    /// File with the secret that tickets and passes are signed with: 64 hexadecimal digits (openssl rand -hex 32), and on a line
    /// below them the secret before, or after next: the one to come, while keys are changed. Without one, a secret is made; beside --state-file it is kept. Nodes
    /// that share rooms (--store) need the same one
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_SECRET_FILE", value_name = "FILE")]
    room_secret_file: Option<PathBuf>,

    /// The secret itself, in the form of that file
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_SECRET", value_name = "SECRET", hide_env_values = true)]
    room_secret: Option<Secret>,

    /// Most places a second that one client address is given, up to 1,000,000, ten seconds' worth of them at one instant; 0 is no limit.
    /// This machine's own addresses are not limited
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_JOINS_PER_ADDRESS", value_name = "N", default_value_t = DEFAULT_JOINS_PER_ADDRESS,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_JOINS_PER_ADDRESS)))]
    room_joins_per_address: u32,

    /// Most streams of events that one client address has at one time, up to 4,096; 0 is no limit. This machine's own addresses are not
    /// limited
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_STREAMS_PER_ADDRESS", value_name = "N", default_value_t = DEFAULT_STREAMS_PER_ADDRESS,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_STREAMS_PER_ADDRESS)))]
    room_streams_per_address: u32,

    /// Give passes as JWT too, with this as their iss: the address at which this server is known, like https://queue.example. For sites
    /// that check passes themselves (docs/guide/check-passes-yourself.md); none are made if not given
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_PASS_ISSUER", value_name = "URL", value_parser = Issuer::new)]
    room_pass_issuer: Option<Issuer>,

    #[command(flatten)]
    pages: PageArguments,
}

/// How the waiting page looks and what it speaks, for every command that looks at rooms.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PageArguments {
    /// Folder of templates of the waiting page, which rooms name by template:
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_TEMPLATES", value_name = "FOLDER")]
    room_templates: Option<PathBuf>,

    /// Language file of the waiting page (repeatable): another language, or other words for one that is there
    #[arg(long = "room-language", help_heading = ROOMS, env = "TIDEGATE_ROOM_LANGUAGES", value_name = "FILE", value_delimiter = ',')]
    room_languages: Vec<PathBuf>,

    /// The waiting page's language for those who want none that is there, such as pt-BR; English if not given
    #[arg(long, help_heading = ROOMS, env = "TIDEGATE_ROOM_DEFAULT_LANGUAGE", value_name = "TAG")]
    room_default_language: Option<String>,
}

impl PageArguments {
    /// The settings that the arguments mean.
    pub(super) fn settings(self) -> PageSettings {
        PageSettings {
            templates: self.room_templates,
            languages: LanguageOptions { files: self.room_languages, default: self.room_default_language },
        }
    }
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
        Ok(RoomSettings {
            secret_file: self.room_secret_file,
            secret: self.room_secret,
            pages: self.pages.settings(),
            joins_per_address: self.room_joins_per_address,
            pass_issuer: self.room_pass_issuer,
            streams_per_address: self.room_streams_per_address,
        })
    }
}
