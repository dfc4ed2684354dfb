//! The suite that every place runs in which nodes share rooms: scenarios that each name one promise of
//! [`RoomLog`].
//!
//! Two nodes of the same place take part in each scenario, and rooms of its own. A broken promise panics and says which. Where
//! leases have to end the suite waits for it: some seconds in all.

mod keeping;
mod messages;
mod snapshots;

use core::future::Future;
use core::time::Duration;

use bytes::Bytes;
use tidegate_core::room::RoomName;

use crate::rooms::shared::{Append, Appended, Head, LogError, NodeId, RoomLog, Taken};

pub use keeping::racing_nodes_have_one_keeper;
pub use messages::next_message;
pub use snapshots::{entries_and_snapshots_do_not_disturb_each_other, whole_log};

/// Longer than any scenario without an end of a lease takes.
pub const LONG: Duration = Duration::from_secs(60);
/// A lease that ends.
pub const SHORT: Duration = Duration::from_millis(250);

/// A node, and the place as it sees it.
#[derive(Debug)]
pub struct Node<L> {
    /// The place.
    pub log: L,
    /// The node.
    pub id: NodeId,
}

macro_rules! run {
    ($connect:ident: $($scenario:path),+ $(,)?) => {
        $({
            let nodes = [
                node_of(&$connect, NodeId(u64::MAX)).await,
                node_of(&$connect, NodeId(0x0bee)).await,
            ];
            $scenario(&nodes).await;
        })+
    };
}

/// Runs everything. `connect` is what a node sees of the place, which has no rooms at first; the same nodes come again.
pub async fn run_all<L, F>(connect: impl Fn(NodeId) -> F)
where
    L: RoomLog,
    F: Future<Output = L>,
{
    run!(connect:
        keeping::a_room_is_made_and_has_one_keeper,
        keeping::a_keeper_that_asks_again_has_a_new_term,
        keeping::a_lease_ends_and_the_next_keeper_has_a_higher_term,
        keeping::an_append_without_entries_holds_the_room,
        keeping::a_released_room_is_taken_at_once,
        keeping::a_deposed_keeper_changes_nothing,
        keeping::a_removed_room_is_gone_and_its_terms_go_on,
        keeping::entries_are_numbered_without_a_gap,
        keeping::an_append_that_is_made_again_is_done_once,
        keeping::an_append_after_what_is_not_there_is_behind,
        keeping::what_is_too_large_is_refused,
        snapshots::a_snapshot_stands_for_the_entries_before_it,
        snapshots::a_snapshot_makes_up_for_lost_entries,
        snapshots::a_snapshot_is_put_again_and_an_older_one_is_nothing,
        snapshots::a_log_of_many_pages_is_loaded_whole,
        snapshots::a_log_is_loaded_whole_while_snapshots_cut_it,
        messages::messages_come_to_whom_they_are_sent,
        messages::what_is_told_with_an_append_comes_once,
        messages::a_message_of_the_largest_size_comes,
    );
    let nodes = [node_of(&connect, NodeId(1)).await, node_of(&connect, NodeId(2)).await];
    racing_nodes_have_one_keeper(&nodes, 100).await;
    entries_and_snapshots_do_not_disturb_each_other(&nodes, 300).await;
}

// === what the scenarios share ===

async fn node_of<L, F: Future<Output = L>>(connect: &impl Fn(NodeId) -> F, id: NodeId) -> Node<L> {
    Node { log: connect(id).await, id }
}

fn name(text: &str) -> RoomName {
    RoomName::new(text).expect("the name is one")
}

/// Takes a room that nobody keeps, and makes it if need be.
pub async fn taken<L: RoomLog>(node: &Node<L>, room: &RoomName, lease: Duration) -> Head {
    match node.log.take(room, node.id, lease, true).await {
        Ok(Taken::Yours(head)) => head,
        other => panic!("{room} could not be taken: {other:?}"),
    }
}

/// Appends entries that are texts, and tells nobody.
pub async fn append<L: RoomLog>(
    node: &Node<L>,
    room: &RoomName,
    (term, after): (u64, u64),
    entries: &[&str],
) -> Result<Appended, LogError> {
    append_telling(node, room, (term, after), entries, "").await
}

async fn append_telling<L: RoomLog>(
    node: &Node<L>,
    room: &RoomName,
    (term, after): (u64, u64),
    entries: &[&str],
    tell: &str,
) -> Result<Appended, LogError> {
    let entries = texts(entries);
    let tell = Bytes::copy_from_slice(tell.as_bytes());
    node.log.append(room, Append { term, after, entries: &entries, tell: &tell, lease: LONG }).await
}

fn texts(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

/// The entries after one, as texts with their numbers.
pub async fn entries<L: RoomLog>(node: &Node<L>, room: &RoomName, after: u64) -> Vec<(u64, String)> {
    let loaded = node.log.load(room, after).await.expect("the log can be read");
    loaded
        .entries
        .into_iter()
        .map(|(number, entry)| (number, String::from_utf8_lossy(&entry).into_owned()))
        .collect()
}

fn numbered(first: u64, texts: &[&str]) -> Vec<(u64, String)> {
    (first..).zip(texts.iter().map(|text| (*text).to_owned())).collect()
}
