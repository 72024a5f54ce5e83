-- writer: record in which data centre this writer writes the source
UPDATE sync.writer SET data_center = %(data_center)s WHERE id = %(id)s

-- elsewhere: a writer in another data centre, active or signed off with intents left (the column may be missing)
SELECT id, data_center
FROM (SELECT id, state, heartbeat_at, to_jsonb(writer) ->> 'data_center' AS data_center FROM sync.writer) AS w
WHERE data_center <> %(data_center)s
  AND (state = 'active' OR state = 'signed_off' AND EXISTS (SELECT FROM sync.intent WHERE owner = w.id))
ORDER BY heartbeat_at DESC LIMIT 1

-- place_runs: record in which data centre the command that begins or resumes these runs reads the source
UPDATE sync.run SET data_center = nullif(%(data_center)s, '') WHERE id = ANY(%(runs)s)

-- runs_elsewhere: one of these runs whose command reads another data centre
SELECT kind, table_name, data_center FROM sync.run WHERE id = ANY(%(runs)s) AND data_center <> %(data_center)s LIMIT 1
