//! What the tests of rooms share.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::needless_pass_by_value, clippy::unwrap_used, reason = "only tests use it")]

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{
    Answer, Command, EarlyEnd, Identity, QueueNumber, RoomName, Settings, Spec, Ticket, Visitor,
};
use tidegate_core::time::Micros;
use tidegate_store::conformance::rooms::TestClock;
use tidegate_store::rooms::{Clock, Durability, JournalOptions, MemoryRooms, RoomStore, Told};

/// The output of a future that some other thread wakes.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

pub(crate) fn from_environment(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's seed and length are told by its environment")]
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A folder that is gone when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // In memory where there is such a place: no test is about the disk itself, and thousands of syncs take minutes.
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
        let path = above.join(format!("tidegate-{unique}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A copy of another folder as it is at this moment: what is there once a process was killed.
    pub(crate) fn copy_of(name: &str, other: &Path) -> Self {
        let copy = Self::new(name);
        for entry in fs::read_dir(other).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.0.join(entry.file_name())).unwrap();
        }
        copy
    }

    /// The only file of this kind.
    pub(crate) fn file(&self, kind: &str) -> PathBuf {
        let mut files = self.files(kind);
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    pub(crate) fn files(&self, kind: &str) -> Vec<PathBuf> {
        let paths = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|found| found == kind)).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn clock_of(clock: &TestClock) -> Clock {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

/// Without syncs, which only take time where no power can fail.
pub(crate) fn unsynced(folder: &Path) -> JournalOptions {
    JournalOptions { durability: Durability::Unsynced { may_lose: 0 }, ..JournalOptions::new(folder) }
}

pub(crate) fn open(folder: &Path, clock: &TestClock) -> MemoryRooms {
    MemoryRooms::open(&JournalOptions::new(folder), clock_of(clock)).unwrap()
}

pub(crate) fn name(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

pub(crate) fn spec(capacity: u32) -> Spec {
    let second = Micros::from_secs(1);
    let release = Quota::new(Algorithm::TokenBucket, 1_000_000, second, Some(1_000_000)).unwrap();
    let mut spec = Spec::new(capacity, release);
    spec.session.early_end = EarlyEnd::FreesSeat;
    spec
}

pub(crate) fn settings(capacity: u32) -> Settings {
    Settings::new(spec(capacity)).unwrap()
}

pub(crate) fn ask(store: &MemoryRooms, room: &RoomName, command: Command) -> Told {
    block_on(store.ask(room, &command)).unwrap()
}

pub(crate) fn visitor(identity: u64) -> Visitor {
    Visitor { identity: Some(Identity::new(identity)), prefix: None }
}

pub(crate) fn join(store: &MemoryRooms, room: &RoomName, identity: u64) -> Ticket {
    let visitor = visitor(identity);
    let told = ask(store, room, Command::Join(visitor));
    Ticket { epoch: told.epoch, number: number_of(&told.answer).unwrap(), visitor }
}

pub(crate) fn look(store: &MemoryRooms, room: &RoomName, ticket: &Ticket) -> Answer {
    block_on(store.look(room, ticket)).unwrap().answer
}

pub(crate) fn number_of(answer: &Answer) -> Option<QueueNumber> {
    match answer {
        Answer::Waiting(waiting) => Some(waiting.number),
        Answer::Ready(ready) => Some(ready.number),
        Answer::Admitted(admitted) => Some(admitted.number),
        Answer::Lapsed | Answer::Left | Answer::Done | Answer::Refused(_) => None,
    }
}

/// Memory that this process occupies, in bytes.
pub(crate) fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
