-- own: what a session of ours needs, whatever the role's, the database's, the server's or the environment's settings are.
-- Each changes what a value looks like, what a statement means or finds, or how long it may take. A version that lacks one
-- needs none; what is right already is left alone. Names of functions are qualified: the search path is not ours yet. One message,
-- in which each statement has its own time-out, so that the first one lifts that of the others.
-- The search path: the schemas of the session's own that there are, the state's not among them: a role of that name has it in
-- front, and the application's tables would be made, or looked for, there. Built-in functions come first, whatever the path says;
-- the schema of pgvector comes last where it is not on the path
SELECT pg_catalog.set_config('statement_timeout', '0', false) WHERE pg_catalog.current_setting('statement_timeout') <> '0';
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
    SELECT name, boot_val FROM present WHERE pg_catalog.starts_with(name, 'enable_')
    UNION ALL
    -- an acknowledged write, or intent, is on disk; what waits for more than that is left as it is
    SELECT name, 'on' FROM present WHERE name = 'synchronous_commit' AND setting = 'off'
)
SELECT pg_catalog.set_config(s.name, w.value, false)
FROM wanted AS w JOIN present AS s ON s.name = w.name AND s.setting <> w.value;
SELECT pg_catalog.set_config('search_path', pg_catalog.array_to_string(ARRAY(
           SELECT pg_catalog.quote_ident(name) FROM pg_catalog.unnest(p.wanted) AS name), ', '), false)
FROM (SELECT CASE WHEN here = '{}' THEN '{public}' ELSE here || more END AS wanted
      FROM (SELECT pg_catalog.array_remove(pg_catalog.array_remove(pg_catalog.current_schemas(false), 'pg_catalog'), 'sync') AS here,
                   ARRAY(SELECT nspname FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace
                         WHERE extname = 'vector' AND nspname <> ALL (pg_catalog.current_schemas(true))) AS more) AS found) AS p
WHERE p.wanted <> pg_catalog.current_schemas(false) OR current_user = 'sync'

-- lasting: what the role, the database or both of them set for every session, of what a session of ours would set for itself
SELECT DISTINCT setting FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
  AND lower(split_part(setting, '=', 1)) = ANY (%(names)s)
ORDER BY setting
