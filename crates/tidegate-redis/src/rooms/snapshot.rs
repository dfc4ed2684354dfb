//! Putting a snapshot in place of the entries that it stands for.
//!
//! Its pieces are put under a name of their own, and go by themselves after a while; one short script then makes them the snapshot. So
//! whoever is cut off in between leaves nothing behind, and appends go on meanwhile.

use std::time::Duration;

use bytes::Bytes;
use tidegate_store::rooms::shared::{Appended, LogError};

use super::keys::KeysOfRoom;
use super::scripts::Call;
use super::{LONG_DEADLINE, Shared, appended, millis};

/// For how long pieces stay that do not count yet, from the last one that was put.
const STAY: Duration = Duration::from_secs(60);

impl Shared {
    pub(super) async fn put_snapshot(
        &self,
        keys: &KeysOfRoom,
        term: u64,
        last: u64,
        pieces: &[Bytes],
    ) -> Result<Appended, LogError> {
        let name = format!("{:016x}", fastrand::u64(..));
        // One at a time: others use the connection too, and their messages do not wait for long.
        for (there, piece) in pieces.iter().enumerate() {
            let numbers = [term.to_string(), there.to_string(), millis(STAY)].map(Bytes::from);
            let call = Call {
                script: |scripts| &scripts.piece,
                route: keys.long(),
                keys: vec![keys.head(), keys.pieces(&name)],
                arguments: numbers.into_iter().chain([piece.clone()]).collect(),
                within: LONG_DEADLINE,
            };
            if self.changed(call).await? == Appended::Deposed {
                return Ok(Appended::Deposed);
            }
        }
        let arguments = [term.to_string(), last.to_string(), name.clone(), pieces.len().to_string()];
        self.changed(Call {
            script: |scripts| &scripts.commit,
            route: keys.long(),
            keys: vec![keys.head(), keys.entries(), keys.pieces(&name), keys.pieces_stem()],
            arguments: arguments.map(Bytes::from).into(),
            within: LONG_DEADLINE,
        })
        .await
    }

    async fn changed(&self, call: Call) -> Result<Appended, LogError> {
        let answer = self.words(call).await?;
        match answer.read::<0>()? {
            ("x", _) => Err(LogError::NotDone("the pieces of the snapshot were lost on the way".to_owned())),
            _ => appended(&answer),
        }
    }
}
