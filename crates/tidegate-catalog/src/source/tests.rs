//! Real files. Times under a paused clock pass by themselves, unless the test waits for the operating system's events.

use std::fs;
use std::os::unix::fs::symlink;
use std::pin::pin;

use tidegate_testkit::TempDir;

use super::*;

const SETTLE: Duration = Duration::from_millis(200);

/// No events come: the paused clock jumps from reading to reading.
const POLLED: WatchOptions =
    WatchOptions { poll: Duration::from_secs(3), settle: SETTLE, events: Events::Unwanted };
/// Only events come in time.
const TOLD: WatchOptions = WatchOptions {
    poll: Duration::from_secs(86_400),
    settle: Duration::from_millis(20),
    events: Events::Wanted,
};
/// Far more than any event takes.
const LONG: Duration = Duration::from_secs(20);

/// A way to change what the file says.
type Write = fn(&TempDir, &str);

fn plainly(dir: &TempDir, text: &str) {
    dir.write("rules.yaml", text);
}

fn by_renaming(dir: &TempDir, text: &str) {
    fs::rename(dir.write(".rules.yaml.swp", text), dir.join("rules.yaml")).expect("renamed");
}

fn anew(dir: &TempDir, text: &str) {
    fs::remove_file(dir.join("rules.yaml")).expect("removed");
    dir.write("rules.yaml", text);
}

/// As the kubelet updates a config map.
fn like_kubernetes(dir: &TempDir, text: &str) {
    let version = format!("..{}", text.len());
    fs::create_dir(dir.join(&version)).expect("made");
    fs::write(dir.join(&version).join("rules.yaml"), text).expect("written");
    symlink(&version, dir.join("..data_tmp")).expect("linked");
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("renamed");
}

/// A folder whose rules.yaml says `text`.
fn folder(write: Write, text: &str) -> TempDir {
    let dir = TempDir::new("rule-file");
    if write as usize == like_kubernetes as Write as usize {
        symlink("..data/rules.yaml", dir.join("rules.yaml")).expect("linked");
        write(&dir, text);
    } else {
        plainly(&dir, text);
    }
    dir
}

fn watched(dir: &TempDir, in_force: &str, options: WatchOptions) -> RuleFile {
    RuleFile::watch(&dir.join("rules.yaml"), in_force, options)
}

async fn text_of(file: &mut RuleFile) -> String {
    file.changed().await.expect("readable").text
}

/// Whether nothing is given out within many readings.
async fn is_quiet(file: &mut RuleFile) -> bool {
    tokio::time::timeout(20 * POLLED.poll, file.changed()).await.is_err()
}

const WRITES: [Write; 4] = [plainly, by_renaming, anew, like_kubernetes];

#[tokio::test]
async fn every_way_of_writing_is_told_of() {
    for write in WRITES {
        let dir = folder(write, "one");
        let mut file = watched(&dir, "one", TOLD);
        assert!(file.watcher.is_some());
        for text in ["three", "thirteen"] {
            let mut changed = pin!(text_of(&mut file));
            // By then it has read the file and listens; on a slow machine it reads later, and the test proves less.
            assert!(tokio::time::timeout(10 * TOLD.settle, &mut changed).await.is_err());
            write(&dir, text);
            assert_eq!(tokio::time::timeout(LONG, changed).await.expect("told in time"), text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_of_writing_is_found_without_events() {
    for write in WRITES {
        let dir = folder(write, "one");
        let mut file = watched(&dir, "one", POLLED);
        assert!(is_quiet(&mut file).await);
        write(&dir, "three");
        assert_eq!(text_of(&mut file).await, "three");
        assert!(is_quiet(&mut file).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_the_watch_began_is_given_out() {
    let dir = folder(plainly, "two");
    assert_eq!(text_of(&mut watched(&dir, "one", POLLED)).await, "two");
}

#[tokio::test(start_paused = true)]
async fn writing_the_same_again_changes_nothing() {
    let dir = folder(plainly, "one");
    let mut file = watched(&dir, "one", POLLED);
    by_renaming(&dir, "one");
    assert!(is_quiet(&mut file).await);
}

#[tokio::test(start_paused = true)]
async fn a_half_written_file_is_not_given_out() {
    let dir = folder(plainly, "one");
    let mut file = watched(&dir, "one", POLLED);
    plainly(&dir, "");
    let writing = async {
        tokio::time::sleep(SETTLE / 2).await;
        plainly(&dir, "thr");
        tokio::time::sleep(SETTLE).await;
        plainly(&dir, "three");
    };
    let (text, ()) = tokio::join!(text_of(&mut file), writing);
    assert_eq!(text, "three");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_reported_once_and_its_return_is_noticed() {
    let dir = folder(plainly, "one");
    let mut file = watched(&dir, "one", POLLED);
    fs::remove_file(dir.join("rules.yaml")).expect("removed");
    let error = file.changed().await.expect_err("gone");
    assert!(error.0.to_string().contains("there is no such file"), "{}", error.0);
    assert!(is_quiet(&mut file).await, "once");
    fs::create_dir(dir.join("rules.yaml")).expect("made");
    assert!(is_quiet(&mut file).await, "still unreadable");
    fs::remove_dir(dir.join("rules.yaml")).expect("removed");
    plainly(&dir, "one");
    assert_eq!(text_of(&mut file).await, "one", "the same, but back");
    assert!(is_quiet(&mut file).await);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_for_a_moment_is_not_reported() {
    let dir = folder(plainly, "one");
    let mut file = watched(&dir, "one", POLLED);
    fs::remove_file(dir.join("rules.yaml")).expect("removed");
    let writing = async {
        tokio::time::sleep(SETTLE / 2).await;
        plainly(&dir, "two");
    };
    let (text, ()) = tokio::join!(text_of(&mut file), writing);
    assert_eq!(text, "two");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_watched_is_polled() {
    let dir = TempDir::new("rule-file");
    let path = dir.join("later").join("rules.yaml");
    let mut file = RuleFile::watch(&path, "one", WatchOptions { events: Events::Wanted, ..POLLED });
    assert!(file.watcher.is_none());
    file.changed().await.expect_err("not there");
    fs::create_dir(dir.join("later")).expect("made");
    fs::write(&path, "two").expect("written");
    assert_eq!(text_of(&mut file).await, "two");
    assert!(file.watcher.is_some(), "watched as soon as it can be");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_misses_nothing() {
    let dir = folder(plainly, "one");
    let mut file = watched(&dir, "one", POLLED);
    plainly(&dir, "two");
    assert!(tokio::time::timeout(SETTLE / 2, file.changed()).await.is_err());
    assert_eq!(text_of(&mut file).await, "two");
}

#[test]
fn reading_is_no_hint() {
    use notify::event::{CreateKind, ModifyKind};
    assert!(!may_change_content(EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(!may_change_content(EventKind::Access(AccessKind::Close(AccessMode::Read))));
    assert!(may_change_content(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    assert!(may_change_content(EventKind::Modify(ModifyKind::Any)));
    assert!(may_change_content(EventKind::Create(CreateKind::Any)));
}
