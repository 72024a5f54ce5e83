-- An older state schema, without its comments. Not to be changed.
CREATE SCHEMA IF NOT EXISTS sync;
CREATE TABLE IF NOT EXISTS sync.epoch (
    epoch bigint PRIMARY KEY,
    "primary" text NOT NULL CHECK ("primary" IN ('astra', 'postgres')),
    floor bigint NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closing')),
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO sync.epoch (epoch, "primary", floor)
VALUES (1, 'astra', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS sync.run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('backfill', 'drift')),
    table_name text NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    floor bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS run_open ON sync.run (table_name, kind) WHERE state = 'open';
CREATE TABLE IF NOT EXISTS sync.range (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES sync.run ON DELETE CASCADE,
    table_name text NOT NULL,
    range_start bigint NOT NULL,
    range_end bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'done', 'failed')),
    done_to bigint,
    lease_owner text,
    lease_until timestamptz,
    attempts int NOT NULL DEFAULT 0,
    rows_read bigint NOT NULL DEFAULT 0,
    rows_written bigint NOT NULL DEFAULT 0,
    rows_stale bigint NOT NULL DEFAULT 0,
    rows_rejected bigint NOT NULL DEFAULT 0,
    bytes_read bigint NOT NULL DEFAULT 0,
    error text,
    started_at timestamptz,
    finished_at timestamptz,
    CHECK (range_start < range_end)
);
CREATE INDEX IF NOT EXISTS range_claim ON sync.range (run_id, state, range_start);
CREATE INDEX IF NOT EXISTS range_token ON sync.range (table_name, range_start);
CREATE TABLE IF NOT EXISTS sync.tombstone (
    table_name text NOT NULL,
    key bytea NOT NULL,
    token bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (table_name, key)
);
CREATE INDEX IF NOT EXISTS tombstone_token ON sync.tombstone (table_name, token);
CREATE TABLE IF NOT EXISTS sync.intent (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    key bytea NOT NULL,
    token bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('put', 'update', 'delete', 'recheck')),
    state text NOT NULL CHECK (state IN ('open', 'finished', 'unsure', 'claimed')),
    version bigint NOT NULL,
    epoch bigint NOT NULL REFERENCES sync.epoch,
    owner text NOT NULL,
    mutation bytea,
    lease_owner text,
    lease_until timestamptz,
    attempts int NOT NULL DEFAULT 0,
    error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS intent_key ON sync.intent (table_name, key);
CREATE INDEX IF NOT EXISTS intent_token ON sync.intent (table_name, token);
CREATE UNIQUE INDEX IF NOT EXISTS intent_recheck ON sync.intent (table_name, key) WHERE kind = 'recheck' AND state = 'finished';
CREATE TABLE IF NOT EXISTS sync.writer (
    id text PRIMARY KEY,
    slot int NOT NULL,
    host text NOT NULL,
    pid int NOT NULL,
    epoch bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'signed_off', 'unclean')),
    unrecorded bigint NOT NULL DEFAULT 0,
    clock_skew_us bigint,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS sync.reject (
    table_name text NOT NULL,
    source_key bytea NOT NULL,
    column_name text NOT NULL,
    run_id bigint NOT NULL,
    token bigint NOT NULL,
    key jsonb NOT NULL,
    reason text NOT NULL,
    action text NOT NULL CHECK (action IN ('reject', 'strip-nul', 'null')),
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_name, source_key, column_name)
);
CREATE INDEX IF NOT EXISTS reject_token ON sync.reject (table_name, token);
CREATE TABLE IF NOT EXISTS sync.index (
    index_name text PRIMARY KEY,
    table_name text NOT NULL,
    definition text NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS sync.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    what text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
