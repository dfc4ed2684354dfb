//! What `tidegate serve` is told, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_wire::identity::IdentityPolicy;

use crate::cli::{rule_file, terminal};
use crate::http::LegacyFields;
use crate::net::ConnectionLimits;
use crate::serve::store::StoreSettings;

/// Everything the server is told.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The rule file; the shipped example rules where there is none.
    pub rules: Option<PathBuf>,
    /// Where the HTTP door listens.
    pub listen: SocketAddr,
    /// Where the buckets are kept.
    pub store: StoreSettings,
    /// The answer when the store does not answer, where neither rule nor domain says.
    pub fail_mode: Option<FailurePolicy>,
    /// Where the state of the embedded store is kept over a restart; nowhere if absent.
    pub state_file: Option<PathBuf>,
    /// The most bytes of the embedded store.
    pub store_max_bytes: usize,
    /// How a client's address is found.
    pub identity: IdentityPolicy,
    /// Whether the `X-RateLimit-*` fields are sent.
    pub legacy_fields: LegacyFields,
    /// Bounds of connections.
    pub limits: ConnectionLimits,
    /// How long `/ready` says no after SIGTERM before the listener closes.
    pub drain_delay: Duration,
}

/// The rule file has errors; each line is ready for a person.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    /// The errors, one by one.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl ServeSettings {
    /// Reads and compiles the rules, logging what looks unintended in them.
    pub(super) fn load_rules(&self) -> Result<RuleSet, SettingsError> {
        let loaded =
            rule_file::load(self.rules.as_deref()).map_err(|problem| SettingsError(problem.lines()))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.rules)
    }

    /// Says where to find the server and what to try, to whoever looks at standard output.
    pub(super) fn announce(&self, address: SocketAddr, rules: &RuleSet, store: &str) {
        let source = match &self.rules {
            Some(path) => path.display().to_string(),
            None => "the shipped example rules".to_owned(),
        };
        tracing::info!(%address, rules = rules.rule_count(), %source, store, "listening");
        let version = env!("CARGO_PKG_VERSION");
        let (count, domains) = (rules.rule_count(), rules.domains().len());
        let banner = format!(
            "Tidegate {version} is listening on http://{address}\n\
             Rules: {count} in {domains} domains, from {source}\n\
             Store: {store}\n\
             \n\
             Try:\n  \
               curl -s {address}/v1/check -d '{{\"client_id\":\"api_client\",\"cost\":1}}'\n  \
               curl -si '{address}/api/data?user_id=alice'\n  \
               curl -s {address}/stats/api_client\n\
             \n\
             More: http://{address}/ lists the endpoints, tidegate --help the commands. Ctrl-C stops.\n"
        );
        // Where nobody reads standard output, the server serves all the same.
        let _ = terminal::print(&banner);
    }
}
