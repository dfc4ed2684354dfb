-- The catalog in SQLite. Times are microseconds since the Unix epoch (columns ..._us) or seconds (..._s).
-- You may write subjects, overrides and bans with SQL of your own: triggers count the version and log the change, so
-- that every node hears of it. Everything else is the program's: it keeps history and audit log in step.
-- Tables are strict: a time with a fraction, or a limit in words, is refused here and not found damaged by every reader.

-- Texts of the program: what was done once and for all.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- How far the catalog has come. A change takes the next version and holds the row until it commits, so the order of
-- versions is the order in which changes become visible.
CREATE TABLE versions (
    kind TEXT PRIMARY KEY, -- rules, subjects or keys
    version INTEGER NOT NULL
) STRICT;

INSERT INTO versions (kind, version) VALUES ('rules', 1), ('subjects', 1), ('keys', 1);

-- Customers, and what each may have at the most.
CREATE TABLE tenants (
    name TEXT PRIMARY KEY,
    max_rules INTEGER NOT NULL,
    max_keys INTEGER NOT NULL,
    max_requests_per_second INTEGER, -- NULL: no ceiling
    created_us INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;

-- An installation without tenants is one that has this one.
INSERT INTO tenants (name, max_rules, max_keys, max_requests_per_second, created_us, version)
VALUES ('default', 100000, 1000, NULL, 0, 1);

CREATE TABLE domains (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    name TEXT NOT NULL,
    document TEXT NOT NULL, -- its settings as JSON, without rules
    version INTEGER NOT NULL, -- of the last change of the settings
    content_version INTEGER NOT NULL, -- of the last change of anything in it
    PRIMARY KEY (tenant, name)
) STRICT;

CREATE TABLE rules (
    tenant TEXT NOT NULL,
    domain TEXT NOT NULL,
    name TEXT NOT NULL,
    position INTEGER NOT NULL, -- the order within the domain; gaps are fine
    document TEXT NOT NULL, -- the rule as JSON
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, domain, name),
    FOREIGN KEY (tenant, domain) REFERENCES domains (tenant, name)
) STRICT;

-- Every state that a rule, or a domain's settings (rule ''), ever had.
CREATE TABLE rule_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    domain TEXT NOT NULL,
    rule TEXT NOT NULL,
    position INTEGER NOT NULL,
    document TEXT, -- NULL: deleted
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX rule_history_by_rule ON rule_history (tenant, domain, rule, id);
CREATE INDEX rule_history_by_domain ON rule_history (tenant, domain, id);

-- Which tier a subject has; the domain's default where it is not here.
--   UPDATE subjects SET tier = 'enterprise' WHERE domain = 'payments' AND subject = 'u1';
CREATE TABLE subjects (
    tenant TEXT NOT NULL DEFAULT 'default',
    domain TEXT NOT NULL,
    subject TEXT NOT NULL,
    tier TEXT NOT NULL CHECK (tier <> ''),
    PRIMARY KEY (tenant, domain, subject)
) STRICT;

CREATE INDEX subjects_by_tier ON subjects (tenant, domain, tier, subject);

-- A quota for one subject instead of its tier's.
CREATE TABLE overrides (
    tenant TEXT NOT NULL DEFAULT 'default',
    domain TEXT NOT NULL,
    subject TEXT NOT NULL,
    rule TEXT NOT NULL,
    limit_units INTEGER NOT NULL CHECK (limit_units >= 0),
    window_us INTEGER CHECK (window_us > 0), -- NULL: the rule's
    burst INTEGER CHECK (burst > 0), -- NULL: the limit
    until_us INTEGER, -- NULL: for ever
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, domain, subject, rule)
) STRICT;

CREATE INDEX overrides_by_rule ON overrides (tenant, domain, rule);
CREATE INDEX overrides_by_end ON overrides (until_us) WHERE until_us IS NOT NULL;

-- Subjects that are refused whatever the rules say.
CREATE TABLE bans (
    tenant TEXT NOT NULL DEFAULT 'default',
    domain TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    until_us INTEGER, -- NULL: for ever
    by_name TEXT NOT NULL DEFAULT 'sql',
    since_us INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, domain, subject)
) STRICT;

CREATE INDEX bans_by_end ON bans (until_us) WHERE until_us IS NOT NULL;

-- Whose tier, overrides or ban changed with which version of the subjects; a row without names stands for everybody.
CREATE TABLE subject_changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL,
    tenant TEXT,
    domain TEXT,
    subject TEXT
) STRICT;

CREATE INDEX subject_changes_by_version ON subject_changes (version);

-- Keys of the API, without their secrets.
CREATE TABLE api_keys (
    prefix TEXT PRIMARY KEY,
    tenant TEXT REFERENCES tenants (name), -- NULL: an operator's
    name TEXT NOT NULL,
    scopes TEXT NOT NULL, -- with commas between
    hash BLOB NOT NULL, -- SHA-256 of the secret
    previous_hash BLOB, -- of the secret before the last rotation
    previous_until_us INTEGER,
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    last_used_us INTEGER,
    revoked_us INTEGER
) STRICT;

CREATE INDEX api_keys_by_tenant ON api_keys (tenant);
CREATE INDEX api_keys_by_end ON api_keys (expires_us) WHERE expires_us IS NOT NULL;
CREATE INDEX api_keys_by_revocation ON api_keys (revoked_us) WHERE revoked_us IS NOT NULL;

-- Who changed what.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    tenant TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    before_json TEXT,
    after_json TEXT,
    correlation TEXT
) STRICT;

CREATE INDEX audit_by_tenant ON audit (tenant, id);

-- Who used how much, by the minute and, when these are old, by the hour.
CREATE TABLE usage (
    tenant TEXT NOT NULL,
    domain TEXT NOT NULL,
    rule TEXT NOT NULL,
    tier TEXT NOT NULL,
    resolution TEXT NOT NULL, -- minute or hour
    at_s INTEGER NOT NULL, -- when the span begins
    allowed INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (tenant, domain, rule, tier, resolution, at_s)
) STRICT;

CREATE INDEX usage_by_time ON usage (resolution, at_s);

-- Which batches of which node are in `usage`: none is added twice.
CREATE TABLE usage_batches (
    node TEXT NOT NULL,
    batch INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    PRIMARY KEY (node, batch)
) STRICT;

CREATE INDEX usage_batches_by_time ON usage_batches (at_us);

-- Once for each row of subjects, overrides or bans that changes: a version and a row of subject_changes. The program
-- writes the row 'bulk' of meta while it changes many, and a single row for everybody when it is done.

CREATE TRIGGER subjects_inserted AFTER INSERT ON subjects WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, NEW.tenant, NEW.domain, NEW.subject FROM versions WHERE kind = 'subjects';
END;

CREATE TRIGGER subjects_updated AFTER UPDATE ON subjects WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, NEW.tenant, NEW.domain, NEW.subject FROM versions WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, OLD.tenant, OLD.domain, OLD.subject FROM versions WHERE kind = 'subjects'
    AND (OLD.tenant, OLD.domain, OLD.subject) <> (NEW.tenant, NEW.domain, NEW.subject);
END;

CREATE TRIGGER subjects_deleted AFTER DELETE ON subjects WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, OLD.tenant, OLD.domain, OLD.subject FROM versions WHERE kind = 'subjects';
END;

CREATE TRIGGER overrides_inserted AFTER INSERT ON overrides WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'rules';
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, NEW.tenant, NEW.domain, NEW.subject FROM versions WHERE kind = 'subjects';
END;

CREATE TRIGGER overrides_updated AFTER UPDATE ON overrides WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'rules';
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, NEW.tenant, NEW.domain, NEW.subject FROM versions WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, OLD.tenant, OLD.domain, OLD.subject FROM versions WHERE kind = 'subjects'
    AND (OLD.tenant, OLD.domain, OLD.subject) <> (NEW.tenant, NEW.domain, NEW.subject);
END;

CREATE TRIGGER overrides_deleted AFTER DELETE ON overrides WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'rules';
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, OLD.tenant, OLD.domain, OLD.subject FROM versions WHERE kind = 'subjects';
END;

CREATE TRIGGER bans_inserted AFTER INSERT ON bans WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, NEW.tenant, NEW.domain, NEW.subject FROM versions WHERE kind = 'subjects';
END;

CREATE TRIGGER bans_updated AFTER UPDATE ON bans WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, NEW.tenant, NEW.domain, NEW.subject FROM versions WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, OLD.tenant, OLD.domain, OLD.subject FROM versions WHERE kind = 'subjects'
    AND (OLD.tenant, OLD.domain, OLD.subject) <> (NEW.tenant, NEW.domain, NEW.subject);
END;

CREATE TRIGGER bans_deleted AFTER DELETE ON bans WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'bulk')
BEGIN
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects';
    INSERT INTO subject_changes (version, tenant, domain, subject)
    SELECT version, OLD.tenant, OLD.domain, OLD.subject FROM versions WHERE kind = 'subjects';
END;
