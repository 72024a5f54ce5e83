-- intents: how many there are that need not wait for their time (rule 40), how many have failed, the oldest one's age, the error of
-- one that failed; `told`: with those that SQL or a feed has told of
SELECT count(*), count(*) FILTER (WHERE attempts > 0), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8,
       coalesce(max(error) FILTER (WHERE attempts > 0), '')
FROM (
    SELECT attempts, created_at, error FROM sync.intent WHERE (not_before IS NULL OR not_before <= clock_timestamp())
        AND (%(told)s OR NOT (kind IN ('recheck', 'recheck_partition') AND (owner = 'SQL' OR owner LIKE 'follow %%')))
    UNION ALL SELECT 0, changed_at, NULL FROM sync.sql_change WHERE %(told)s
) AS found

-- passes: the newest drift passes over each table, the newest first, as many as a proof takes
SELECT id, table_name, clean, repaired, epoch, coalesce(shape, ''), started_at, coalesce(data_center, '')
FROM (SELECT p.id, t.table_name, t.clean, t.repaired, p.epoch, t.shape, p.started_at, p.data_center,
             row_number() OVER (PARTITION BY t.table_name ORDER BY p.id DESC) AS nth
      FROM sync.drift_pass AS p
           CROSS JOIN LATERAL jsonb_to_recordset(p.proof) AS t (table_name text, clean boolean, repaired bigint, shape text)
     ) AS found
WHERE nth <= %(most)s ORDER BY id DESC, table_name

-- disturbed: by table, the last event that may have made a difference without an intent, and what it was; '' is any table
SELECT DISTINCT ON (table_name) table_name, at, why FROM (
    SELECT '', greatest(recorded_at, fenced_at), 'a writer recorded late what it had written, or was fenced' FROM sync.writer
    UNION ALL SELECT table_name, at, why || ' in ' || table_name FROM sync.disturbance
    UNION ALL SELECT table_name, counts_from, 'what ' || feed || ' has lost (' || why || ') is written for certain' FROM sync.gap
        WHERE %(gaps)s
    -- what others wrote before is told by nobody; a file of keys is read from its beginning
    UNION ALL SELECT '', begun_at, name || ' was first followed' FROM sync.feed
        WHERE %(gaps)s AND (name LIKE 'commitlog:%%' OR name LIKE 'pulsar %%')
) AS found (table_name, at, why)
WHERE at IS NOT NULL ORDER BY table_name, at DESC

-- compared: how many answers shadow reads have compared in this epoch
SELECT coalesce(sum(compared), 0)::bigint FROM sync.shadow_reads WHERE epoch = (SELECT max(epoch) FROM sync.epoch)

-- shadow: by table, keys in which shadow reads have found a difference since the last clean pass over it began: rows that differ,
-- and values that Python can represent on one side only
WITH clean AS (
    SELECT t.table_name, max(p.started_at) AS since
    FROM sync.drift_pass AS p
         CROSS JOIN LATERAL jsonb_to_recordset(p.proof) AS t (table_name text, clean boolean, repaired bigint)
    WHERE t.clean AND t.repaired = 0 GROUP BY t.table_name
)
SELECT table_name, count(*) FILTER (WHERE kind <> 'unreadable'), count(*) FILTER (WHERE kind = 'unreadable')
FROM sync.shadow_difference LEFT JOIN clean USING (table_name)
WHERE table_name = ANY (%(tables)s::text[]) AND found_at > coalesce(clean.since, '-infinity') GROUP BY table_name

-- bad_indexes: indexes that are still to be built, and invalid ones of these tables
SELECT index_name FROM sync.index
UNION SELECT indexrelid::regclass::text FROM pg_index
WHERE NOT indisvalid AND indrelid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)

-- open_runs: copies and checks that are not finished
SELECT count(*) FROM sync.run WHERE state = 'open'

-- retry: let intents that failed before be retried at once
UPDATE sync.intent SET lease_until = NULL WHERE attempts > 0
