//! The two lines, and the records as they stand there: the file's own, so that a change of the model is not by accident
//! one of the format.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Fault, Saved};
use crate::digest::{hex, sha256};
use crate::model::{
    ApiKey, Ceilings, OverrideQuota, PreviousSecret, Scope, StoredDomain, StoredRule, Tenant,
};

/// The format that is written and read.
pub(super) const FORMAT: u64 = 1;
/// The longest first line, in bytes.
const MAX_HEAD_BYTES: usize = 256;

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    tidegate_last_good: u64,
    bytes: usize,
    sha256: Cow<'a, str>,
}

/// What every format's first line says.
#[derive(Deserialize)]
struct AnyHead {
    tidegate_last_good: u64,
}

pub(super) fn write(saved: &Saved, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let unwritable = |_| Fault::Damaged("it cannot be written");
    let body = serde_json::to_vec(&Body::of(saved)).map_err(unwritable)?;
    let head = Head { tidegate_last_good: FORMAT, bytes: body.len(), sha256: hex(&sha256(&body)).into() };
    let mut bytes = serde_json::to_vec(&head).map_err(unwritable)?;
    bytes.push(b'\n');
    bytes.extend(body);
    bytes.push(b'\n');
    if bytes.len() > max_bytes { Err(Fault::TooLarge) } else { Ok(bytes) }
}

pub(super) fn read(bytes: &[u8]) -> Result<Saved, Fault> {
    let first = bytes.get(..bytes.len().min(MAX_HEAD_BYTES)).unwrap_or_default();
    let end = first.iter().position(|byte| *byte == b'\n').ok_or(Fault::Damaged("no first line"))?;
    let (head, rest) = bytes.split_at(end);
    let unknown = |_| Fault::Damaged("the first line");
    let any: AnyHead = serde_json::from_slice(head).map_err(unknown)?;
    if any.tidegate_last_good != FORMAT {
        return Err(Fault::OtherFormat(any.tidegate_last_good));
    }
    let head: Head<'_> = serde_json::from_slice(head).map_err(unknown)?;
    let body = rest.strip_prefix(b"\n").and_then(|body| body.strip_suffix(b"\n"));
    let body = body.filter(|body| body.len() == head.bytes).ok_or(Fault::Damaged("its length"))?;
    if hex(&sha256(body)) != head.sha256 {
        return Err(Fault::Damaged("its checksum"));
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| Fault::Damaged("its records"))?;
    body.into_saved().ok_or(Fault::Damaged("its records"))
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    rules_version: i64,
    saved_us: i64,
    domains: Vec<DomainRecord<'a>>,
    tenants: Vec<TenantRecord<'a>>,
    overrides: Vec<OverrideRecord<'a>>,
    keys: Vec<KeyRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct DomainRecord<'a> {
    tenant: Cow<'a, str>,
    name: Cow<'a, str>,
    document: Cow<'a, str>,
    version: i64,
    content_version: i64,
    rules: Vec<RuleRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct RuleRecord<'a> {
    name: Cow<'a, str>,
    document: Cow<'a, str>,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct TenantRecord<'a> {
    name: Cow<'a, str>,
    max_rules: u32,
    max_keys: u32,
    max_requests_per_second: Option<u32>,
    created_us: i64,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct OverrideRecord<'a> {
    tenant: Cow<'a, str>,
    domain: Cow<'a, str>,
    rule: Cow<'a, str>,
    limit: u64,
    window_us: Option<u64>,
    burst: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeyRecord<'a> {
    prefix: Cow<'a, str>,
    tenant: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    scopes: Vec<Cow<'a, str>>,
    hash: Cow<'a, str>,
    previous_hash: Option<Cow<'a, str>>,
    previous_until_us: Option<i64>,
    created_us: i64,
    expires_us: Option<i64>,
    last_used_us: Option<i64>,
    revoked_us: Option<i64>,
}

// === to records ===

impl<'a> Body<'a> {
    fn of(saved: &'a Saved) -> Self {
        Self {
            rules_version: saved.rules_version,
            saved_us: saved.saved_us,
            domains: saved.domains.iter().map(DomainRecord::of).collect(),
            tenants: saved.tenants.iter().map(TenantRecord::of).collect(),
            overrides: saved.overrides.iter().map(OverrideRecord::of).collect(),
            keys: saved.keys.iter().map(KeyRecord::of).collect(),
        }
    }
}

impl<'a> DomainRecord<'a> {
    fn of(domain: &'a StoredDomain) -> Self {
        let rule = |rule: &'a StoredRule| RuleRecord {
            name: rule.name.as_str().into(),
            document: rule.document.as_str().into(),
            version: rule.version,
        };
        Self {
            tenant: domain.tenant.as_str().into(),
            name: domain.name.as_str().into(),
            document: domain.document.as_str().into(),
            version: domain.version,
            content_version: domain.content_version,
            rules: domain.rules.iter().map(rule).collect(),
        }
    }
}

impl<'a> TenantRecord<'a> {
    fn of(tenant: &'a Tenant) -> Self {
        Self {
            name: tenant.name.as_str().into(),
            max_rules: tenant.ceilings.max_rules,
            max_keys: tenant.ceilings.max_keys,
            max_requests_per_second: tenant.ceilings.max_requests_per_second,
            created_us: tenant.created_us,
            version: tenant.version,
        }
    }
}

impl<'a> OverrideRecord<'a> {
    fn of(((tenant, domain, rule), quota): &'a ((String, String, String), OverrideQuota)) -> Self {
        Self {
            tenant: tenant.into(),
            domain: domain.into(),
            rule: rule.into(),
            limit: quota.limit,
            window_us: quota.window_us,
            burst: quota.burst,
        }
    }
}

impl<'a> KeyRecord<'a> {
    fn of(key: &'a ApiKey) -> Self {
        Self {
            prefix: key.prefix.as_str().into(),
            tenant: key.tenant.as_deref().map(Cow::Borrowed),
            name: key.name.as_str().into(),
            scopes: key.scopes.iter().map(|scope| scope.name().into()).collect(),
            hash: hex(&key.hash).into(),
            previous_hash: key.previous.map(|previous| hex(&previous.hash).into()),
            previous_until_us: key.previous.map(|previous| previous.until_us),
            created_us: key.created_us,
            expires_us: key.expires_us,
            last_used_us: key.last_used_us,
            revoked_us: key.revoked_us,
        }
    }
}

// === from records ===

impl Body<'_> {
    /// `None` where a record says what cannot be.
    fn into_saved(self) -> Option<Saved> {
        Some(Saved {
            rules_version: self.rules_version,
            saved_us: self.saved_us,
            domains: self.domains.into_iter().map(DomainRecord::into_model).collect(),
            tenants: self.tenants.into_iter().map(TenantRecord::into_model).collect(),
            overrides: self.overrides.into_iter().map(OverrideRecord::into_model).collect(),
            keys: self.keys.into_iter().map(KeyRecord::into_model).collect::<Option<_>>()?,
        })
    }
}

impl DomainRecord<'_> {
    fn into_model(self) -> StoredDomain {
        let rule = |rule: RuleRecord<'_>| StoredRule {
            name: rule.name.into(),
            document: rule.document.into(),
            version: rule.version,
        };
        StoredDomain {
            tenant: self.tenant.into(),
            name: self.name.into(),
            document: self.document.into(),
            version: self.version,
            content_version: self.content_version,
            rules: self.rules.into_iter().map(rule).collect(),
        }
    }
}

impl TenantRecord<'_> {
    fn into_model(self) -> Tenant {
        let ceilings = Ceilings {
            max_rules: self.max_rules,
            max_keys: self.max_keys,
            max_requests_per_second: self.max_requests_per_second,
        };
        Tenant { name: self.name.into(), ceilings, created_us: self.created_us, version: self.version }
    }
}

impl OverrideRecord<'_> {
    fn into_model(self) -> ((String, String, String), OverrideQuota) {
        let quota = OverrideQuota { limit: self.limit, window_us: self.window_us, burst: self.burst };
        ((self.tenant.into(), self.domain.into(), self.rule.into()), quota)
    }
}

impl KeyRecord<'_> {
    fn into_model(self) -> Option<ApiKey> {
        let previous = match (self.previous_hash, self.previous_until_us) {
            (Some(hash), Some(until_us)) => Some(PreviousSecret { hash: from_hex(&hash)?, until_us }),
            (None, None) => None,
            _ => return None,
        };
        Some(ApiKey {
            prefix: self.prefix.into(),
            tenant: self.tenant.map(Into::into),
            name: self.name.into(),
            scopes: self.scopes.iter().map(|scope| Scope::of_name(scope)).collect::<Option<_>>()?,
            hash: from_hex(&self.hash)?,
            previous,
            created_us: self.created_us,
            expires_us: self.expires_us,
            last_used_us: self.last_used_us,
            revoked_us: self.revoked_us,
        })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
