//! Goal: what a node knows of rules and of subjects goes together at every instant.
//! Method: a follower of an embedded database, with an engine that looks at the subjects when it gets rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_catalog::compose::Composer;
use tidegate_catalog::follow::{DatabaseParts, Follower, InForce};
use tidegate_catalog::keys::KeyRing;
use tidegate_catalog::model::{Actor, DEFAULT_TENANT, Expect, Override, OverrideQuota, SubjectKey};
use tidegate_catalog::repository::{DatabaseSettings, Repository, RuleEdit};
use tidegate_catalog::subjects::{Cached, Looked, SubjectCache, SubjectOptions};
use tidegate_config::Defaults;
use tidegate_core::rule::RuleSet;
use tidegate_testkit::TempDir;
use tokio::sync::{Notify, oneshot};

const NOW_US: i64 = 1_700_000_000_000_000;

/// An engine that remembers, of every set of rules that it got, the tiers of the first rule, and whether the subject was
/// still known as it was before.
struct Witness {
    subjects: SubjectCache<Repository>,
    seen: Mutex<Vec<(Vec<String>, bool)>>,
}

impl InForce for Witness {
    fn replace(&self, rules: RuleSet, _version: u64) {
        let tiers = &rules.domain("pay").unwrap().rules()[0].model().tiers;
        let tiers = tiers.iter().map(|(name, _)| name.clone()).collect();
        let is_as_before =
            matches!(self.subjects.cached(DEFAULT_TENANT, "pay", "sue", NOW_US), Cached::Hit(_));
        self.seen.lock().unwrap().push((tiers, is_as_before));
    }

    fn now_us(&self) -> i64 {
        NOW_US
    }
}

async fn make_domain(repository: &Repository) {
    let (domain, expect) = ("pay".to_owned(), Expect::Any);
    let document = r#"{"name":"pay","subject":"user"}"#.to_owned();
    let put_domain = RuleEdit::PutDomain { domain: domain.clone(), document, expect };
    let document = r#"{"name":"each","key":["user"],"limit":5,"window":"1m"}"#.to_owned();
    let put_rule = RuleEdit::PutRule { domain, rule: "each".to_owned(), document, expect };
    let edits = [put_domain, put_rule];
    repository.edit_rules(&Actor::server(), NOW_US, DEFAULT_TENANT, &edits, &[]).await.unwrap();
}

#[tokio::test]
async fn the_quota_of_an_override_is_in_force_before_its_subject_is_looked_up_again() {
    let directory = TempDir::new("following");
    let repository = Repository::open(&DatabaseSettings::file(&directory.join("catalog.db"))).unwrap();
    repository.migrate().await.unwrap();
    make_domain(&repository).await;
    let subjects = SubjectCache::new(repository.clone(), &SubjectOptions::new([1, 2]));
    let parts = DatabaseParts {
        repository: repository.clone(),
        keys: Arc::new(KeyRing::new(None)),
        subjects: subjects.clone(),
        last_good: None,
        poll: Duration::from_secs(3_600),
        seed: None,
    };
    let defaults = Defaults::default();
    let mut follower = Follower::new(Some(parts), defaults, Composer::new(defaults, Vec::new()));
    follower.first(NOW_US).await.unwrap();
    let [tenant, domain, subject] = [DEFAULT_TENANT, "pay", "sue"].map(str::to_owned);
    let key = SubjectKey { tenant, domain, subject };
    assert!(matches!(subjects.lookup(&key, NOW_US).await, Looked::Found(_)));

    let quota = OverrideQuota { limit: 50, window_us: None, burst: None };
    let given = Override { rule: "each".to_owned(), quota, reason: String::new(), until_us: None };
    let written = repository.put_override(&Actor::server(), NOW_US, &key, &given).await.unwrap();
    let witness = Arc::new(Witness { subjects: subjects.clone(), seen: Mutex::default() });
    let (state, nudge) = (follower.state(), follower.nudge());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let running = tokio::spawn(follower.run(Arc::clone(&witness), None, Arc::new(Notify::new()), stopped));
    nudge.notify_one();
    state
        .wait_until(|state| {
            state.applied.rules == written.rules && state.applied.subjects == written.subjects
        })
        .await;
    assert_eq!(*witness.seen.lock().unwrap(), [(vec![quota.to_string()], true)]);
    let Looked::Found(known) = subjects.lookup(&key, NOW_US).await else { panic!("the database answers") };
    assert_eq!(&*known.overrides()[0].tier, quota.to_string());
    drop(stop);
    running.await.unwrap();
}
