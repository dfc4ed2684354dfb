//! The machine that the tests run on: its clock, how much time there is, and the program to test.

use std::env;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_testkit::TidegateOptions;
use tokio::runtime::Runtime;

/// How long a node may take for anything that it is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The clients' runtime: the tests themselves block, because the processes they start do.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

/// One test at a time: they measure, and two cores have enough to do with one fleet.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a phase under load lasts: so many seconds, unless `TIDEGATE_SECONDS` says otherwise.
pub fn seconds(usual: u64) -> Duration {
    Duration::from_secs(setting("TIDEGATE_SECONDS").unwrap_or(usual))
}

/// How often something is done: so often, unless `TIDEGATE_ROUNDS` says otherwise.
pub fn rounds(usual: u32) -> u32 {
    setting("TIDEGATE_ROUNDS").unwrap_or(usual)
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var_os(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A bound that holds on an idle machine with a release build; elsewhere the looser one, which still tells right from
/// wrong.
pub fn bound(strict: Duration, loose: Duration) -> Duration {
    if is_strict() { strict } else { loose }
}

/// Whether the machine is idle and the build a release, as `TIDEGATE_STRICT` says.
pub fn is_strict() -> bool {
    env::var_os("TIDEGATE_STRICT").is_some()
}

/// The server to test.
pub fn binary() -> TidegateOptions {
    let built = env!("CARGO_BIN_EXE_tidegate").into();
    TidegateOptions::new(env::var_os("TIDEGATE_BINARY").unwrap_or(built))
}

/// The clock of this machine, which Redis reads too.
#[allow(clippy::disallowed_methods, reason = "real processes have no fake clock")]
pub fn now_micros() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Lets a state of affairs last: an outage has a length.
pub fn hold(span: Duration) {
    RUNTIME.block_on(async { tokio::time::sleep(span).await });
}
