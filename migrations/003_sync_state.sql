-- The state of a migration, in the target database, where it survives the loss of Redis and of any process.
-- Dropped by `sync finish`. Names as in the documentation; every row version is a timestamp in µs since 1970.

CREATE SCHEMA IF NOT EXISTS sync;

-- The authority on which store is primary is the row with the highest epoch (invariant 6).
CREATE TABLE IF NOT EXISTS sync.epoch (
    epoch    bigint PRIMARY KEY,
    "primary" text NOT NULL CHECK ("primary" IN ('astra', 'postgres')),
    floor    bigint NOT NULL,                 -- exceeds every version that was possible before (rule 3)
    state    text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closing')),
    since    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Before the intents' table: a write locks the epoch's table first, and an upgrade in the other order could deadlock with it.
ALTER TABLE sync.epoch DROP CONSTRAINT IF EXISTS epoch_state_check;
ALTER TABLE sync.epoch ADD CONSTRAINT epoch_state_check CHECK (state IN ('open', 'closing', 'closed'));
ALTER TABLE sync.epoch ADD COLUMN IF NOT EXISTS closing_until timestamptz; -- after that a waiting writer reopens it
INSERT INTO sync.epoch (epoch, "primary", floor)
VALUES (1, 'astra', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
ON CONFLICT DO NOTHING;

-- One pass over the whole ring of one table.
CREATE TABLE IF NOT EXISTS sync.run (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('backfill', 'drift')),
    table_name  text NOT NULL,
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    floor       bigint NOT NULL,              -- the version of the rows that this run inserts
    rows_per_second bigint,                   -- null: no limit
    failures    int NOT NULL DEFAULT 0,       -- jobs that failed as a whole since the last start, and the last one's error
    error       text,
    stop_requested boolean NOT NULL DEFAULT false, -- workers release their ranges at the next batch
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS rows_per_second bigint; -- missing in the earliest states
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS failures int NOT NULL DEFAULT 0;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS error text;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS stop_requested boolean NOT NULL DEFAULT false;
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS data_center text; -- of the source, read by its command; null: unknown
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS epoch bigint;   -- the one in which it began; null: begun by an older version
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS shape text;     -- the table's shape on both sides when it began
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS settings jsonb; -- its command's, for the table; null: not recorded
-- Whether its workers look for cells that were written ahead of the clock, range by range (sync.ahead).
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS write_times boolean NOT NULL DEFAULT false;
-- One open run per table and kind, so that rule 9 finds the one range row that holds a token.
CREATE UNIQUE INDEX IF NOT EXISTS run_open ON sync.run (table_name, kind) WHERE state = 'open';

CREATE TABLE IF NOT EXISTS sync.range (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        bigint NOT NULL REFERENCES sync.run ON DELETE CASCADE,
    table_name    text NOT NULL,
    range_start   bigint NOT NULL,            -- (start, end]; the range that starts at the least token holds it too
    range_end     bigint NOT NULL,
    state         text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'done', 'failed')),
    done_to       bigint,                     -- the checkpoint: every row up to and including this token is done
    lease_owner   text,
    lease_until   timestamptz,
    attempts      int NOT NULL DEFAULT 0,
    rows_read     bigint NOT NULL DEFAULT 0,
    rows_written  bigint NOT NULL DEFAULT 0,
    rows_stale    bigint NOT NULL DEFAULT 0,  -- skipped: already there, deleted, or being written
    rows_rejected bigint NOT NULL DEFAULT 0,
    bytes_read    bigint NOT NULL DEFAULT 0,
    error         text,
    started_at    timestamptz,
    finished_at   timestamptz,
    CHECK (range_start < range_end)
);
DO $$ BEGIN  -- indexes of an earlier form, whose cost grew with the number of ranges
    IF to_regclass('sync.range_claim') IS NOT NULL THEN DROP INDEX sync.range_claim, sync.range_token; END IF;
END $$;
-- Where to resume within the partition after `done_to`: the source's own mark (a paging state). Null: at its start.
ALTER TABLE sync.range ADD COLUMN IF NOT EXISTS position bytea;
CREATE UNIQUE INDEX IF NOT EXISTS range_begin ON sync.range (run_id, range_start); -- the range that holds a token
CREATE INDEX IF NOT EXISTS range_pending ON sync.range (run_id, attempts, range_start) WHERE state = 'pending'; -- the next one
CREATE INDEX IF NOT EXISTS range_running ON sync.range (run_id) WHERE state = 'running'; -- few; leases change too often

-- Remembers that a key was deleted. `key` is the key's canonical bytes: int32 length and `*_send` bytes of each column.
CREATE TABLE IF NOT EXISTS sync.tombstone (
    table_name text NOT NULL,
    key        bytea NOT NULL,
    token      bigint NOT NULL,
    version    bigint NOT NULL
);
DO $$ BEGIN  -- an index of an earlier form, on the key itself
    IF to_regclass('sync.tombstone_pkey') IS NOT NULL THEN ALTER TABLE sync.tombstone DROP CONSTRAINT tombstone_pkey; END IF;
END $$;
-- A key is indexed by its digest: Cassandra takes keys of 64 kB, an entry of a B-tree 2,704 bytes. As there is no primary
-- key, a publication FOR ALL TABLES identifies rows by all of their columns.
CREATE UNIQUE INDEX IF NOT EXISTS tombstone_key ON sync.tombstone (table_name, sha256(key));
ALTER TABLE sync.tombstone REPLICA IDENTITY FULL;
CREATE INDEX IF NOT EXISTS tombstone_token ON sync.tombstone (table_name, token);

-- Remembers that rows of a partition were deleted with one call: it stands for a tombstone of every key with this token.
CREATE TABLE IF NOT EXISTS sync.partition_tombstone (
    table_name text NOT NULL,
    token      bigint NOT NULL,
    version    bigint NOT NULL,
    PRIMARY KEY (table_name, token)
);

-- Rows of the source whose newest cell was written ahead of the clock: later writes of the key are stamped above it (rule 2).
CREATE TABLE IF NOT EXISTS sync.ahead (
    table_name text NOT NULL,
    key        bytea NOT NULL,                -- canonical bytes
    token      bigint NOT NULL,
    version    bigint NOT NULL,               -- the newest cell's timestamp
    shown      json NOT NULL,                 -- the key in readable form
    rechecked  boolean NOT NULL DEFAULT false -- a recheck intent was left, to give the row this version
);
DO $$ BEGIN  -- an index of an earlier form, on the key itself
    IF to_regclass('sync.ahead_pkey') IS NOT NULL THEN ALTER TABLE sync.ahead DROP CONSTRAINT ahead_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS ahead_key ON sync.ahead (table_name, sha256(key));
ALTER TABLE sync.ahead REPLICA IDENTITY FULL;
ALTER TABLE sync.ahead ADD COLUMN IF NOT EXISTS source_key bytea; -- the source's own key, as in sync.intent
DO $$ BEGIN  -- an earlier form was jsonb, which does not keep the order of a key's columns
    IF (SELECT atttypid = 'jsonb'::regtype FROM pg_attribute WHERE attrelid = 'sync.ahead'::regclass AND attname = 'shown') THEN
        ALTER TABLE sync.ahead ALTER COLUMN shown TYPE json;
    END IF;
END $$;

-- "This key is about to be written", or "recheck this key": removed when both sides are known to be equal (rule 11).
CREATE TABLE IF NOT EXISTS sync.intent (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name  text NOT NULL,
    key         bytea NOT NULL,
    token       bigint NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('put', 'update', 'delete', 'recheck')),
    state       text NOT NULL CHECK (state IN ('open', 'finished', 'unsure', 'claimed')),
    version     bigint NOT NULL,
    epoch       bigint NOT NULL,              -- no foreign key: each writer would lock the epoch's row (rule 20)
    owner       text NOT NULL,
    mutation    bytea,                        -- what to replay; null for a recheck
    lease_owner text,
    lease_until timestamptz,
    attempts    int NOT NULL DEFAULT 0,
    error       text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
DO $$ BEGIN  -- an earlier form had a foreign key
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'intent_epoch_fkey' AND conrelid = 'sync.intent'::regclass) THEN
        ALTER TABLE sync.intent DROP CONSTRAINT intent_epoch_fkey;
    END IF;
END $$;
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS ended_at timestamptz;    -- when its call ended unsettled (rule 17)
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS replayed_at timestamptz; -- when its write was last sent again
-- The source's own key, int32 length and bytes of each of its cells: several such keys may be one value in Postgres.
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS source_key bytea;
DO $$ BEGIN  -- an index of an earlier form, on the key itself
    IF to_regclass('sync.intent_key') IS NOT NULL THEN DROP INDEX sync.intent_key; END IF;
END $$;
CREATE INDEX IF NOT EXISTS intent_of_key ON sync.intent (table_name, sha256(key));
CREATE INDEX IF NOT EXISTS intent_token ON sync.intent (table_name, token);
-- The due intents of a table, at a cost that grows neither with other tables' intents nor with those that wait for another
-- try. The intent of a write that both sides have at once is never in the first of these indexes.
CREATE INDEX IF NOT EXISTS intent_due ON sync.intent (table_name, lease_until NULLS FIRST, id) WHERE state <> 'open';
CREATE INDEX IF NOT EXISTS intent_open ON sync.intent (table_name, id) WHERE state = 'open';
DO $$ BEGIN  -- earlier forms knew no deletes of partitions, or no rechecks of them
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'intent_kind_check' AND conrelid = 'sync.intent'::regclass
                   AND pg_get_constraintdef(oid) LIKE '%recheck_partition%') THEN
        ALTER TABLE sync.intent DROP CONSTRAINT IF EXISTS intent_kind_check;
        ALTER TABLE sync.intent ADD CONSTRAINT intent_kind_check
            CHECK (kind IN ('put', 'update', 'delete', 'recheck', 'delete_partition', 'recheck_partition'));
    END IF;
END $$;
-- Deletes of partitions: few, and every stamp of a key looks for them. `key`: the columns that are given by their values.
CREATE INDEX IF NOT EXISTS intent_partition ON sync.intent (table_name, token) WHERE kind = 'delete_partition';
-- Announcements of changes by others. `not_before`: before that moment a write that was told may not have come to a quorum.
ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS not_before timestamptz;
CREATE INDEX IF NOT EXISTS intent_recheck_partition ON sync.intent (table_name, id) WHERE kind = 'recheck_partition';
-- A key is rechecked once, however often a run skipped it. Announced writes must have a version each: an intent that a
-- reconcile has already picked does not cover a write that ends after its read.
DO $$ BEGIN  -- indexes of earlier forms, without the version, or on the key itself
    IF to_regclass('sync.intent_recheck') IS NOT NULL THEN DROP INDEX sync.intent_recheck; END IF;
    IF to_regclass('sync.intent_recheck_version') IS NOT NULL THEN DROP INDEX sync.intent_recheck_version; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS intent_recheck_once ON sync.intent (table_name, sha256(key), version)
    WHERE kind = 'recheck' AND state = 'finished';

-- Every process that writes through DualWriteStore (rules 28 to 31).
CREATE TABLE IF NOT EXISTS sync.writer (
    id            text PRIMARY KEY,
    slot          int NOT NULL,
    host          text NOT NULL,
    pid           int NOT NULL,
    epoch         bigint NOT NULL,
    state         text NOT NULL CHECK (state IN ('active', 'signed_off', 'unclean')),
    unrecorded    bigint NOT NULL DEFAULT 0,
    clock_skew_us bigint,                     -- this host's clock minus Postgres's
    failures      jsonb NOT NULL DEFAULT '{}', -- with which errors Postgres failed it, and how often
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS failures jsonb NOT NULL DEFAULT '{}';
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS data_center text; -- of the source, in which it writes; null: unknown
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS settings jsonb;   -- those that all must share; null: not recorded
ALTER TABLE sync.writer ALTER COLUMN slot DROP NOT NULL;             -- null: it was silent, and lost its slot to another one
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS lease_seconds float8; -- its own; null: registered by an older version
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS accepts boolean NOT NULL DEFAULT true; -- may write without intents (rule 28)
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS witness text;       -- names the file on its host that says whether it did
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS protocol int NOT NULL DEFAULT 0; -- 1: it knows deletes of partitions; 2: it says sync.own
CREATE INDEX IF NOT EXISTS writer_holds ON sync.writer (slot) WHERE state <> 'signed_off';
CREATE INDEX IF NOT EXISTS writer_of_slot ON sync.writer (slot, registered_at); -- not heartbeat_at: a heartbeat changes no index
CREATE INDEX IF NOT EXISTS writer_gone ON sync.writer (registered_at) WHERE state = 'signed_off';

-- A value that the target cannot hold: recorded, never dropped. The key is in raw CQL bytes, since Postgres may refuse it.
CREATE TABLE IF NOT EXISTS sync.reject (
    table_name  text NOT NULL,
    source_key  bytea NOT NULL,
    column_name text NOT NULL,                -- empty where Postgres refused the row as a whole
    run_id      bigint NOT NULL,
    token       bigint NOT NULL,
    key         json NOT NULL,                -- the key in readable form
    reason      text NOT NULL,
    action      text NOT NULL CHECK (action IN ('reject', 'strip-nul', 'null')),
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
DO $$ BEGIN  -- an index of an earlier form, on the key itself
    IF to_regclass('sync.reject_pkey') IS NOT NULL THEN ALTER TABLE sync.reject DROP CONSTRAINT reject_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS reject_key ON sync.reject (table_name, sha256(source_key), column_name);
ALTER TABLE sync.reject REPLICA IDENTITY FULL;
DO $$ BEGIN  -- an earlier form was jsonb, which does not keep the order of a key's columns
    IF (SELECT atttypid = 'jsonb'::regtype FROM pg_attribute WHERE attrelid = 'sync.reject'::regclass AND attname = 'key') THEN
        ALTER TABLE sync.reject ALTER COLUMN key TYPE json;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS reject_token ON sync.reject (table_name, token);

-- Indexes dropped for a load, to be built again after it; the row is removed when the index is valid.
CREATE TABLE IF NOT EXISTS sync.index (
    index_name text PRIMARY KEY,              -- schema-qualified and quoted
    table_name text NOT NULL,
    definition text NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
DO $$ BEGIN  -- names of an earlier form
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'sync.index'::regclass AND attname = 'removed_at' AND NOT attisdropped) THEN
        ALTER TABLE sync.index RENAME COLUMN removed_at TO dropped_at;
    END IF;
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'sync.index'::regclass AND conname = 'index_removed_at_not_null') THEN
        ALTER TABLE sync.index RENAME CONSTRAINT index_removed_at_not_null TO index_dropped_at_not_null; -- since Postgres 18
    END IF;
END $$;

-- Which command is building a table's indexes.
CREATE TABLE IF NOT EXISTS sync.index_lease (
    table_name text PRIMARY KEY,
    owner      text NOT NULL,
    until      timestamptz NOT NULL
);

-- Events that may have made a difference of which there is no other record: drift passes begun before one prove nothing.
CREATE TABLE IF NOT EXISTS sync.disturbance (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name text NOT NULL,
    why        text NOT NULL
);

-- Who did what, when, with which figures.
CREATE TABLE IF NOT EXISTS sync.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    who    text NOT NULL,
    what   text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);

-- Proof: passes of `sync drift-report`, whose runs and ranges are in sync.run and sync.range while they are under way.
ALTER TABLE sync.run ADD COLUMN IF NOT EXISTS repair boolean NOT NULL DEFAULT false; -- findings are reconciled
ALTER TABLE sync.range ADD COLUMN IF NOT EXISTS figures jsonb;  -- a checked range's verdict
ALTER TABLE sync.range ADD COLUMN IF NOT EXISTS deaths int NOT NULL DEFAULT 0;  -- workers that died in the middle of a check

CREATE TABLE IF NOT EXISTS sync.drift_pass (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    runs        bigint[] NOT NULL,
    clean       boolean NOT NULL,
    repaired    bigint NOT NULL,
    started_at  timestamptz NOT NULL,         -- when the check with its oldest verdict began
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    report      jsonb NOT NULL                -- the figures by table and range; no values of rows
);
ALTER TABLE sync.drift_pass ADD COLUMN IF NOT EXISTS data_center text; -- of the source, which it read
ALTER TABLE sync.drift_pass ADD COLUMN IF NOT EXISTS proof jsonb; -- by table: whether clean, how many repaired, its shape

-- Keys that differ, up to a limit per run; the figures count all of them.
CREATE TABLE IF NOT EXISTS sync.drift_finding (
    run_id         bigint NOT NULL REFERENCES sync.run ON DELETE CASCADE,
    table_name     text NOT NULL,
    key            bytea NOT NULL,            -- canonical bytes; empty where the target could not hold the key
    source_key     bytea NOT NULL,            -- raw CQL cells; empty where the source could not be asked for the key
    token          bigint NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('missing', 'extra', 'different', 'unknown')),
    shown          json NOT NULL,             -- the key in readable form
    columns        text[] NOT NULL,
    source_version bigint NOT NULL,
    target_version bigint,
    repaired       boolean NOT NULL,
    error          text NOT NULL
);
DO $$ BEGIN  -- an index of an earlier form, on the key itself
    IF to_regclass('sync.drift_finding_pkey') IS NOT NULL THEN ALTER TABLE sync.drift_finding DROP CONSTRAINT drift_finding_pkey; END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS drift_finding_key ON sync.drift_finding (run_id, sha256(key), sha256(source_key));
ALTER TABLE sync.drift_finding REPLICA IDENTITY FULL;
DO $$ BEGIN  -- an earlier form was jsonb, which does not keep the order of a key's columns
    IF (SELECT atttypid = 'jsonb'::regtype FROM pg_attribute WHERE attrelid = 'sync.drift_finding'::regclass AND attname = 'shown') THEN
        ALTER TABLE sync.drift_finding ALTER COLUMN shown TYPE json;
    END IF;
END $$;

-- Shadow reads: what each writer has compared since its epoch began; of writers that are gone, together, under no name.
CREATE TABLE IF NOT EXISTS sync.shadow_reads (
    writer     text NOT NULL,
    epoch      bigint NOT NULL,               -- the one in which they were recorded
    compared   bigint NOT NULL,
    skipped    bigint NOT NULL,
    differing  bigint NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (writer, epoch)
);
-- The last keys that differed; no values.
CREATE TABLE IF NOT EXISTS sync.shadow_difference (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- a new one each time the key is found
    table_name text NOT NULL,
    key        bytea NOT NULL,                -- canonical bytes; empty where the target could not hold the key
    source_key bytea NOT NULL,                -- the source's own key, as in sync.intent
    token      bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('missing', 'extra', 'different', 'unreadable')),
    shown      json NOT NULL,                 -- the key in readable form
    columns    text[] NOT NULL,
    epoch      bigint NOT NULL,
    writer     text NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS shadow_difference_key ON sync.shadow_difference (table_name, sha256(key), sha256(source_key));

-- Reads that applications make, by shape: which columns they compare, in which order they want the rows; no values.
CREATE TABLE IF NOT EXISTS sync.read_shape (
    table_name text NOT NULL,
    shape      text NOT NULL,                 -- JSON
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen  timestamptz NOT NULL DEFAULT clock_timestamp(), -- to the hour; forgotten after a week
    PRIMARY KEY (table_name, shape)
);

-- Cut-overs and rollbacks, one at a time. The primary changes in one transaction; the next command undoes what a crash left.
CREATE TABLE IF NOT EXISTS sync.switch (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('cutover', 'rollback')),
    from_epoch  bigint NOT NULL REFERENCES sync.epoch,
    who         text NOT NULL,
    state       text NOT NULL DEFAULT 'announced' CONSTRAINT switch_state_check
                CHECK (state IN ('announced', 'closing', 'done', 'abandoned') OR state = 'flipped'),
    lease_until timestamptz NOT NULL,         -- renewed by its command; when it has expired, another one abandons the switch
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
UPDATE sync.switch SET state = 'done' WHERE state = 'flipped'; -- written by older versions, whose commands may still run
CREATE UNIQUE INDEX IF NOT EXISTS switch_under_way ON sync.switch ((true)) WHERE finished_at IS NULL;

ALTER TABLE sync.intent ADD COLUMN IF NOT EXISTS replays int NOT NULL DEFAULT 0; -- how often its write was sent again
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS acknowledged bigint;     -- accepts nothing until this switch ends (rule 30)
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS waits jsonb;             -- how long its writes waited for that switch, in ms
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS recorded_at timestamptz; -- when it last recorded a write late
ALTER TABLE sync.writer ADD COLUMN IF NOT EXISTS fenced_at timestamptz;
-- The source's tables as they were at the last switch, for processes that start while the source is unreachable.
CREATE TABLE IF NOT EXISTS sync.source_table (
    name       text PRIMARY KEY,
    definition jsonb NOT NULL
);

ALTER TABLE sync.drift_pass ADD COLUMN IF NOT EXISTS epoch bigint;         -- the epoch in which it ended
DO $$ BEGIN  -- an earlier form, whose passes were of all tables together
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'sync.drift_pass'::regclass AND attname = 'schema_digest' AND NOT attisdropped) THEN
        ALTER TABLE sync.drift_pass DROP COLUMN schema_digest;
    END IF;
END $$;

-- Feeds of changes by others: how far each is recorded. Times are this server's.
CREATE TABLE IF NOT EXISTS sync.feed (
    name        text PRIMARY KEY,
    position    text,                         -- its own mark of the place behind what is recorded; null: at its beginning
    told_until  timestamptz NOT NULL,         -- what the source told before is recorded; infinity: the feed has ended
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    keys        bigint NOT NULL DEFAULT 0,    -- announced
    partitions  bigint NOT NULL DEFAULT 0,    -- announced
    strays      bigint NOT NULL DEFAULT 0,    -- of these, while Postgres was primary
    unmapped    bigint NOT NULL DEFAULT 0,    -- changes of tables that are not migrated
    rejects     bigint NOT NULL DEFAULT 0,    -- keys that Postgres cannot hold
    error       text,                         -- why it could not go on when it last tried; null: it goes on
    lease_owner text,
    lease_until timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Events that are lost: passes begun before `counts_from` prove nothing.
CREATE TABLE IF NOT EXISTS sync.gap (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feed        text NOT NULL,
    table_name  text NOT NULL,                -- empty: any table
    until       timestamptz NOT NULL,         -- the latest moment at which what is lost can have been written
    counts_from timestamptz NOT NULL,         -- then it is written or never will be, and all clocks have passed it
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    why         text NOT NULL
);

-- History for `sync dashboard`: a sample every few seconds while a worker, a command that copies or compares, or the dashboard runs.
-- After a day one in ten minutes is kept, for thirty days.
CREATE TABLE IF NOT EXISTS sync.sample (
    at      timestamptz PRIMARY KEY,          -- the beginning of its slot: of all that would take it, one does
    figures jsonb NOT NULL                    -- counts, by table where a copy or a check is open; no keys, no values
);

-- Keys that SQL has changed, until a worker makes a recheck of each (rules 45 and 50): what a statement pays for is this row. So it
-- has no index but that of its number.
CREATE TABLE IF NOT EXISTS sync.sql_change (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    key        bytea NOT NULL,                -- canonical bytes
    token      bigint,                        -- the row's own; null: unknown
    version    bigint,                        -- of the row that was there; null: there was none, or SQL had inserted it
    epoch      bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whoever may use the intents may use these: what was granted on the tables that were there says nothing of a new one.
DO $$ DECLARE given record; BEGIN
    FOR given IN
        SELECT g.grantee, g.privilege_type FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
        WHERE c.oid = 'sync.intent'::regclass -- its owner is another role, and that of the triggers' functions, after a superuser's upgrade
          AND g.grantee <> (SELECT relowner FROM pg_class WHERE oid = 'sync.sql_change'::regclass)
    LOOP
        EXECUTE format('GRANT %s ON sync.sql_change TO %s', given.privilege_type,
                       CASE WHEN given.grantee = 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
END $$;

-- No version of this program changes the primary past them: one from before this table does not count them. A switch holds the epoch
-- alone, so that all statements before it have been committed.
CREATE OR REPLACE FUNCTION sync.epoch_begins() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $sync$
BEGIN
    IF EXISTS (SELECT FROM sync.sql_change) THEN
        RAISE EXCEPTION USING ERRCODE = 'SY005', MESSAGE = 'SQL has changed rows that no worker has announced yet',
            HINT = 'Run `sync worker` of the newest version of sync, and switch with that version.';
    END IF;
    RETURN NULL;
END
$sync$;
CREATE OR REPLACE TRIGGER epoch_begins AFTER INSERT ON sync.epoch FOR EACH ROW EXECUTE FUNCTION sync.epoch_begins();

-- Statements by anybody on a migrated table (rules 44 and 45). The triggers, and the functions that announce keys, are made
-- table by table by `sync schema apply`; transactions of the program's own say sync.own, and fire none of them.

-- Whether there are two sides to keep equal: not in a plain copy, during which nobody ever wrote to both.
CREATE OR REPLACE FUNCTION sync.in_force() RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $sync$
    SELECT (SELECT max(epoch) FROM sync.epoch) > 1 OR EXISTS (SELECT FROM sync.writer)
$sync$;

-- Before a statement locks a row: share the epoch, as every write does, and refuse where Postgres is not primary. What needs a query
-- is asked within an IF of its own: an expression with a query in it costs as much as a statement, whatever stands before its AND.
CREATE OR REPLACE FUNCTION sync.sql_writer_begins() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $sync$
DECLARE
    e record;
    done text; -- := calls a function at a fraction of what PERFORM costs
BEGIN
    IF current_setting('sync.sql_epoch', true) <> '' THEN
        RETURN NULL; -- this transaction holds it; if it was rolled back to a savepoint, both are gone
    END IF;
    LOOP
        BEGIN -- leaving this block by an error gives the lock back: the switch that is waited for needs it
            done := pg_advisory_xact_lock_shared(1937337955, 0);
            SELECT epoch, "primary", state = 'closing' AND closing_until > clock_timestamp() AS is_closing
            INTO e FROM sync.epoch ORDER BY epoch DESC LIMIT 1;
            IF e.epoch = 1 THEN
                IF NOT sync.in_force() THEN
                    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'a plain copy'; -- which need not wait for such transactions
                END IF;
            END IF;
            IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                -- The snapshot may be older than a switch: then this is a serialization error, 40001.
                PERFORM FROM sync.epoch WHERE epoch = e.epoch FOR SHARE;
            END IF;
            IF e.is_closing THEN
                -- A call of an application's own class that began before the closing must end, and the switch waits for it.
                IF NOT EXISTS (SELECT FROM sync.intent WHERE state = 'open' AND kind = 'recheck') THEN
                    RAISE EXCEPTION USING ERRCODE = 'SY003', MESSAGE = 'the primary is being changed';
                END IF;
            END IF;
            IF e."primary" = 'astra' AND TG_ARGV[0] = 'refuse' THEN
                -- Processes of older versions do not say sync.own: they are let through as long as one is registered.
                IF NOT EXISTS (SELECT FROM sync.writer AS w WHERE w.state = 'active' AND w.protocol < 2) THEN
                    RAISE EXCEPTION USING ERRCODE = 'SY001', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
                        MESSAGE = format('%I.%I: it is being migrated, and Astra is primary: SQL must not write it', TG_TABLE_SCHEMA, TG_TABLE_NAME),
                        HINT = 'Write through the application until `sync cutover`; [cutover] sql_writers = "allow" in sync.toml and '
                               '`sync schema apply` let SQL write, and Astra''s rows overwrite what it wrote.';
                END IF;
            END IF;
            done := set_config('sync.sql_epoch', (CASE e."primary" WHEN 'astra' THEN -e.epoch ELSE e.epoch END)::text, true);
            RETURN NULL;
        EXCEPTION
            WHEN SQLSTATE 'SY004' THEN
                done := set_config('sync.sql_epoch', '0', true); -- nobody tells of its rows, and nobody is refused
                RETURN NULL;
            WHEN SQLSTATE 'SY003' THEN
                NULL;
        END;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$sync$;

-- TRUNCATE tells nobody which rows are gone.
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
