use tidegate_testkit::TempDir;

use super::*;
use crate::model::{Ceilings, PreviousSecret, Scope, StoredRule};

fn saved() -> Saved {
    let rule = |name: &str, version| StoredRule {
        name: name.to_owned(),
        document: format!("{{\"name\":\"{name}\",\"quota\":\"10/min\"}}"),
        version,
    };
    let domain = StoredDomain {
        tenant: "acme".to_owned(),
        name: "pay \"ä\"\n".to_owned(),
        document: "{}".to_owned(),
        version: 3,
        content_version: 7,
        rules: vec![rule("login", 7), rule("buy", 4)],
    };
    let ceilings = Ceilings { max_requests_per_second: Some(5), ..Ceilings::default() };
    let key = ApiKey {
        prefix: "0123456789".to_owned(),
        tenant: Some("acme".to_owned()),
        name: "checkout".to_owned(),
        scopes: Scope::ALL.to_vec(),
        hash: [0xab; 32],
        previous: Some(PreviousSecret { hash: [0x0f; 32], until_us: 9 }),
        created_us: 1,
        expires_us: Some(2),
        last_used_us: Some(3),
        revoked_us: Some(4),
    };
    let operators = ApiKey { tenant: None, previous: None, revoked_us: None, ..key.clone() };
    let quota = OverrideQuota { limit: u64::MAX, window_us: Some(1), burst: None };
    Saved {
        rules_version: 7,
        saved_us: 1_700_000_000_000_000,
        domains: vec![domain],
        tenants: vec![Tenant { name: "acme".to_owned(), ceilings, created_us: 5, version: 6 }],
        overrides: vec![(("acme".to_owned(), "pay".to_owned(), "login".to_owned()), quota)],
        keys: vec![key, operators],
    }
}

fn place() -> (TempDir, LastGood) {
    let dir = TempDir::new("last-good");
    let last_good = LastGood::new(dir.join("rules.last-good"));
    (dir, last_good)
}

#[test]
fn what_was_saved_is_loaded() {
    let (_dir, last_good) = place();
    assert_eq!(last_good.load().expect("no file is no error"), None);
    for saved in [saved(), Saved::default()] {
        last_good.save(&saved).expect("saved");
        assert_eq!(last_good.load().expect("loaded"), Some(saved));
    }
}

#[test]
fn a_file_cut_short_anywhere_is_never_used() {
    let bytes = format::write(&saved(), MAX_FILE_BYTES).expect("written");
    assert_eq!(format::read(&bytes), Ok(saved()));
    for length in 0..bytes.len() {
        let read = format::read(&bytes[..length]);
        assert!(matches!(read, Err(Fault::Damaged(_))), "{length} bytes: {read:?}");
    }
}

#[test]
fn a_file_with_any_bit_changed_is_never_used() {
    let bytes = format::write(&saved(), MAX_FILE_BYTES).expect("written");
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1 << bit;
            let read = format::read(&bytes);
            assert!(read.is_err(), "bit {bit} of byte {place}: {read:?}");
        }
    }
}

#[test]
fn a_file_with_something_behind_it_is_never_used() {
    let mut bytes = format::write(&saved(), MAX_FILE_BYTES).expect("written");
    bytes.push(b'\n');
    assert_eq!(format::read(&bytes), Err(Fault::Damaged("its length")));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let (dir, last_good) = place();
    dir.write("rules.last-good", "{\"tidegate_last_good\":2,\"new\":true}\n…\n");
    let error = last_good.load().expect_err("newer");
    assert!(matches!(error, LastGoodError::OtherFormat { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("format 2, this version reads 1; start the version"), "{error}");
    dir.write("rules.last-good", "domains: []\n");
    let error = last_good.load().expect_err("a rule file");
    assert!(matches!(error, LastGoodError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("rules.last-good") && error.to_string().contains("move it away"));
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let (dir, last_good) = place();
    last_good.save(&saved()).expect("saved");
    std::fs::create_dir(dir.join("rules.last-good.tmp")).expect("in the way");
    let error = last_good.save(&Saved::default()).expect_err("no room beside it");
    assert!(matches!(error, LastGoodError::Io { .. }), "{error}");
    assert_eq!(last_good.load().expect("loaded"), Some(saved()));
}

#[test]
fn what_a_crash_left_beside_it_is_replaced() {
    let (dir, last_good) = place();
    dir.write("rules.last-good.tmp", "half");
    last_good.save(&saved()).expect("saved");
    assert_eq!(last_good.load().expect("loaded"), Some(saved()));
    assert!(!dir.join("rules.last-good.tmp").exists());
}

#[cfg(unix)]
#[test]
fn its_owner_alone_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, last_good) = place();
    std::fs::write(last_good.path(), "").expect("written");
    last_good.save(&saved()).expect("saved");
    let mode = std::fs::metadata(last_good.path()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn more_than_the_maximum_is_refused() {
    let length = format::write(&saved(), MAX_FILE_BYTES).expect("written").len();
    assert!(format::write(&saved(), length).is_ok());
    assert_eq!(format::write(&saved(), length - 1), Err(Fault::TooLarge));
    let (_dir, last_good) = place();
    let file = File::create(last_good.path()).expect("made");
    file.set_len(1 << 40).expect("a hole takes no room");
    assert!(matches!(last_good.load(), Err(LastGoodError::TooLarge { .. })));
}
