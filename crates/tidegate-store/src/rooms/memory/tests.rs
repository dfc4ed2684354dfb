//! A disk that fails: nothing that was told is lost, what cannot be kept is refused, and it goes on when the disk does.

use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{Identity, Spec, Visitor};

use super::*;
use crate::rooms::journal::DiskFile;

const START: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);

fn block_on<F: Future>(future: F) -> F::Output {
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

/// How a disk fails.
#[derive(Default)]
struct Faults {
    /// Half of what is written is, and then the disk is full.
    is_full: AtomicBool,
    /// What was written is not kept.
    cannot_sync: AtomicBool,
    /// No file can be made.
    cannot_create: AtomicBool,
    /// It takes its time to keep what was written.
    is_slow: AtomicBool,
}

impl Faults {
    fn check(&self, fault: &AtomicBool) -> io::Result<()> {
        if fault.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

struct BadDisk(Arc<Faults>);

struct BadFile(Arc<Faults>, Box<dyn DiskFile>);

impl Disk for BadDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.check(&self.0.cannot_create)?;
        Ok(Box::new(BadFile(Arc::clone(&self.0), FileSystem.create(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        FileSystem.sync_folder(path)
    }
}

impl Write for BadFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(full) = self.0.check(&self.0.is_full) {
            self.1.write_all(&bytes[..bytes.len() / 2])?;
            return Err(full);
        }
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

impl DiskFile for BadFile {
    fn sync(&mut self) -> io::Result<()> {
        while self.0.is_slow.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        self.0.check(&self.0.cannot_sync)?;
        self.1.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.1.cut(length)
    }
}

/// A store on a disk that fails, and what moves its time.
struct Site {
    folder: PathBuf,
    faults: Arc<Faults>,
    now: Arc<AtomicU64>,
    store: MemoryRooms,
    room: RoomName,
}

impl Site {
    fn new(name: &str, options: impl FnOnce(&mut JournalOptions)) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let faults = Arc::new(Faults::default());
        let now = Arc::new(AtomicU64::new(START.as_micros()));
        let mut chosen = JournalOptions::new(&folder);
        options(&mut chosen);
        let disk = Arc::new(BadDisk(Arc::clone(&faults)));
        let store = MemoryRooms::open_on(&chosen, clock(&now), disk).unwrap();
        let room = RoomName::new(name).unwrap();
        let release = Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), Some(1_000)).unwrap();
        let settings = Settings::new(Spec::new(1, release)).unwrap();
        block_on(store.put(&room, &settings)).unwrap();
        Self { folder, faults, now, store, room }
    }

    fn join(&self, identity: u64) -> Result<Told, RoomError> {
        let visitor = Visitor { identity: Some(Identity::new(identity)), prefix: None };
        block_on(self.store.ask(&self.room, &Command::Join(visitor)))
    }

    fn ask(&self, command: &Command) -> Result<Told, RoomError> {
        block_on(self.store.ask(&self.room, command))
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// Waits until the journal is written again.
    fn recover(&self, fault: &AtomicBool) {
        fault.store(false, Ordering::SeqCst);
        while self.store.stalled_since().is_some() {
            thread::yield_now();
        }
    }

    /// What another process finds that reads the folder as it is now.
    fn image(&self) -> (PathBuf, MemoryRooms) {
        let copy = self.folder.with_extension("copy");
        fs::create_dir_all(&copy).unwrap();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let store = MemoryRooms::open(&JournalOptions::new(&copy), clock(&self.now)).unwrap();
        (copy, store)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_dir_all(self.folder.with_extension("copy"));
    }
}

fn clock(now: &Arc<AtomicU64>) -> Clock {
    let now = Arc::clone(now);
    Arc::new(move || Timestamp::from_micros(now.load(Ordering::SeqCst)))
}

fn ticket(told: Told) -> Ticket {
    let number = match told.answer {
        Answer::Waiting(waiting) => waiting.number,
        Answer::Admitted(admitted) => admitted.number,
        other => panic!("{other:?}"),
    };
    Ticket::new(told.epoch, number)
}

/// Goes through a failure of the disk, of either kind.
fn stand_still_and_go_on(name: &str, fault: impl Fn(&Faults) -> &AtomicBool) {
    let site = Site::new(name, |_| {});
    let fault = fault(&site.faults);
    let inside = ticket(site.join(1).unwrap());
    let waiting = ticket(site.join(2).unwrap());
    let epoch = waiting.epoch;
    fault.store(true, Ordering::SeqCst);
    let error = site.join(3).unwrap_err();
    assert!(error.retryable());
    assert!(error.to_string().contains(&*site.folder.to_string_lossy()), "{error}");
    assert_eq!(site.store.stalled_since(), Some(START));

    // Longer than any lease, and than the session.
    site.pass(3_600);
    let position = |answer| matches!(answer, Answer::Waiting(waiting) if waiting.position == Some(0));
    assert!(position(site.ask(&Command::Poll(waiting)).unwrap().answer), "places are kept");
    assert!(matches!(site.ask(&Command::Heartbeat(inside)).unwrap().answer, Answer::Admitted(_)));
    assert!(matches!(site.join(4), Err(RoomError::Unavailable(_))), "what cannot be kept is refused");
    assert!(matches!(site.ask(&Command::Leave(inside)), Err(RoomError::Unavailable(_))));
    let again = block_on(site.store.turn()).unwrap();
    assert!(again > Some(START.saturating_add(Micros::from_secs(3_600))), "nothing is turned meanwhile");
    let unkept = Ticket::new(epoch, tidegate_core::room::QueueNumber::new(3));
    assert!(block_on(site.store.look(&site.room, &unkept)).is_err(), "nobody is told what is not kept");

    site.recover(fault);
    let told = site.ask(&Command::Poll(waiting)).unwrap();
    assert_eq!(told.epoch, epoch + 1, "the room goes on in a new epoch");
    assert!(position(told.answer) || matches!(told.answer, Answer::Ready(_)), "{told:?}");
    let third = ticket(site.join(3).unwrap());
    assert_eq!(third.number.get(), 3, "the join that was not told of was done once");
    assert_eq!(ticket(site.join(5).unwrap()).number.get(), 4, "and what was refused was not done");

    let (_, image) = site.image();
    let before = block_on(site.store.status(&site.room)).unwrap().status;
    let after = block_on(image.status(&site.room)).unwrap().status;
    assert_eq!((after.waiting, after.next_number), (before.waiting, before.next_number));
    assert_eq!(after.epoch, before.epoch + 1);
}

#[test]
fn a_full_disk_loses_nobody() {
    stand_still_and_go_on("full-disk", |faults| &faults.is_full);
}

#[test]
fn a_sync_that_fails_loses_nobody() {
    stand_still_and_go_on("failed-sync", |faults| &faults.cannot_sync);
}

/// Proxies ask about every request of those who are inside.
#[test]
fn a_look_at_a_session_waits_for_nothing_that_happened_to_others() {
    let site = Site::new("slow-disk", |_| {});
    let inside = ticket(site.join(1).unwrap());
    site.faults.is_slow.store(true, Ordering::SeqCst);
    let context = &mut Context::from_waker(Waker::noop());
    let join = Command::Join(Visitor { identity: Some(Identity::new(2)), prefix: None });
    let mut joins = pin!(site.store.ask(&site.room, &join));
    assert!(joins.as_mut().poll(context).is_pending());
    let waiting = Ticket::new(inside.epoch, tidegate_core::room::QueueNumber::new(2));
    assert!(pin!(site.store.look(&site.room, &waiting)).poll(context).is_pending(), "it is not kept yet");
    let looked = pin!(site.store.look(&site.room, &inside)).poll(context);
    site.faults.is_slow.store(false, Ordering::SeqCst);
    let Poll::Ready(Ok(told)) = looked else { panic!("{looked:?}") };
    assert!(matches!(told.answer, Answer::Admitted(_)), "{told:?}");
    assert!(matches!(block_on(joins).unwrap().answer, Answer::Waiting(_)));
}

/// What was being written when the disk became full must not be in the way of what is written later, nor of a restart.
#[test]
fn a_store_that_is_killed_while_its_disk_is_full_starts_again() {
    let site = Site::new("killed-full", |_| {});
    let [_, leaving, waiting] = [1, 2, 3].map(|identity| ticket(site.join(identity).unwrap()));
    site.faults.is_full.store(true, Ordering::SeqCst);
    assert!(block_on(site.store.ask(&site.room, &Command::Leave(leaving))).is_err());
    assert!(site.join(4).is_err());
    let (_, image) = site.image();
    for store in [&site.store, &image] {
        let told = block_on(store.look(&site.room, &waiting)).unwrap();
        assert!(matches!(told.answer, Answer::Waiting(waiting) if waiting.position == Some(1)), "{told:?}");
    }
    let status = block_on(image.status(&site.room)).unwrap().status;
    assert_eq!(status.next_number, 4, "the join that was not told of is not there");
}

/// A snapshot that cannot be made costs space, and nothing else.
#[test]
fn a_snapshot_that_cannot_be_made_hinders_nobody() {
    let site = Site::new("no-snapshot", |options| {
        options.max_journal_bytes = 0;
        options.durability = crate::rooms::Durability::Unsynced { may_lose: 0 };
    });
    site.faults.cannot_create.store(true, Ordering::SeqCst);
    for identity in 1..=3_000 {
        site.join(identity).unwrap();
    }
    let (_, image) = site.image();
    assert_eq!(block_on(image.status(&site.room)).unwrap().status.next_number, 3_001);
    site.faults.cannot_create.store(false, Ordering::SeqCst);
    site.join(4_000).unwrap();
    while site.folder.join("rooms-0000000000000001.snapshot").exists() {
        thread::yield_now();
    }
}
