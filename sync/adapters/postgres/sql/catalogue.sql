-- columns: the columns of one table with their base types, as TargetColumn needs them
SELECT a.attname, t.typname, t.oid, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       e.typname, e.oid, a.attnotnull,
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a',
       coalesce(c.collisdeterministic, true)
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- primary_key: the primary key's columns, in key order
SELECT a.attname
FROM pg_index i
CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisprimary
ORDER BY k.position

-- relation: schema and name of an ordinary or partitioned table, none where there is no such table
SELECT n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(table)s) AND c.relkind IN ('r', 'p')

-- identity: the table, and its columns' numbers: one that was dropped and added again has another
SELECT to_regclass(%(table)s)::oid::text || ' ' || string_agg(attnum::text, ' ' ORDER BY attnum)
FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped AND attname <> ALL (%(not_of)s)

-- rights: what this role may do, and what the server is
SELECT current_setting('server_version'), current_user, pg_encoding_to_char(d.encoding),
       has_database_privilege(current_database(), 'CREATE'), has_database_privilege(current_database(), 'TEMPORARY'),
       coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false),
       (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       coalesce((SELECT bool_or(trusted) FROM pg_available_extension_versions WHERE name = 'vector'), false)
FROM pg_database d WHERE d.datname = current_database()

-- table_rights: whether this role may write a table
SELECT has_table_privilege(%(table)s, 'INSERT'), has_table_privilege(%(table)s, 'SELECT'),
       pg_has_role(c.relowner, 'USAGE')
FROM pg_class c WHERE c.oid = to_regclass(%(table)s)

-- sight: what would be shown of a table or written into it in the place of its own rows: row security that is in force for this
-- role, children whose rows a SELECT shows, rules that rewrite statements
SELECT n.nspname || '.' || c.relname, row_security_active(c.oid),
       ARRAY(SELECT h.inhrelid::regclass::text FROM pg_inherits AS h WHERE h.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1),
       ARRAY(SELECT r.rulename::text FROM pg_rewrite AS r WHERE r.ev_class = c.oid AND r.ev_enabled <> 'D' ORDER BY 1)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)

-- lacking: what this role may not do with the rows of a table
SELECT p.privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
WHERE NOT has_table_privilege(%(table)s, p.privilege)

-- state_lacking: what this role may not do with the migration's state
SELECT 'USAGE of the schema sync' FROM pg_namespace AS n WHERE n.nspname = 'sync' AND NOT has_schema_privilege(n.oid, 'USAGE')
UNION ALL
SELECT p.privilege || ' on sync.' || c.relname
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'sync'
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
WHERE c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE') AND NOT has_table_privilege(c.oid, p.privilege)
ORDER BY 1

-- writable: whether this session may write at all
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'

-- triggers: what fires where rows are written
SELECT t.tgname FROM pg_trigger AS t
WHERE t.tgrelid = to_regclass(%(table)s) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY 1

-- kind: what bears a table's name and is no table
SELECT CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                      WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a type' ELSE 'an index' END
FROM pg_class AS c WHERE c.oid = to_regclass(%(table)s) AND c.relkind NOT IN ('r', 'p')
UNION ALL
SELECT 'a type' FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE ARRAY[n.nspname, t.typname] = parse_ident(%(table)s)::name[] AND t.typrelid = 0 AND t.typcategory <> 'A'

-- in_front: the table that a name without a schema means by this session's search path, where that is another schema's
SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(name)s) AND n.nspname NOT IN (%(home)s, 'sync')
