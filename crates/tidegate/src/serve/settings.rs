//! What `tidegate serve` is told, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_config::Format;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_wire::identity::IdentityPolicy;
use tidegate_wire::room::token::Issuer;

use crate::cli::{rule_file, terminal};
use crate::gate::ApiKeys;
use crate::grpc::DeniedBody;
use crate::http::LegacyFields;
use crate::net::ConnectionLimits;
use crate::rooms::{PageSettings, Rooms};
use crate::serve::catalog::FirstKey;
use crate::serve::open_files::MaxConnections;
use crate::serve::store::StoreSettings;
use crate::settings::Secret;
use crate::telemetry::trace::TraceSettings;

/// Everything the server is told.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The rule file; the shipped example rules where there is none.
    pub rules: Option<PathBuf>,
    /// How the rule file is written.
    pub rules_format: Format,
    /// Where the HTTP door listens.
    pub listen: SocketAddr,
    /// The gRPC door.
    pub grpc: GrpcSettings,
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
    /// The most connections of each door.
    pub max_connections: MaxConnections,
    /// The other bounds of connections.
    pub limits: ConnectionLimits,
    /// The most requests that each door decides at one time.
    pub max_concurrent_requests: usize,
    /// How long `/ready` says no after SIGTERM before the listener closes.
    pub drain_delay: Duration,
    /// Where rules that live, subjects and keys are kept, and how they are followed.
    pub catalog: CatalogSettings,
    /// The RESP door.
    pub resp: RespSettings,
    /// Waiting rooms.
    pub rooms: RoomSettings,
    /// Where traces go; nowhere if absent.
    pub trace: Option<TraceSettings>,
}

/// What the server is told about waiting rooms, beside its rule file.
#[derive(Clone, Debug, Default)]
pub struct RoomSettings {
    /// The file with the secret of tickets and passes.
    pub secret_file: Option<PathBuf>,
    /// The secret itself.
    pub secret: Option<Secret>,
    /// How the waiting page looks and what it speaks.
    pub pages: PageSettings,
    /// The most places a second that one address is given; 0 is no limit.
    pub joins_per_address: u32,
    /// The most streams of events of one address; 0 is no limit.
    pub streams_per_address: u32,
    /// Who passes as JWT are from; none are made if absent.
    pub pass_issuer: Option<Issuer>,
}

/// What the server is told about the RESP door. It is off where it listens nowhere.
#[derive(Clone, Debug, Default)]
pub struct RespSettings {
    /// Where it listens on the network.
    pub listen: Option<SocketAddr>,
    /// Where it listens in the file system.
    pub unix: Option<PathBuf>,
    /// Certificate and key for the network.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What the server is told about the gRPC door.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// Where it listens; nowhere if absent.
    pub listen: Option<SocketAddr>,
    /// Whether refusals of the rate limit service bring a body.
    pub denied_body: DeniedBody,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What the server is told about the catalog: rules that live, subjects, keys and usage.
#[derive(Clone, Debug)]
pub struct CatalogSettings {
    /// The database.
    pub database: CatalogPlace,
    /// Where the admin API listens; nowhere if absent.
    pub admin: Option<SocketAddr>,
    /// An operator's token for automation.
    pub admin_token: Option<Secret>,
    /// Whether `/v1/*` needs an API key.
    pub api_keys: ApiKeys,
    /// How often the database is asked for changes.
    pub poll_interval: Duration,
    /// Where the last good rules are kept for a start without the database; nowhere if absent.
    pub last_good: Option<PathBuf>,
    /// The most subjects whose tier is remembered.
    pub subject_cache_entries: usize,
    /// A subject is looked up again after this time, even if no change was heard of.
    pub subject_max_age: Duration,
    /// How long usage is kept by the minute.
    pub usage_keep_minutes: Duration,
    /// How long usage is kept by the hour.
    pub usage_keep_hours: Duration,
    /// How often usage is written.
    pub usage_flush: Duration,
    /// The most rows of usage that wait to be written.
    pub usage_buffer_rows: usize,
    /// Memory for recent requests that a change is tried on, in MiB; 0 for none.
    pub record_mib: u64,
    /// The algorithm of rules that name none.
    pub algorithm: Algorithm,
    /// The variables `<RULE>_RATE_LIMIT_WINDOW_SECONDS` and `<RULE>_RATE_LIMIT_MAX_REQUESTS` with their values, by name.
    pub quota_variables: Vec<(String, String)>,
}

/// Where the catalog is.
#[derive(Clone, Debug)]
pub enum CatalogPlace {
    /// There is none: rules are those of the rule file.
    None,
    /// In this SQLite file.
    Sqlite(PathBuf),
    /// In PostgreSQL, at this address.
    Postgres(Secret),
}

/// The rule file has errors; each line is ready for a person.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    /// The findings in a rule file.
    pub(super) fn of(errors: &tidegate_config::RuleFileErrors) -> Self {
        Self(errors.errors.iter().map(ToString::to_string).collect())
    }

    /// The errors, one by one.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Where the doors listen; those that are switched off, nowhere.
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) resp: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
}

impl ServeSettings {
    /// How many doors have connections of their own, up to the maximum each.
    pub(super) fn doors(&self) -> usize {
        let resp = self.resp.listen.is_some() || self.resp.unix.is_some();
        1 + usize::from(self.grpc.listen.is_some()) + usize::from(resp)
    }

    /// Says where to find the server and what to try, to whoever looks at standard output.
    pub(super) fn announce(
        &self,
        addresses: &Addresses,
        rules: &RuleSet,
        store: &str,
        first_key: Option<&FirstKey>,
        rooms: &Rooms,
    ) {
        let (address, source) = (addresses.http, self.rules_source());
        let (count, rooms_count) = (rules.rule_count(), rooms.count());
        tracing::info!(%address, rules = count, rooms = rooms_count, %source, store, "listening");
        let version = env!("CARGO_PKG_VERSION");
        let contents = rule_file::contents(rules, rooms_count);
        let mut banner = format!(
            "Tidegate {version} is listening on http://{address}\n\
             Rules: {contents}, from {source}\n\
             Store: {store}\n"
        );
        let others = [("gRPC", addresses.grpc), ("RESP", addresses.resp)];
        for (name, address) in others.into_iter().filter_map(|(name, address)| Some((name, address?))) {
            banner.push_str(&format!("{name}: {address}\n"));
        }
        if let Some(admin) = addresses.admin {
            banner.push_str(&format!("Admin: http://{admin}/admin/v1\n"));
        }
        if let Some(FirstKey(key)) = first_key {
            banner.push_str(&format!(
                "\nThis is a new database. Your operator's key, shown this once:\n  \
                   export TIDEGATE_ADMIN_KEY={key}\n"
            ));
        }
        banner.push_str(&format!(
            "\nTry:\n  \
               curl -s {address}/v1/check -d '{{\"client_id\":\"api_client\",\"cost\":1}}'\n  \
               curl -si '{address}/api/data?user_id=alice'\n  \
               curl -s {address}/stats/api_client\n"
        ));
        if addresses.admin.is_some() {
            banner.push_str("  tidegate rules list\n");
        }
        if rooms.has_demo() {
            banner.push_str(&format!(
                "  open http://{address}/demo in six browsers: five are let in, the sixth waits\n"
            ));
        }
        banner.push_str(&format!(
            "\nMore: http://{address}/ lists the endpoints, tidegate --help the commands. Ctrl-C stops.\n"
        ));
        // Where nobody reads standard output, the server serves all the same.
        let _ = terminal::print(&banner);
    }

    fn rules_source(&self) -> String {
        let database = match &self.catalog.database {
            CatalogPlace::None => None,
            CatalogPlace::Sqlite(path) => Some(path.display().to_string()),
            CatalogPlace::Postgres(_) => Some("PostgreSQL".to_owned()),
        };
        match (&self.rules, database) {
            (Some(file), Some(database)) => format!("{} and {database}", file.display()),
            (Some(file), None) => file.display().to_string(),
            (None, Some(database)) => database,
            (None, None) => "the shipped example rules".to_owned(),
        }
    }
}
