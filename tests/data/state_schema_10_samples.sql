-- An older state schema, without its comments but those of functions' bodies. Not to be changed.
CREATE SCHEMA IF NOT EXISTS sync;
CREATE TABLE IF NOT EXISTS sync.epoch (
    epoch    bigint PRIMARY KEY,
    "primary" text NOT NULL CHECK ("primary" IN ('astra', 'postgres')),
    floor    bigint NOT NULL,
    state    text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closing')),
    since    timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE sync.epoch DROP CONSTRAINT IF EXISTS epoch_state_check;
ALTER TABLE sync.epoch ADD CONSTRAINT epoch_state_check CHECK (state IN ('open', 'closing', 'closed'));
ALTER TABLE sync.epoch ADD COLUMN IF NOT EXISTS closing_until timestamptz;
INSERT INTO sync.epoch (epoch, "primary", floor)
VALUES (1, 'astra', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS sync.run (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('backfill', 'drift')),
    table_name  text NOT NULL,
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    floor       bigint NOT NULL,
    rows_per_second bigint,
    failures    int NOT NULL DEFAULT 0,
    error       text,
    stop_requested boolean NOT NULL DEFAULT false,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS rows_per_second bigint;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS failures int NOT NULL DEFAULT 0;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS error text;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS stop_requested boolean NOT NULL DEFAULT false;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS data_center text;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS epoch bigint;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS shape text;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS settings jsonb;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS write_times boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX IF NOT EXISTS run_open ON sync.run (table_name, kind) WHERE state = 'open';
CREATE TABLE IF NOT EXISTS sync.range (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        bigint NOT NULL REFERENCES sync.run ON DELETE CASCADE,
    table_name    text NOT NULL,
    range_start   bigint NOT NULL,
    range_end     bigint NOT NULL,
    state         text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'done', 'failed')),
    done_to       bigint,
    lease_owner   text,
    lease_until   timestamptz,
    attempts      int NOT NULL DEFAULT 0,
    rows_read     bigint NOT NULL DEFAULT 0,
    rows_written  bigint NOT NULL DEFAULT 0,
    rows_stale    bigint NOT NULL DEFAULT 0,
    rows_rejected bigint NOT NULL DEFAULT 0,
    bytes_read    bigint NOT NULL DEFAULT 0,
    error         text,
    started_at    timestamptz,
    finished_at   timestamptz,
    CHECK (range_start < range_end)
);
DO $$ BEGIN
    IF to_regclass('sync.range_claim') IS NOT NULL THEN DROP INDEX sync.range_claim, sync.range_token; END IF;
END $$;
ALTER TABLE sync.range ADD COLUMN IF NOT EXISTS position bytea;
CREATE UNIQUE INDEX IF NOT EXISTS range_begin ON sync.range (run_id, range_start);
CREATE INDEX IF NOT EXISTS range_pending ON sync.range (run_id, attempts, range_start) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS range_running ON sync.range (run_id) WHERE state = 'running';
CREATE TABLE IF NOT EXISTS sync.tombstone (
    table_name text NOT NULL,
    key        bytea NOT NULL,
    token      bigint NOT NULL,
    version    bigint NOT NULL
);
DO $$ BEGIN
    IF to_regclass('sync.tombstone_pkey') IS NOT NULL THEN ALTER TABLE sync.tombstone DROP CONSTRAINT tombstone_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS tombstone_key ON sync.tombstone (table_name, sha256(key));
ALTER TABLE sync.tombstone REPLICA IDENTITY FULL;
CREATE INDEX IF NOT EXISTS tombstone_token ON sync.tombstone (table_name, token);
CREATE TABLE IF NOT EXISTS sync.partition_tombstone (
    table_name text NOT NULL,
    token      bigint NOT NULL,
    version    bigint NOT NULL,
    PRIMARY KEY (table_name, token)
);
CREATE TABLE IF NOT EXISTS sync.ahead (
    table_name text NOT NULL,
    key        bytea NOT NULL,
    token      bigint NOT NULL,
    version    bigint NOT NULL,
    shown      json NOT NULL,
    rechecked  boolean NOT NULL DEFAULT false
);
DO $$ BEGIN
    IF to_regclass('sync.ahead_pkey') IS NOT NULL THEN ALTER TABLE sync.ahead DROP CONSTRAINT ahead_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS ahead_key ON sync.ahead (table_name, sha256(key));
ALTER TABLE sync.ahead REPLICA IDENTITY FULL;
ALTER TABLE sync.ahead ADD COLUMN IF NOT EXISTS source_key bytea;
DO $$ BEGIN
    IF (SELECT atttypid = 'jsonb'::regtype FROM pg_attribute WHERE attrelid = 'sync.ahead'::regclass AND attname = 'shown') THEN
        ALTER TABLE sync.ahead ALTER COLUMN shown TYPE json;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS sync.intent (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name  text NOT NULL,
    key         bytea NOT NULL,
    token       bigint NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('put', 'update', 'delete', 'recheck')),
    state       text NOT NULL CHECK (state IN ('open', 'finished', 'unsure', 'claimed')),
    version     bigint NOT NULL,
    epoch       bigint NOT NULL,
    owner       text NOT NULL,
    mutation    bytea,
    lease_owner text,
    lease_until timestamptz,
    attempts    int NOT NULL DEFAULT 0,
    error       text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'intent_epoch_fkey' AND conrelid = 'sync.intent'::regclass) THEN
        ALTER TABLE sync.intent DROP CONSTRAINT intent_epoch_fkey;
    END IF;
END $$;
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS ended_at timestamptz;
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS replayed_at timestamptz;
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS source_key bytea;
DO $$ BEGIN
    IF to_regclass('sync.intent_key') IS NOT NULL THEN DROP INDEX sync.intent_key; END IF;
END $$;
CREATE INDEX IF NOT EXISTS intent_of_key ON sync.intent (table_name, sha256(key));
CREATE INDEX IF NOT EXISTS intent_token ON sync.intent (table_name, token);
CREATE INDEX IF NOT EXISTS intent_due ON sync.intent (table_name, lease_until NULLS FIRST, id) WHERE state <> 'open';
CREATE INDEX IF NOT EXISTS intent_open ON sync.intent (table_name, id) WHERE state = 'open';
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'intent_kind_check' AND conrelid = 'sync.intent'::regclass
                   AND pg_get_constraintdef(oid) LIKE '%recheck_partition%') THEN
        ALTER TABLE sync.intent DROP CONSTRAINT IF EXISTS intent_kind_check;
        ALTER TABLE sync.intent ADD CONSTRAINT intent_kind_check
            CHECK (kind IN ('put', 'update', 'delete', 'recheck', 'delete_partition', 'recheck_partition'));
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS intent_partition ON sync.intent (table_name, token) WHERE kind = 'delete_partition';
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS not_before timestamptz;
CREATE INDEX IF NOT EXISTS intent_recheck_partition ON sync.intent (table_name, id) WHERE kind = 'recheck_partition';
DO $$ BEGIN
    IF to_regclass('sync.intent_recheck') IS NOT NULL THEN DROP INDEX sync.intent_recheck; END IF;
    IF to_regclass('sync.intent_recheck_version') IS NOT NULL THEN DROP INDEX sync.intent_recheck_version; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS intent_recheck_once ON sync.intent (table_name, sha256(key), version)
    WHERE kind = 'recheck' AND state = 'finished';
CREATE TABLE IF NOT EXISTS sync.writer (
    id            text PRIMARY KEY,
    slot          int NOT NULL,
    host          text NOT NULL,
    pid           int NOT NULL,
    epoch         bigint NOT NULL,
    state         text NOT NULL CHECK (state IN ('active', 'signed_off', 'unclean')),
    unrecorded    bigint NOT NULL DEFAULT 0,
    clock_skew_us bigint,
    failures      jsonb NOT NULL DEFAULT '{}',
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS failures jsonb NOT NULL DEFAULT '{}';
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS data_center text;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS settings jsonb;
ALTER TABLE sync.writer ALTER COLUMN slot DROP NOT NULL;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS lease_seconds float8;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS accepts boolean NOT NULL DEFAULT true;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS witness text;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS protocol int NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS writer_holds ON sync.writer (slot) WHERE state <> 'signed_off';
CREATE INDEX IF NOT EXISTS writer_of_slot ON sync.writer (slot, registered_at);
CREATE INDEX IF NOT EXISTS writer_gone ON sync.writer (registered_at) WHERE state = 'signed_off';
CREATE TABLE IF NOT EXISTS sync.reject (
    table_name  text NOT NULL,
    source_key  bytea NOT NULL,
    column_name text NOT NULL,
    run_id      bigint NOT NULL,
    token       bigint NOT NULL,
    key         json NOT NULL,
    reason      text NOT NULL,
    action      text NOT NULL CHECK (action IN ('reject', 'strip-nul', 'null')),
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
DO $$ BEGIN
    IF to_regclass('sync.reject_pkey') IS NOT NULL THEN ALTER TABLE sync.reject DROP CONSTRAINT reject_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS reject_key ON sync.reject (table_name, sha256(source_key), column_name);
ALTER TABLE sync.reject REPLICA IDENTITY FULL;
DO $$ BEGIN
    IF (SELECT atttypid = 'jsonb'::regtype FROM pg_attribute WHERE attrelid = 'sync.reject'::regclass AND attname = 'key') THEN
        ALTER TABLE sync.reject ALTER COLUMN key TYPE json;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS reject_token ON sync.reject (table_name, token);
CREATE TABLE IF NOT EXISTS sync.index (
    index_name text PRIMARY KEY,
    table_name text NOT NULL,
    definition text NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'sync.index'::regclass AND attname = 'removed_at' AND NOT attisdropped) THEN
        ALTER TABLE sync.index RENAME COLUMN removed_at TO dropped_at;
    END IF;
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'sync.index'::regclass AND conname = 'index_removed_at_not_null') THEN
        ALTER TABLE sync.index RENAME CONSTRAINT index_removed_at_not_null TO index_dropped_at_not_null;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS sync.index_lease (
    table_name text PRIMARY KEY,
    owner      text NOT NULL,
    until      timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS sync.disturbance (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name text NOT NULL,
    why        text NOT NULL
);
CREATE TABLE IF NOT EXISTS sync.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    who    text NOT NULL,
    what   text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS repair boolean NOT NULL DEFAULT false;
ALTER TABLE sync.range ADD COLUMN IF NOT EXISTS figures jsonb;
ALTER TABLE sync.range ADD COLUMN IF NOT EXISTS deaths int NOT NULL DEFAULT 0;
CREATE TABLE IF NOT EXISTS sync.drift_pass (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    runs        bigint[] NOT NULL,
    clean       boolean NOT NULL,
    repaired    bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    report      jsonb NOT NULL
);
ALTER TABLE sync.drift_pass ADD COLUMN IF NOT EXISTS data_center text;
ALTER TABLE sync.drift_pass ADD COLUMN IF NOT EXISTS proof jsonb;
CREATE TABLE IF NOT EXISTS sync.drift_finding (
    run_id         bigint NOT NULL REFERENCES sync.run ON DELETE CASCADE,
    table_name     text NOT NULL,
    key            bytea NOT NULL,
    source_key     bytea NOT NULL,
    token          bigint NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('missing', 'extra', 'different', 'unknown')),
    shown          json NOT NULL,
    columns        text[] NOT NULL,
    source_version bigint NOT NULL,
    target_version bigint,
    repaired       boolean NOT NULL,
    error          text NOT NULL
);
DO $$ BEGIN
    IF to_regclass('sync.drift_finding_pkey') IS NOT NULL THEN ALTER TABLE sync.drift_finding DROP CONSTRAINT drift_finding_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS drift_finding_key ON sync.drift_finding (run_id, sha256(key), sha256(source_key));
ALTER TABLE sync.drift_finding REPLICA IDENTITY FULL;
DO $$ BEGIN
    IF (SELECT atttypid = 'jsonb'::regtype FROM pg_attribute WHERE attrelid = 'sync.drift_finding'::regclass AND attname = 'shown') THEN
        ALTER TABLE sync.drift_finding ALTER COLUMN shown TYPE json;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS sync.shadow_reads (
    writer     text NOT NULL,
    epoch      bigint NOT NULL,
    compared   bigint NOT NULL,
    skipped    bigint NOT NULL,
    differing  bigint NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (writer, epoch)
);
CREATE TABLE IF NOT EXISTS sync.shadow_difference (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    key        bytea NOT NULL,
    source_key bytea NOT NULL,
    token      bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('missing', 'extra', 'different', 'unreadable')),
    shown      json NOT NULL,
    columns    text[] NOT NULL,
    epoch      bigint NOT NULL,
    writer     text NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS shadow_difference_key ON sync.shadow_difference (table_name, sha256(key), sha256(source_key));
CREATE TABLE IF NOT EXISTS sync.read_shape (
    table_name text NOT NULL,
    shape      text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_name, shape)
);
CREATE TABLE IF NOT EXISTS sync.switch (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('cutover', 'rollback')),
    from_epoch  bigint NOT NULL REFERENCES sync.epoch,
    who         text NOT NULL,
    state       text NOT NULL DEFAULT 'announced' CONSTRAINT switch_state_check
                CHECK (state IN ('announced', 'closing', 'done', 'abandoned') OR state = 'flipped'),
    lease_until timestamptz NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at   timestamptz,
    finished_at timestamptz,
    reason      text
);
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'sync.switch'::regclass AND conname = 'switch_state_check'
                   AND pg_get_constraintdef(oid) LIKE '%''done''%') THEN
        ALTER TABLE sync.switch DROP CONSTRAINT switch_state_check;
        ALTER TABLE sync.switch ADD CONSTRAINT switch_state_check
            CHECK (state IN ('announced', 'closing', 'done', 'abandoned') OR state = 'flipped');
    END IF;
END $$;
UPDATE sync.switch SET state = 'done' WHERE state = 'flipped';
CREATE UNIQUE INDEX IF NOT EXISTS switch_under_way ON sync.switch ((true)) WHERE finished_at IS NULL;
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS replays int NOT NULL DEFAULT 0;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS acknowledged bigint;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS waits jsonb;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS recorded_at timestamptz;
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS fenced_at timestamptz;
CREATE TABLE IF NOT EXISTS sync.source_table (
    name       text PRIMARY KEY,
    definition jsonb NOT NULL
);
ALTER TABLE sync.drift_pass ADD COLUMN IF NOT EXISTS epoch bigint;
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'sync.drift_pass'::regclass AND attname = 'schema_digest' AND NOT attisdropped) THEN
        ALTER TABLE sync.drift_pass DROP COLUMN schema_digest;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS sync.feed (
    name        text PRIMARY KEY,
    position    text,
    told_until  timestamptz NOT NULL,
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    keys        bigint NOT NULL DEFAULT 0,
    partitions  bigint NOT NULL DEFAULT 0,
    strays      bigint NOT NULL DEFAULT 0,
    unmapped    bigint NOT NULL DEFAULT 0,
    rejects     bigint NOT NULL DEFAULT 0,
    error       text,
    lease_owner text,
    lease_until timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS sync.gap (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feed        text NOT NULL,
    table_name  text NOT NULL,
    until       timestamptz NOT NULL,
    counts_from timestamptz NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    why         text NOT NULL
);
CREATE TABLE IF NOT EXISTS sync.sample (
    at      timestamptz PRIMARY KEY,
    figures jsonb NOT NULL
);
CREATE OR REPLACE FUNCTION sync.in_force() RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $sync$
    SELECT (SELECT max(epoch) FROM sync.epoch) > 1 OR EXISTS (SELECT FROM sync.writer)
$sync$;
CREATE OR REPLACE FUNCTION sync.sql_writer_begins() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $sync$
DECLARE
    e record;
BEGIN
    IF current_setting('sync.sql_epoch', true) <> '' THEN
        RETURN NULL; -- this transaction holds it; if it was rolled back to a savepoint, both are gone
    END IF;
    IF NOT sync.in_force() THEN
        PERFORM set_config('sync.sql_epoch', '0', true); -- a plain copy: nobody tells of its rows, and nobody is refused
        RETURN NULL;
    END IF;
    LOOP
        BEGIN -- leaving this block by an error gives the lock back: the switch that is waited for needs it
            PERFORM pg_advisory_xact_lock_shared(1937337955, 0);
            SELECT epoch, "primary", state = 'closing' AND closing_until > clock_timestamp() AS is_closing
            INTO STRICT e FROM sync.epoch ORDER BY epoch DESC LIMIT 1;
            IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                -- The snapshot may be older than a switch: then this is a serialization error, 40001.
                PERFORM FROM sync.epoch WHERE epoch = e.epoch FOR SHARE;
            END IF;
            -- A call of an application's own class that began before the closing must end, and the switch waits for it.
            IF e.is_closing AND NOT EXISTS (SELECT FROM sync.intent WHERE state = 'open' AND kind = 'recheck') THEN
                RAISE EXCEPTION USING ERRCODE = 'SY003', MESSAGE = 'the primary is being changed';
            END IF;
            -- Processes of older versions do not say sync.own: they are let through as long as one is registered.
            IF e."primary" = 'astra' AND TG_ARGV[0] = 'refuse'
               AND NOT EXISTS (SELECT FROM sync.writer AS w WHERE w.state = 'active' AND w.protocol < 2) THEN
                RAISE EXCEPTION USING ERRCODE = 'SY001', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
                    MESSAGE = format('%I.%I: it is being migrated, and Astra is primary: SQL must not write it', TG_TABLE_SCHEMA, TG_TABLE_NAME),
                    HINT = 'Write through the application until `sync cutover`; [cutover] sql_writers = "allow" in sync.toml and '
                           '`sync schema apply` let SQL write, and Astra''s rows overwrite what it wrote.';
            END IF;
            PERFORM set_config('sync.sql_epoch', (CASE e."primary" WHEN 'astra' THEN -e.epoch ELSE e.epoch END)::text, true);
            RETURN NULL;
        EXCEPTION WHEN SQLSTATE 'SY003' THEN
            NULL;
        END;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$sync$;
CREATE OR REPLACE FUNCTION sync.sql_writer_truncates() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $sync$
BEGIN
    IF NOT sync.in_force() THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'SY002', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
        MESSAGE = format('%I.%I: it is being migrated: TRUNCATE would not reach Cassandra', TG_TABLE_SCHEMA, TG_TABLE_NAME),
        HINT = 'Use DELETE, or end the migration first: sync finish.';
END
$sync$;
