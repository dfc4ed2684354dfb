//! What one request waited for, and how long: for whoever traces it.

use std::fmt;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tidegate_core::time::Timestamp;

/// The most stages that are kept of one request; of later ones it is only known how many there were. A request has one or two,
/// a call of a hundred requests has one each.
pub const MAX_STAGES: usize = 32;

/// What a request waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageKind {
    /// The store's answer. One that came in microseconds was given by what this node remembers.
    Store,
    /// Its turn in a queue.
    Queue,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageEnd {
    /// It did what it was for.
    Done,
    /// It gave no answer.
    Failed,
}

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What it waited for.
    pub kind: StageKind,
    /// When it began, by the engine's clock.
    pub began: Timestamp,
    /// When it ended, and how; `None` where the caller went away meanwhile.
    pub ended: Option<(Timestamp, StageEnd)>,
}

/// The stages of one request, filled by the engine where a [`Request`](crate::Request) brings it.
#[derive(Default)]
pub struct Stages(Mutex<Kept>);

/// At most [`MAX_STAGES`], and how many more there were.
pub type KeptStages = SmallVec<[Stage; 2]>;

#[derive(Default)]
struct Kept {
    stages: KeptStages,
    more: usize,
}

/// A stage that has begun.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Began(Option<usize>);

impl Stages {
    /// The stages so far, in the order in which they began, and how many more there were.
    #[must_use]
    pub fn take(&self) -> (KeptStages, usize) {
        let Kept { stages, more } = std::mem::take(&mut *self.0.lock());
        (stages, more)
    }

    pub(crate) fn begin(&self, kind: StageKind, now: Timestamp) -> Began {
        let mut kept = self.0.lock();
        if kept.stages.len() == MAX_STAGES {
            kept.more += 1;
            return Began(None);
        }
        kept.stages.push(Stage { kind, began: now, ended: None });
        Began(Some(kept.stages.len() - 1))
    }

    pub(crate) fn end(&self, began: Began, now: Timestamp, end: StageEnd) {
        let mut kept = self.0.lock();
        if let Some(stage) = began.0.and_then(|index| kept.stages.get_mut(index)) {
            stage.ended = Some((now, end));
        }
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.lock().stages).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_kept_in_order_and_those_beyond_the_most_are_counted() {
        let stages = Stages::default();
        let at = Timestamp::from_micros;
        let store = stages.begin(StageKind::Store, at(1));
        let queue = stages.begin(StageKind::Queue, at(3));
        stages.end(store, at(2), StageEnd::Failed);
        for _ in 2..MAX_STAGES + 5 {
            let more = stages.begin(StageKind::Store, at(9));
            stages.end(more, at(9), StageEnd::Done);
        }
        stages.end(queue, at(4), StageEnd::Done);
        let (kept, more) = stages.take();
        assert_eq!((kept.len(), more), (MAX_STAGES, 5));
        let first = Stage { kind: StageKind::Store, began: at(1), ended: Some((at(2), StageEnd::Failed)) };
        let second = Stage { kind: StageKind::Queue, began: at(3), ended: Some((at(4), StageEnd::Done)) };
        assert_eq!(kept[..2], [first, second]);
        assert_eq!(stages.take().0.len(), 0);
    }
}
