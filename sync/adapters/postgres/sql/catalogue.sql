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
