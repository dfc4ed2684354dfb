-- The catalog in PostgreSQL. Times are microseconds since the Unix epoch (columns ..._us) or seconds (..._s).
-- Names are ordered by their bytes (COLLATE "C"), as SQLite orders them.
-- You may write subjects, overrides and bans with SQL of your own: triggers count the version, log the change and notify,
-- so that every node hears of it. Everything else is the program's: it keeps history and audit log in step.

-- Texts of the program: what was done once and for all.
CREATE TABLE meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

-- How far the catalog has come. A change takes the next version and holds the row until it commits, so the order of
-- versions is the order in which changes become visible.
CREATE TABLE versions (
    kind TEXT COLLATE "C" PRIMARY KEY, -- rules, subjects or keys
    version BIGINT NOT NULL
);

INSERT INTO versions (kind, version) VALUES ('rules', 1), ('subjects', 1), ('keys', 1);

-- Customers, and what each may have at the most.
CREATE TABLE tenants (
    name TEXT COLLATE "C" PRIMARY KEY,
    max_rules BIGINT NOT NULL,
    max_keys BIGINT NOT NULL,
    max_requests_per_second BIGINT, -- NULL: no ceiling
    created_us BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- An installation without tenants is one that has this one.
INSERT INTO tenants (name, max_rules, max_keys, max_requests_per_second, created_us, version)
VALUES ('default', 100000, 1000, NULL, 0, 1);

CREATE TABLE domains (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants (name),
    name TEXT COLLATE "C" NOT NULL,
    document TEXT NOT NULL, -- its settings as JSON, without rules
    version BIGINT NOT NULL, -- of the last change of the settings
    content_version BIGINT NOT NULL, -- of the last change of anything in it
    PRIMARY KEY (tenant, name)
);

CREATE TABLE rules (
    tenant TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL, -- the order within the domain; gaps are fine
    document TEXT NOT NULL, -- the rule as JSON
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, domain, name),
    FOREIGN KEY (tenant, domain) REFERENCES domains (tenant, name)
);

-- Every state that a rule, or a domain's settings (rule ''), ever had.
CREATE TABLE rule_history (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    document TEXT, -- NULL: deleted
    action TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    at_us BIGINT NOT NULL
);

CREATE INDEX rule_history_by_rule ON rule_history (tenant, domain, rule, id);
CREATE INDEX rule_history_by_domain ON rule_history (tenant, domain, id);

-- Which tier a subject has; the domain's default where it is not here.
--   UPDATE subjects SET tier = 'enterprise' WHERE domain = 'payments' AND subject = 'u1';
CREATE TABLE subjects (
    tenant TEXT COLLATE "C" NOT NULL DEFAULT 'default',
    domain TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    tier TEXT COLLATE "C" NOT NULL CHECK (tier <> ''),
    PRIMARY KEY (tenant, domain, subject)
);

CREATE INDEX subjects_by_tier ON subjects (tenant, domain, tier, subject);

-- A quota for one subject instead of its tier's.
CREATE TABLE overrides (
    tenant TEXT COLLATE "C" NOT NULL DEFAULT 'default',
    domain TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    limit_units BIGINT NOT NULL CHECK (limit_units >= 0),
    window_us BIGINT CHECK (window_us > 0), -- NULL: the rule's
    burst BIGINT CHECK (burst > 0), -- NULL: the limit
    until_us BIGINT, -- NULL: for ever
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, domain, subject, rule)
);

CREATE INDEX overrides_by_rule ON overrides (tenant, domain, rule);
CREATE INDEX overrides_by_end ON overrides (until_us) WHERE until_us IS NOT NULL;

-- Subjects that are refused whatever the rules say.
CREATE TABLE bans (
    tenant TEXT COLLATE "C" NOT NULL DEFAULT 'default',
    domain TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    until_us BIGINT, -- NULL: for ever
    by_name TEXT COLLATE "C" NOT NULL DEFAULT 'sql',
    since_us BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, domain, subject)
);

CREATE INDEX bans_by_end ON bans (until_us) WHERE until_us IS NOT NULL;

-- Whose tier, overrides or ban changed with which version of the subjects; a row without names stands for everybody.
CREATE TABLE subject_changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version BIGINT NOT NULL,
    tenant TEXT COLLATE "C",
    domain TEXT COLLATE "C",
    subject TEXT COLLATE "C"
);

CREATE INDEX subject_changes_by_version ON subject_changes (version);

-- Keys of the API, without their secrets.
CREATE TABLE api_keys (
    prefix TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT COLLATE "C" REFERENCES tenants (name), -- NULL: an operator's
    name TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL, -- with commas between
    hash BYTEA NOT NULL, -- SHA-256 of the secret
    previous_hash BYTEA, -- of the secret before the last rotation
    previous_until_us BIGINT,
    created_us BIGINT NOT NULL,
    expires_us BIGINT,
    last_used_us BIGINT,
    revoked_us BIGINT
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant);
CREATE INDEX api_keys_by_end ON api_keys (expires_us) WHERE expires_us IS NOT NULL;
CREATE INDEX api_keys_by_revocation ON api_keys (revoked_us) WHERE revoked_us IS NOT NULL;

-- Who changed what.
CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_us BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C",
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    before_json TEXT,
    after_json TEXT,
    correlation TEXT COLLATE "C"
);

CREATE INDEX audit_by_tenant ON audit (tenant, id);

-- Who used how much, by the minute and, when these are old, by the hour.
CREATE TABLE usage (
    tenant TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    tier TEXT COLLATE "C" NOT NULL,
    resolution TEXT COLLATE "C" NOT NULL, -- minute or hour
    at_s BIGINT NOT NULL, -- when the span begins
    allowed BIGINT NOT NULL,
    denied BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (tenant, domain, rule, tier, resolution, at_s)
);

CREATE INDEX usage_by_time ON usage (resolution, at_s);

-- Which batches of which node are in `usage`: none is added twice.
CREATE TABLE usage_batches (
    node TEXT COLLATE "C" NOT NULL,
    batch BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (node, batch)
);

CREATE INDEX usage_batches_by_time ON usage_batches (at_us);

-- The row that a node holds while it makes hours of minutes.
INSERT INTO meta (name, value) VALUES ('roll_up', '');

-- Nodes that listen hear of every version.
CREATE FUNCTION tidegate_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tidegate', NEW.kind);
    RETURN NULL;
END
$$;

CREATE TRIGGER versions_notify AFTER UPDATE ON versions FOR EACH ROW EXECUTE FUNCTION tidegate_notify();

-- Once for each statement that changes subjects, overrides or bans: one version, and a row for each subject, or a single
-- one for everybody where there are more than 1000.
CREATE FUNCTION tidegate_subjects_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched BIGINT;
    counted BIGINT;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        touched := 1001;
    ELSE
        SELECT count(*) INTO touched FROM changed;
    END IF;
    IF touched = 0 THEN
        RETURN NULL;
    END IF;
    -- Other quotas have to be compiled into the rules. The row of the rules comes first wherever both are held.
    IF TG_TABLE_NAME = 'overrides' THEN
        UPDATE versions SET version = version + 1 WHERE kind = 'rules';
    END IF;
    UPDATE versions SET version = version + 1 WHERE kind = 'subjects' RETURNING version INTO counted;
    IF touched > 1000 THEN
        INSERT INTO subject_changes (version) VALUES (counted);
    ELSE
        INSERT INTO subject_changes (version, tenant, domain, subject)
        SELECT DISTINCT counted, tenant, domain, subject FROM changed;
        -- A subject that an update renames has changed, too.
        IF TG_OP = 'UPDATE' THEN
            INSERT INTO subject_changes (version, tenant, domain, subject)
            SELECT DISTINCT counted, tenant, domain, subject FROM before
            EXCEPT SELECT counted, tenant, domain, subject FROM changed;
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER subjects_inserted AFTER INSERT ON subjects REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER subjects_updated AFTER UPDATE ON subjects REFERENCING OLD TABLE AS before NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER subjects_deleted AFTER DELETE ON subjects REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER subjects_truncated AFTER TRUNCATE ON subjects
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();

CREATE TRIGGER overrides_inserted AFTER INSERT ON overrides REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER overrides_updated AFTER UPDATE ON overrides REFERENCING OLD TABLE AS before NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER overrides_deleted AFTER DELETE ON overrides REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER overrides_truncated AFTER TRUNCATE ON overrides
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();

CREATE TRIGGER bans_inserted AFTER INSERT ON bans REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER bans_updated AFTER UPDATE ON bans REFERENCING OLD TABLE AS before NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER bans_deleted AFTER DELETE ON bans REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
CREATE TRIGGER bans_truncated AFTER TRUNCATE ON bans
FOR EACH STATEMENT EXECUTE FUNCTION tidegate_subjects_changed();
