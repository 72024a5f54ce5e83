-- writers: the settings that each active writer was started with; null where it recorded none
SELECT id, settings FROM sync.writer WHERE state = 'active' ORDER BY id

-- started: the settings that active writers, and former ones, were started with
SELECT DISTINCT state = 'active', settings FROM sync.writer

-- note_runs: record the settings of the command that begins or resumes these runs, for their tables
UPDATE sync.run SET settings = coalesce(%(tables)s::jsonb -> table_name, '{}') WHERE id = ANY (%(runs)s)

-- runs: the settings of the command of these runs, for their tables
SELECT kind, table_name, settings FROM sync.run WHERE id = ANY (%(runs)s) AND settings IS NOT NULL ORDER BY id

-- carrying: those of these tables, as SQL names them, that have a migration's columns: somebody writes them, or did
SELECT name FROM unnest(%(names)s::text[]) AS name
WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = '_sync_version' AND NOT attisdropped)
