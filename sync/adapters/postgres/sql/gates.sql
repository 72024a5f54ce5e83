-- intents: how many, how many that failed before, the oldest one's age, a failed one's error
SELECT count(*), count(*) FILTER (WHERE attempts > 0), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8,
       coalesce(max(error) FILTER (WHERE attempts > 0), '')
FROM sync.intent

-- passes: recorded drift passes, the newest first
SELECT id, clean, repaired, epoch, ARRAY(SELECT t ->> 'table' FROM jsonb_array_elements(report -> 'tables') AS t),
       coalesce(schema_digest, ''), started_at, finished_at, coalesce(data_center, '')
FROM sync.drift_pass ORDER BY id DESC LIMIT 50

-- disturbed: what could last have made a difference that no intent tells of any more, and what that was
SELECT at, why FROM (
    SELECT greatest(recorded_at, fenced_at), 'a writer recorded late what it had written, or was fenced' FROM sync.writer
    UNION ALL SELECT at, why || ' in ' || table_name FROM sync.disturbance
) AS found (at, why)
WHERE at IS NOT NULL ORDER BY at DESC LIMIT 1

-- bad_indexes: indexes that are to be built, and invalid ones of these tables
SELECT index_name FROM sync.index
UNION SELECT indexrelid::regclass::text FROM pg_index
WHERE NOT indisvalid AND indrelid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)

-- open_runs: copies and checks that are not finished
SELECT count(*) FROM sync.run WHERE state = 'open'

-- retry: what failed before is tried again at once
UPDATE sync.intent SET lease_until = NULL WHERE attempts > 0
