-- columns: by table, its columns with their types and their elements' types, as TargetColumn needs them
SELECT g.name, a.attname, t.typname, t.oid, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       e.typname, e.oid, a.attnotnull,
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a',
       coalesce(c.collisdeterministic, true), col_description(a.attrelid, a.attnum)
FROM unnest(%(tables)s::text[]) AS g (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(g.name)
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY g.name, a.attnum

-- primary_keys: by table, its primary key's columns, in key order
SELECT g.name, a.attname
FROM unnest(%(tables)s::text[]) AS g (name)
JOIN pg_index i ON i.indrelid = to_regclass(g.name)
CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indisprimary
ORDER BY g.name, k.position

-- relations: schema and name of those of these tables that exist, ordinary and partitioned ones
SELECT g.name, n.nspname, c.relname
FROM unnest(%(tables)s::text[]) AS g (name)
JOIN pg_class c ON c.oid = to_regclass(g.name) AND c.relkind IN ('r', 'p')
JOIN pg_namespace n ON n.oid = c.relnamespace

-- identities: by table, its OID and its columns' numbers: a column that was dropped and added again has another number
SELECT g.name, attrelid::text || ' ' || string_agg(attnum::text, ' ' ORDER BY attnum)
FROM unnest(%(tables)s::text[]) AS g (name) JOIN pg_attribute ON attrelid = to_regclass(g.name)
WHERE attnum > 0 AND NOT attisdropped AND attname <> ALL (%(not_of)s)
GROUP BY g.name, attrelid

-- privileges: what this role may do, and what the server is
SELECT current_setting('server_version'), current_user, pg_encoding_to_char(d.encoding),
       has_database_privilege(current_database(), 'CREATE'), has_database_privilege(current_database(), 'TEMPORARY'),
       coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false),
       (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       coalesce((SELECT bool_or(trusted) FROM pg_available_extension_versions WHERE name = 'vector'), false)
FROM pg_database d WHERE d.datname = current_database()

-- closed: schemas that this role may not use, so that even looking for a table there is refused
SELECT nspname FROM pg_namespace WHERE nspname = ANY (%(schemas)s::name[]) AND NOT has_schema_privilege(oid, 'USAGE')

-- table_facts: by table: privileges that this role lacks, whether it may alter and index it, its triggers and foreign keys
SELECT g.name, ARRAY(SELECT p.privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS p (privilege, nth)
                     WHERE NOT has_table_privilege(c.oid, p.privilege) ORDER BY p.nth),
       pg_has_role(c.relowner, 'USAGE'), has_schema_privilege(c.relnamespace, 'CREATE'), c.relkind = 'p',
       ARRAY(SELECT t.tgname::text FROM pg_trigger AS t
             WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
               AND NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = t.tgfoid AND p.pronamespace = to_regnamespace('sync')) ORDER BY 1),
       ARRAY(SELECT conname || ' (' || pg_get_constraintdef(oid) || ')' FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f'
             ORDER BY 1)
FROM unnest(%(tables)s::text[]) AS g (name) JOIN pg_class AS c ON c.oid = to_regclass(g.name)

-- visibility: what may show or write other rows than the table's own: row security that is in force for this role, children
-- whose rows a SELECT includes, rules that rewrite statements
SELECT n.nspname || '.' || c.relname, row_security_active(c.oid),
       ARRAY(SELECT h.inhrelid::regclass::text FROM pg_inherits AS h WHERE h.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1),
       ARRAY(SELECT r.rulename::text FROM pg_rewrite AS r WHERE r.ev_class = c.oid AND r.ev_enabled <> 'D' ORDER BY 1)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)

-- state_lacking: which privileges on the migration's state this role lacks
SELECT 'USAGE of the schema sync' FROM pg_namespace AS n WHERE n.nspname = 'sync' AND NOT has_schema_privilege(n.oid, 'USAGE')
UNION ALL
SELECT p.privilege || ' on sync.' || c.relname
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'sync'
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
WHERE c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE') AND NOT has_table_privilege(c.oid, p.privilege)
ORDER BY 1

-- writable: whether this session may write at all
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'

-- kinds: by table, what has its name and is not a table
SELECT g.name, CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                              WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a type' ELSE 'an index' END
FROM unnest(%(tables)s::text[]) AS g (name) JOIN pg_class AS c ON c.oid = to_regclass(g.name) AND c.relkind NOT IN ('r', 'p')
UNION ALL
SELECT g.name, 'a type' FROM unnest(%(tables)s::text[]) AS g (name)
JOIN pg_namespace AS n ON n.nspname = (parse_ident(g.name)::name[])[1]
JOIN pg_type AS t ON t.typnamespace = n.oid AND t.typname = (parse_ident(g.name)::name[])[2]
WHERE t.typrelid = 0 AND t.typcategory <> 'A'

-- in_front: tables of other schemas that a name without a schema means on this session's search path
SELECT g.name, n.nspname || '.' || c.relname
FROM unnest(%(names)s::text[]) AS g (name)
JOIN pg_class AS c ON c.oid = to_regclass(g.name) JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN (%(home)s, 'sync')
