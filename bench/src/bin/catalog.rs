//! What living rules cost: loading 10,000 rules and a million subjects, the memory they take, and a check among them beside
//! one among 10 rules and 10 subjects.

use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::Parser;
use tidegate::gate::{ApiKeys, Caller, Catalog, CatalogParts, Gate};
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::subject::at_once;
use tidegate_bench::{machine, median};
use tidegate_catalog::compose::Composer;
use tidegate_catalog::edit::{Change, Editor, Others};
use tidegate_catalog::keys::KeyRing;
use tidegate_catalog::model::{Actor, DEFAULT_TENANT, Subject};
use tidegate_catalog::recent::Recorder;
use tidegate_catalog::repository::{DatabaseSettings, Repository};
use tidegate_catalog::state::StateCell;
use tidegate_catalog::subjects::{SubjectCache, SubjectOptions};
use tidegate_catalog::usage::{TopKeys, UsageMeter};
use tidegate_config::Defaults;
use tidegate_core::rule::RuleSet;
use tidegate_engine::Engine;
use tidegate_store::{DEFAULT_MEMORY_BYTES, MemoryOptions, MemoryStore};

/// Rules of one domain.
const RULES_A_DOMAIN: usize = 100;
/// What a check is asked of in both sites alike.
const SHARED_SUBJECTS: usize = 10;

/// Time, memory and cost per check of a large catalog, beside a small one.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rules of the large catalog
    #[arg(long, default_value_t = 10_000)]
    rules: usize,
    /// Subjects of the large catalog
    #[arg(long, default_value_t = 1_000_000)]
    subjects: usize,
    /// Rounds; the median is taken
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Requests in a round
    #[arg(long, default_value_t = 300_000)]
    requests: usize,
    /// PostgreSQL instead of SQLite, by its URL
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A catalog of some size, with an engine.
struct Site {
    gate: Gate<MemoryStore>,
    domains: Vec<String>,
    users: Vec<String>,
}

/// What it took to make one.
#[derive(Default)]
struct Loading {
    import: Duration,
    subjects: Duration,
    rules: Duration,
    warming: Duration,
    bytes: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("tidegate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(measure(&arguments, &folder));
    std::fs::remove_dir_all(&folder)?;
    measured?.print(Format::from_switch(arguments.json))
}

async fn measure(arguments: &Arguments, folder: &std::path::Path) -> anyhow::Result<Report> {
    let mut report = Report::new("catalog");
    report.note("through the whole gate: subject looked up, decided in memory, usage, busiest keys and recent requests noted");
    let (few, _) = site(&folder.join("few.db"), None, 10, SHARED_SUBJECTS).await?;
    let database = arguments.database.as_deref();
    let (crowd, _) = site(&folder.join("crowd.db"), None, 10, arguments.subjects).await?;
    let (many, loading) =
        site(&folder.join("many.db"), database, arguments.rules, arguments.subjects).await?;
    let mut table = Table::new(
        format!("loading {} rules and {} subjects", arguments.rules, arguments.subjects),
        &["step", "seconds"],
    );
    for (step, took) in [
        ("rules: import as one rule file, validated and written", loading.import),
        ("subjects: written", loading.subjects),
        ("rules: read from the database, compiled, put in force", loading.rules),
        ("subjects: read from the database into the cache", loading.warming),
    ] {
        table.row([Cell::text(step), Cell::Figure(took.as_secs_f64(), 2)]);
    }
    let megabytes = loading.bytes as f64 / 1e6;
    table.row([
        Cell::text("resident memory that rules and subjects in the cache add, MB"),
        Cell::Figure(megabytes, 0),
    ]);
    report.add(table);
    report.add(compared(arguments, [&few, &crowd, &many])?);
    Ok(report)
}

/// Interleaved rounds: the same few subjects everywhere, and requests spread over all subjects, with few rules and with
/// many. Spread requests miss the processor's caches, however few rules there are.
fn compared(arguments: &Arguments, [few, crowd, many]: [&Site; 3]) -> anyhow::Result<Table> {
    let mut rounds: [Vec<f64>; 4] = std::array::from_fn(|_| Vec::new());
    for round in 0..arguments.rounds as u64 {
        let all = arguments.subjects;
        let asked = [(few, SHARED_SUBJECTS), (many, SHARED_SUBJECTS), (crowd, all), (many, all)];
        for (figures, (site, subjects)) in rounds.iter_mut().zip(asked) {
            figures.push(site.round(round, arguments.requests, subjects)?);
        }
    }
    let [few, same, crowd, spread] = rounds.map(|figures| median(&figures));
    let mut table = Table::new("a check, CPU ns", &["rules", "subjects asked", "ns", "beside 10 rules"]);
    let subjects = arguments.subjects.to_string();
    for (rules, asked, each, beside) in [
        (10, SHARED_SUBJECTS.to_string(), few, few),
        (arguments.rules, SHARED_SUBJECTS.to_string(), same, few),
        (10, subjects.clone(), crowd, crowd),
        (arguments.rules, subjects, spread, crowd),
    ] {
        let (rules, asked) = (Cell::text(rules.to_string()), Cell::text(asked));
        table.row([rules, asked, Cell::Figure(each, 0), Cell::Figure(each / beside, 2)]);
    }
    Ok(table)
}

impl Site {
    /// CPU nanoseconds a check, of random users of the first so many, each in its domain.
    fn round(&self, seed: u64, requests: usize, users: usize) -> anyhow::Result<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let caller = Caller::default();
        let mut passed = 0;
        let before = machine::thread_cpu();
        for _ in 0..requests {
            let number = random.usize(..users);
            let user = self.users[number].as_str();
            let domain = self.domains[number * self.domains.len() / self.users.len()].as_str();
            let path = PATHS[random.usize(..PATHS.len())];
            let entries = [("user_id", user), ("path", path), ("method", "GET")];
            let look = at_once(pin!(self.gate.look(&caller, black_box(domain), black_box(&entries))));
            let request = look.request(&entries, 1, None);
            let decision = at_once(pin!(self.gate.engine().decide(&request)))?;
            self.gate.note(&look, &request, &decision);
            passed += usize::from(decision.is_allowed());
        }
        let spent = machine::thread_cpu().saturating_sub(before);
        ensure!(passed == requests, "{passed} of {requests} requests passed");
        Ok(spent.as_nanos() as f64 / requests as f64)
    }
}

/// Paths that both sites have a rule for.
const PATHS: [&str; 10] = [
    "/v1/things-0/7",
    "/v1/things-1/7",
    "/v1/things-2/7",
    "/v1/things-3/7",
    "/v1/things-4/7",
    "/v1/things-5/7",
    "/v1/things-6/7",
    "/v1/things-7/7",
    "/v1/things-8/7",
    "/v1/things-9/7",
];

async fn site(
    file: &Path,
    url: Option<&str>,
    rules: usize,
    subjects: usize,
) -> anyhow::Result<(Site, Loading)> {
    let settings = match url {
        Some(url) => DatabaseSettings::parse(url)?,
        None => DatabaseSettings::file(file),
    };
    let repository = Repository::open(&settings)?;
    repository.migrate().await?;
    let mut loading = Loading::default();
    let actor = Actor { name: "bench".to_owned(), correlation: None };
    let editor = Editor::new(repository.clone(), Defaults::default(), StateCell::default());
    let text = rule_file(rules);
    loading.import = timed(async {
        let make = async {
            let document = editor.read_file(text).await?;
            editor.make(&actor, 1, DEFAULT_TENANT, Change::Import { document, others: Others::Remove }).await
        };
        make.await.map(|_| ()).map_err(|error| anyhow!("{error}"))
    })
    .await?;
    let domains: Vec<String> =
        (0..rules.div_ceil(RULES_A_DOMAIN)).map(|number| format!("domain-{number}")).collect();
    let users: Vec<String> = (0..subjects).map(|number| format!("user:{number:09}")).collect();
    loading.subjects = timed(async {
        for (domain, users) in domains.iter().zip(users.chunks(users.len().div_ceil(domains.len()))) {
            let tier = |number: usize| Some(TIERS[number % TIERS.len()].to_owned());
            let tiers: Vec<_> =
                users.iter().enumerate().map(|(number, user)| (user.clone(), tier(number))).collect();
            repository.put_subjects(&actor, 1, DEFAULT_TENANT, domain, &tiers).await?;
        }
        Ok(())
    })
    .await?;
    let before = machine::resident_bytes().context("resident memory")?;
    let mut composer = Composer::new(Defaults::default(), Vec::new());
    let engine = Engine::new(
        RuleSet::default(),
        MemoryStore::new(&MemoryOptions { max_bytes: DEFAULT_MEMORY_BYTES, ..MemoryOptions::new([1, 2]) }),
    );
    loading.rules = timed(async {
        let delta = repository.rules(1, &composer.known()).await?;
        composer.apply(delta)?;
        engine.replace_rules(composer.compose()?.rules);
        Ok(())
    })
    .await?;
    // Its shards fill unevenly: a cache of just as many entries would drop some.
    let entries = subjects + subjects / 4;
    let options = SubjectOptions { max_age: YEAR, entries, ..SubjectOptions::new([3, 4]) };
    let cache = SubjectCache::new(repository.clone(), &options);
    loading.warming = timed(async {
        let mut after = None;
        loop {
            let mark = cache.mark();
            let page = repository.all_subjects(after.as_ref(), 10_000).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let known = |tier| Subject { tier: Some(tier), ..Subject::default() };
            let now_us = i64::try_from(engine.now().as_micros())?;
            cache.preload(page.into_iter().map(|(key, tier)| (key, known(tier))), mark, now_us);
        }
    })
    .await?;
    loading.bytes = machine::resident_bytes().context("resident memory")?.saturating_sub(before);
    let catalog = Catalog::new(CatalogParts {
        keys: Arc::new(KeyRing::new(None)),
        subjects: cache,
        state: StateCell::default(),
        nudge: Arc::default(),
        usage: Arc::new(UsageMeter::new(100_000)),
        written: Arc::default(),
        top: TopKeys::default(),
        recent: Recorder::new(8 << 20),
    });
    let gate = Gate::new(engine, Arc::new(catalog), ApiKeys::Optional);
    Ok((Site { gate, domains, users }, loading))
}

/// Longer than any run.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Tiers of subjects.
const TIERS: [&str; 3] = ["free", "pro", "enterprise"];

/// Domains of a hundred rules each, told apart by path templates.
fn rule_file(rules: usize) -> String {
    let mut text = String::from("version: 1\ndomains:\n");
    for domain in 0..rules.div_ceil(RULES_A_DOMAIN) {
        text.push_str(&format!(
            "  - name: domain-{domain}\n    subject: user_id\n    default_tier: free\n    rules:\n"
        ));
        for rule in 0..RULES_A_DOMAIN.min(rules - domain * RULES_A_DOMAIN) {
            text.push_str(&format!(
                "      - {{ name: rule-{rule}, match: {{ path: \"/v1/things-{rule}/{{id}}\" }}, key: [user_id], limit: 1000, window: 1h, burst: 500000000, tiers: {{ pro: {{ limit: 2000 }}, enterprise: {{ limit: 3000 }} }} }}\n"
            ));
        }
    }
    text
}

async fn timed(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Duration> {
    let before = machine::monotonic();
    work.await?;
    Ok(machine::monotonic().saturating_sub(before))
}
