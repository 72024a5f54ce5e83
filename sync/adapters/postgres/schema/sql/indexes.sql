-- without_columns: which of these tables lack a migration's columns
SELECT t.name FROM unnest(%(targets)s::text[]) AS t (name)
WHERE (SELECT count(*) FROM pg_attribute
       WHERE attrelid = to_regclass(t.name) AND attname IN (%(token)s, %(version)s) AND NOT attisdropped) < 2

-- unfinished: which of these tables have indexes to build, or no valid one on their tokens
SELECT t.name FROM unnest(%(names)s::text[], %(indexes)s::text[]) AS t (name, token_index)
WHERE EXISTS (SELECT FROM sync.index WHERE table_name = t.name)
   OR NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(t.token_index) AND indisvalid)

-- record: remember the secondary indexes of a table but the one that is kept: those that neither belong to a constraint nor
-- enforce anything
INSERT INTO sync.index (index_name, table_name, definition)
SELECT format('%%I.%%I', n.nspname, c.relname), %(table)s, pg_get_indexdef(i.indexrelid)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.indrelid = to_regclass(%(target)s) AND NOT i.indisunique AND NOT i.indisexclusion AND i.indisvalid
  AND i.indexrelid IS DISTINCT FROM to_regclass(nullif(%(kept)s, ''))
ON CONFLICT (index_name) DO UPDATE SET definition = excluded.definition
RETURNING index_name

-- wanted: indexes that are still to be built, the token's first
SELECT index_name, definition FROM sync.index WHERE table_name = %(table)s ORDER BY index_name NOT LIKE '%%\_sync\_token\_%%', 1

-- want: an index to be built after the load
INSERT INTO sync.index (index_name, table_name, definition) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING

-- valid: whether the index is there and valid
SELECT i.indisvalid FROM pg_index AS i WHERE i.indexrelid = to_regclass(%(index)s)

-- more_memory: a graph that fits into memory is built several times faster; a larger server setting stays
SELECT set_config('maintenance_work_mem', '256MB', false)
WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')

-- end_with_client: if a command is killed, its build ends, too, instead of holding up the next one's (Postgres 14 or later)
SELECT set_config(name, '2000', false) FROM pg_settings WHERE name = 'client_connection_check_interval'

-- progress: how far a build is; through a pooler its process is not known, so it is also found by its index
SELECT phase, CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
       CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END
FROM pg_stat_progress_create_index WHERE pid = %(backend)s OR index_relid = to_regclass(%(index)s)
