-- writers: what each writer that lives was started with; null where it did not tell
SELECT id, settings FROM sync.writer WHERE state = 'active' ORDER BY id

-- started: with what writers that live, and those of before, were started
SELECT DISTINCT state = 'active', settings FROM sync.writer

-- update_settings: more of what a writer was started with
UPDATE sync.writer SET settings = coalesce(settings, '{}') || %(settings)s WHERE id = %(id)s

-- note_runs: what the command that begins these runs, or goes on with them, says of their tables
UPDATE sync.run SET settings = coalesce(%(tables)s::jsonb -> table_name, '{}') WHERE id = ANY (%(runs)s)

-- runs: what the command of these runs said of their tables
SELECT kind, table_name, settings FROM sync.run WHERE id = ANY (%(runs)s) AND settings IS NOT NULL ORDER BY id

-- carrying: tables, as SQL names them, that have a migration's columns: somebody writes them, or did
SELECT name FROM unnest(%(names)s::text[]) AS name
WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = '_sync_version' AND NOT attisdropped)
