-- writer: where this writer writes the source
UPDATE sync.writer SET data_center = %(data_center)s WHERE id = %(id)s

-- elsewhere: a writer that writes in another data centre, or whose open intents were written there (the column may be missing)
SELECT id, data_center
FROM (SELECT id, state, heartbeat_at, to_jsonb(writer) ->> 'data_center' AS data_center FROM sync.writer) AS w
WHERE data_center <> %(data_center)s
  AND (state = 'active' OR state = 'signed_off' AND EXISTS (SELECT FROM sync.intent WHERE owner = w.id))
ORDER BY heartbeat_at DESC LIMIT 1

-- place_runs: where the command that begins these runs, or goes on with them, reads the source
UPDATE sync.run SET data_center = nullif(%(data_center)s, '') WHERE id = ANY(%(runs)s)

-- runs_elsewhere: one of these runs whose command reads another data centre
SELECT kind, table_name, data_center FROM sync.run WHERE id = ANY(%(runs)s) AND data_center <> %(data_center)s LIMIT 1
