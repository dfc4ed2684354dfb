//! What `tidegate serve` is told, checked.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::rule::RuleSet;
use tidegate_wire::identity::IdentityPolicy;

use crate::cli::rule_file;
use crate::http::LegacyFields;
use crate::net::ConnectionLimits;

/// Everything the server is told.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The rule file; the shipped example rules where there is none.
    pub rules: Option<PathBuf>,
    /// Where the HTTP door listens.
    pub listen: SocketAddr,
    /// Where the state is kept over a restart; nowhere if absent.
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

/// The rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The rule file has errors; the text is ready for a person.
    #[error("{0}")]
    Rules(String),
}

impl ServeSettings {
    /// Reads and compiles the rules, logging what looks unintended in them.
    pub(super) fn load_rules(&self) -> Result<RuleSet, SettingsError> {
        let loaded = rule_file::load(self.rules.as_deref())
            .map_err(|error| SettingsError::Rules(error.to_string()))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.rules)
    }

    /// Says where to find the server and what to try: on a terminal or into a pipe, people see it first.
    #[expect(clippy::print_stdout, reason = "the banner is what the command answers")]
    pub(super) fn announce(&self, address: SocketAddr, rules: &RuleSet) {
        let source = self
            .rules
            .as_ref()
            .map_or_else(|| "the shipped example rules".to_owned(), |path| path.display().to_string());
        tracing::info!(%address, rules = rules.rule_count(), %source, "listening");
        if !std::io::stdout().is_terminal() && self.rules.is_some() {
            return;
        }
        println!("Tidegate {} is listening on http://{address}", env!("CARGO_PKG_VERSION"));
        println!("Rules: {} in {} domains, from {source}", rules.rule_count(), rules.domains().len());
        println!();
        println!("Try:");
        println!("  curl -s {address}/v1/check -d '{{\"client_id\":\"api_client\",\"cost\":1}}'");
        println!("  curl -si '{address}/api/data?user_id=alice'");
        println!("  curl -s {address}/stats/api_client");
        println!();
        println!("More: http://{address}/ lists the endpoints, tidegate --help the commands. Ctrl-C stops.");
    }
}
