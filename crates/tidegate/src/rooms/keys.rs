//! The secrets of rooms, and what is signed with them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tidegate_core::room::RoomName;
use tidegate_core::room::draw::Seed;
use tidegate_wire::room::token::TokenKeys;
use tidegate_wire::room::token::keys::{ROOM_SECRET_BYTES, RoomSecret, RoomSecretError, SameSecretError};
use tidegate_wire::room::visitor::VisitorKey;

/// What a line of a secret to come begins with.
const NEXT: &str = "next:";
/// The longest file of secrets, in bytes: comments have room.
const MAX_SECRET_FILE_BYTES: u64 = 4_096;

/// What tokens are signed and visitors are hashed with.
#[derive(Debug)]
pub struct RoomKeys {
    pub(super) tokens: TokenKeys,
    pub(super) visitors: VisitorKey,
    seeds: RoomSecret,
}

/// Why there are no keys. No secret is in the text.
#[derive(Debug, thiserror::Error)]
pub enum RoomKeysError {
    /// A line is no secret.
    #[error("{place}: secret {number} is none")]
    Secret {
        /// The file or variable.
        place: String,
        /// Which of the secrets, from 1.
        number: usize,
        /// What is wrong with it.
        source: RoomSecretError,
    },
    /// No secret, or too many.
    #[error(
        "{0}: write one secret, or two on lines of their own while keys are changed: the newest first, or the one to come as the second, after `next:`; \
         make one with `openssl rand -hex 32`"
    )]
    Count(String),
    /// Both are the same.
    #[error("{place}: two secrets are needed, or one")]
    Same {
        /// The file or variable.
        place: String,
        /// What is wrong.
        source: SameSecretError,
    },
    /// The file cannot be read or written.
    #[error("{place}: the room secret cannot be read or written")]
    File {
        /// The file.
        place: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers for a room secret: {0}")]
    NoRandomness(getrandom::Error),
}

impl RoomKeys {
    /// The keys of the secrets in a text: one on each line that is neither empty nor begins with `#`, two at the most. The first
    /// signs. The second is the one before: tokens of it are still taken, and visitors are known by it, so that they stay who they
    /// are while keys are changed. Or it is the one to come, after `next:`: tokens of it are taken, which nodes make that have changed
    /// already.
    ///
    /// # Errors
    /// The text has no such lines; `place` says where it stands.
    pub fn parse(text: &str, place: &str) -> Result<Self, RoomKeysError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let secrets = lines
            .enumerate()
            .map(|(index, line)| {
                let next = line.strip_prefix(NEXT).map(str::trim_start);
                let secret = RoomSecret::from_hex(next.unwrap_or(line)).map_err(|source| {
                    RoomKeysError::Secret { place: place.to_owned(), number: index + 1, source }
                })?;
                Ok((secret, next.is_some()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (signs, other, lasting) = match secrets.as_slice() {
            [(only, false)] => (only, None, only),
            [(newest, false), (previous, false)] => (newest, Some(previous), previous),
            [(present, false), (next, true)] => (present, Some(next), present),
            _ => return Err(RoomKeysError::Count(place.to_owned())),
        };
        let tokens = TokenKeys::new(signs, other)
            .map_err(|source| RoomKeysError::Same { place: place.to_owned(), source })?;
        Ok(Self { tokens, visitors: VisitorKey::new(lasting), seeds: lasting.clone() })
    }

    /// The keys of the secrets in a file.
    ///
    /// # Errors
    /// The file cannot be read, or has no secrets.
    pub fn read(path: &Path) -> Result<Self, RoomKeysError> {
        let file = |source| RoomKeysError::File { place: path.to_owned(), source };
        let length = std::fs::metadata(path).map_err(file)?.len();
        if length > MAX_SECRET_FILE_BYTES {
            return Err(RoomKeysError::Count(path.display().to_string()));
        }
        let text = std::fs::read_to_string(path).map_err(file)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The keys of a file, which is made with a new secret where there is none, readable for its owner only.
    ///
    /// # Errors
    /// As [`RoomKeys::read`]; or the file cannot be made.
    pub fn read_or_make(path: &Path) -> Result<Self, RoomKeysError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(mut file) => {
                let text = format!("{}\n", random_secret()?);
                let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
                written.map_err(|source| RoomKeysError::File { place: path.to_owned(), source })?;
                Self::parse(&text, &path.display().to_string())
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Self::read(path),
            Err(source) => Err(RoomKeysError::File { place: path.to_owned(), source }),
        }
    }

    /// What the draws of a room are made from. The same secret gives the same: nodes agree on it, and a restart changes no draw.
    #[must_use]
    pub fn seed(&self, room: &RoomName) -> Seed {
        Seed::new(self.seeds.draw_seed(room))
    }

    /// Keys that nobody else has, and that are gone with this process.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn passing() -> Result<Self, RoomKeysError> {
        Self::parse(&random_secret()?, "a random secret")
    }
}

/// A new secret, as it is written.
fn random_secret() -> Result<String, RoomKeysError> {
    let mut bytes = [0; ROOM_SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(RoomKeysError::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use tidegate_core::time::Timestamp;
    use tidegate_wire::room::token::Device;
    use tidegate_wire::room::visitor::DeviceId;

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
    const C: &str = "20112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const A: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const B: &str = "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn one_secret_or_two_the_newest_first() {
        assert!(RoomKeys::parse(A, "x").is_ok());
        assert!(RoomKeys::parse(&format!("# new\n{B}\n\n{A}\n"), "x").is_ok());
        for bad in [
            "",
            "# nothing",
            "abc",
            "next:",
            &format!("next: {A}"),
            &format!("next: {A}\n{B}"),
            &format!("{A}\n{A}"),
            &format!("{A}\nnext: {A}"),
            &format!("{A}\n{B}\n{A}"),
            &format!("{A}\n{B}\nnext: {C}"),
        ] {
            let error = RoomKeys::parse(bad, "x").unwrap_err().to_string();
            assert!(error.starts_with("x: ") && !error.contains("0011"), "{error}");
        }
    }

    /// As nodes are changed one after the other, each of them takes what the others sign, and knows visitors as they do.
    #[test]
    fn nodes_change_the_secret_one_after_the_other() {
        let stages =
            [format!("{A}\nnext: {B}"), format!("{B}\n{A}")].map(|text| RoomKeys::parse(&text, "x").unwrap());
        let room = RoomName::new("sale").unwrap();
        let [before, after] = &stages;
        assert_eq!(before.seed(&room), after.seed(&room));
        let jwks: Vec<_> = stages.iter().map(|keys| keys.tokens.jwks()).collect();
        let keys = |jwks: &str| jwks.matches("\"kid\"").count();
        assert_eq!(
            (keys(&jwks[0]), keys(&jwks[1])),
            (2, 2),
            "sites know the next key before it signs: {jwks:?}"
        );
        let device = Device { id: DeviceId::from_random(7), issued_at: AT };
        for (one, other) in [(before, after), (after, before)] {
            assert_eq!(other.tokens.verify_device(&one.tokens.sign_device(&device), AT), Ok(device));
        }
    }

    #[test]
    fn a_file_is_made_once_and_read_then() {
        let folder = std::env::temp_dir().join(format!("tidegate-room-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("rooms.secret");
        let jwks = |keys: RoomKeys| keys.tokens.jwks();
        let made = jwks(RoomKeys::read_or_make(&path).unwrap());
        assert_eq!(made, jwks(RoomKeys::read_or_make(&path).unwrap()));
        assert_ne!(made, jwks(RoomKeys::passing().unwrap()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
