-- take: the figures of now, unless this slot has its sample; they are read only where it has none
INSERT INTO sync.sample (at, figures)
SELECT slot, jsonb_build_object(
    'intents', (SELECT count(*) FROM (SELECT id FROM sync.intent UNION ALL SELECT id FROM sync.sql_change LIMIT %(most)s) AS counted),
    'age', (SELECT extract(epoch FROM clock_timestamp() - least(
        (SELECT created_at FROM sync.intent ORDER BY id LIMIT 1), (SELECT changed_at FROM sync.sql_change ORDER BY id LIMIT 1)))::int),
    'writers', (SELECT count(*) FROM sync.writer WHERE state = 'active'),
    'runs', (
        WITH of_run AS (
            SELECT run.id, run.kind, run.table_name, count(*) AS total, count(*) FILTER (WHERE r.state = 'done') AS done,
                   count(*) FILTER (WHERE r.state = 'running') AS running, sum(r.rows_read)::bigint AS rows
            FROM sync.run JOIN sync.range AS r ON r.run_id = run.id WHERE run.state = 'open' GROUP BY run.id
        ), busiest AS (SELECT * FROM of_run ORDER BY running DESC, id LIMIT %(tables)s)
        SELECT jsonb_build_object(
            'rows', (SELECT coalesce(jsonb_object_agg(kind, rows), '{}') FROM (
                SELECT kind, sum(rows)::bigint AS rows FROM of_run GROUP BY kind) AS by_kind),
            'tables', (SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(kind, table_name, done, total, rows)), '{}')
                       FROM busiest))))
FROM date_bin(make_interval(secs => %(slot)s), clock_timestamp(), 'epoch') AS slot
WHERE NOT EXISTS (SELECT FROM sync.sample WHERE at = slot)
ON CONFLICT DO NOTHING RETURNING at

-- thin: after a day the first sample of every ten minutes is kept, and that for thirty days
DELETE FROM sync.sample AS s
WHERE s.at < clock_timestamp() - interval '30 days'
   OR s.at < clock_timestamp() - interval '1 day' AND EXISTS (
        SELECT FROM sync.sample AS kept WHERE kept.at < s.at AND kept.at >= date_bin('10 minutes', s.at, 'epoch'))

-- window: of the last seconds, the last sample of each step
SELECT at, figures FROM (
    SELECT DISTINCT ON (step) at, figures, date_bin(make_interval(secs => %(step)s), at, 'epoch') AS step
    FROM sync.sample WHERE at > clock_timestamp() - make_interval(secs => %(seconds)s)
    ORDER BY step, at DESC) AS last
ORDER BY at
