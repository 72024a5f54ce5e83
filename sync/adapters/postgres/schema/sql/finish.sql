-- tables: every table with a migration's columns
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND EXISTS (
    SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attname IN ('_sync_token', '_sync_version'))
ORDER BY 1

-- copied: the source's tables that a run copied or checked, each with its keyspace if that was recorded at a switch
SELECT DISTINCT r.table_name, s.definition ->> 'keyspace' FROM sync.run AS r
LEFT JOIN sync.source_table AS s ON s.name = r.table_name ORDER BY 1

-- patience: an ALTER that waits blocks everyone who reads or writes the table, so it gives up soon and is tried again
SELECT set_config('lock_timeout', %(ms)s, true)

-- hold: the epoch, after its lock was taken
SELECT epoch, "primary", state FROM sync.epoch ORDER BY epoch DESC LIMIT 1 FOR UPDATE

-- drop_columns: this also drops the index on the token
ALTER TABLE {table} DROP COLUMN IF EXISTS _sync_token, DROP COLUMN IF EXISTS _sync_version

-- strangers: what is in the state's schema and not of the migration: a role named sync creates tables there, by "$user"
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'sync' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> ALL (%(own)s) ORDER BY 1

-- drop_state: the state of the migration
DROP SCHEMA sync CASCADE
