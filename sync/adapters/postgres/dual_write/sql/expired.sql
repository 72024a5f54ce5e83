-- candidates: keys of rows that expired some time ago, with their places, tokens; the oldest first
SELECT {key}, t.{token}, t.ctid::text FROM {target} AS t
WHERE t.{expiry} < clock_timestamp() - make_interval(secs => {margin}) AND t.{token} IS NOT NULL
ORDER BY t.{expiry} LIMIT %(limit)s

-- delete: those of them that are still the same rows, and still expired; each leaves a tombstone with its version, since the
-- source's expired cells hide what is written with an older timestamp (rules 1 and 2)
WITH gone AS (
    DELETE FROM {target} AS t
    WHERE t.ctid = ANY (ARRAY( -- not those that SQL is changing: it locks rows in any order, and may wait for one of these
        SELECT l.ctid FROM {target} AS l WHERE l.ctid = ANY (%(places)s::text[]::tid[]) FOR UPDATE SKIP LOCKED))
      AND {key} = ANY (%(keys)s::bytea[]) AND t.{expiry} < clock_timestamp() - make_interval(secs => {margin})
    RETURNING {key} AS key, t.{token} AS token, t.{version} AS version
)
INSERT INTO sync.tombstone AS t (table_name, key, token, version)
SELECT {name}, gone.key, gone.token, coalesce(gone.version, (SELECT floor FROM sync.epoch ORDER BY epoch DESC LIMIT 1)) FROM gone
ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)
