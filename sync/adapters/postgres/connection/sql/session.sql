-- lift: the first of the statements that a session of ours begins with; in one message each has its own timeout, so that this one
-- lifts that of the others
SELECT pg_catalog.set_config('statement_timeout', '0', false) WHERE pg_catalog.current_setting('statement_timeout') <> '0'

-- wanted: what a session of ours needs, whatever the role's, the database's, the server's or the environment's settings are; and
-- whether it has it by itself. Each changes what a value looks like, what a statement means or finds, or how long it may take. A
-- version that lacks one needs none. Names of functions are qualified: the search path is not ours yet
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
    -- an acknowledged write, or intent, is on disk; what waits for more than that is left as it is
    SELECT name, 'on' FROM present WHERE name = 'synchronous_commit' AND setting = 'off'
)
SELECT s.name, w.value, s.setting = w.value AS has FROM wanted AS w JOIN present AS s ON s.name = w.name

-- path: the schemas of the session's own that there are, the state's not among them: a role of that name has it in front, and the
-- application's tables would be made, or looked for, there. Built-in functions come first, whatever the path says; the schema of
-- pgvector comes last where it is not on the path
SELECT 'search_path' AS name, pg_catalog.array_to_string(ARRAY(
           SELECT pg_catalog.quote_ident(name) FROM pg_catalog.unnest(p.wanted) AS name), ', ') AS value,
       p.wanted = pg_catalog.current_schemas(false) AND current_user <> 'sync' AS has
FROM (SELECT CASE WHEN here = '{}' THEN '{public}' ELSE here || more END AS wanted
      FROM (SELECT pg_catalog.array_remove(pg_catalog.array_remove(pg_catalog.current_schemas(false), 'pg_catalog'), 'sync') AS here,
                   ARRAY(SELECT nspname FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace
                         WHERE extname = 'vector' AND nspname <> ALL (pg_catalog.current_schemas(true))) AS more) AS found) AS p

-- ends_builds: settings of a session that is left as it is which end the build of an index, or forbid it
SELECT name || ' = ' || pg_catalog.current_setting(name) FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'default_transaction_read_only')
  AND setting NOT IN ('0', 'off')
ORDER BY name
