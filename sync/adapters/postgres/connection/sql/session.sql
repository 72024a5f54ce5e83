-- lift: the first statement of a session of ours. Of several statements in one message each has its own timeout, so this one
-- lifts it for those that follow
SELECT pg_catalog.set_config('statement_timeout', '0', false) WHERE pg_catalog.current_setting('statement_timeout') <> '0'

-- wanted: the settings that a session of ours needs, whatever those of the role, the database, the server or the environment
-- are; and whether it already has them. Each changes how a value looks, what a statement means or finds, or how long it may
-- take. A version that lacks a setting does not need it. Function names are qualified: the search path is not ours yet
WITH present AS MATERIALIZED (SELECT name, setting, boot_val FROM pg_catalog.pg_settings), wanted (name, value) AS (
    VALUES
    ('TimeZone', 'UTC'), ('DateStyle', 'ISO, MDY'), ('IntervalStyle', 'postgres'), ('extra_float_digits', '1'),
    ('bytea_output', 'hex'), ('client_encoding', 'UTF8'), ('standard_conforming_strings', 'on'), ('array_nulls', 'on'),
    ('transform_null_equals', 'off'), ('quote_all_identifiers', 'off'), ('gin_fuzzy_search_limit', '0'),
    ('client_min_messages', 'notice'), ('default_table_access_method', 'heap'), ('plan_cache_mode', 'auto'),
    ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'),
    ('default_transaction_deferrable', 'off'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
    ('idle_session_timeout', '0'), ('transaction_timeout', '0')
    UNION ALL
    SELECT name, boot_val FROM present WHERE pg_catalog.starts_with(name, 'enable_') AND setting <> boot_val
    UNION ALL
    -- an acknowledged write, or intent, must be on disk; a setting that ensures this stays as it is
    SELECT name, 'on' FROM present WHERE name = 'synchronous_commit' AND setting = 'off'
)
SELECT s.name, w.value, s.setting = w.value AS has FROM wanted AS w JOIN present AS s ON s.name = w.name

-- path: the existing schemas of the session's own search path, or public, but not the state's: for a role of that name it
-- comes first, and the application's tables would be created, or looked for, there. Built-in functions come first, whatever
-- the path says; the schema of pgvector comes last if it is not on the path
SELECT 'search_path' AS name, pg_catalog.array_to_string(ARRAY(
           SELECT pg_catalog.quote_ident(name) FROM pg_catalog.unnest(p.wanted) AS name), ', ') AS value,
       p.wanted = pg_catalog.current_schemas(false) AND current_user <> 'sync' AS has
FROM (SELECT CASE WHEN here = '{}' THEN '{public}' ELSE here || more END AS wanted
      FROM (SELECT pg_catalog.array_remove(pg_catalog.array_remove(pg_catalog.current_schemas(false), 'pg_catalog'), 'sync') AS here,
                   ARRAY(SELECT nspname FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace
                         WHERE extname = 'vector' AND nspname <> ALL (pg_catalog.current_schemas(true))) AS more) AS found) AS p

-- ends_builds: settings that would end or forbid the build of an index in a session whose settings we cannot change
SELECT name || ' = ' || pg_catalog.current_setting(name) FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'default_transaction_read_only')
  AND setting NOT IN ('0', 'off')
ORDER BY name
