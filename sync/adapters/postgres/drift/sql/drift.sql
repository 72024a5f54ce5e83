-- look: what the target holds of some keys, and whether there are intents of them, in one snapshot. What SQL has changed (rule 50)
-- has no index of keys: it is read once, not for each key
WITH k ({names}) AS (VALUES {keys}), changed AS MATERIALIZED (
    SELECT c.key FROM sync.sql_change AS c WHERE c.table_name = %(table)s AND c.key IN (SELECT key FROM k)
)
SELECT k.key, held.data, held.version,
       greatest((SELECT version FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(k.key) AND key = k.key),
                (SELECT version FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = k.token)),
       EXISTS (SELECT FROM sync.intent WHERE table_name = %(table)s AND sha256(key) = sha256(k.key) AND key = k.key)
           OR EXISTS (SELECT FROM sync.intent WHERE table_name = %(table)s AND token = k.token
                      AND kind IN ('delete_partition', 'recheck_partition'))
           OR EXISTS (SELECT FROM changed AS c WHERE c.key = k.key),
       ({refused}), held.moment
FROM k
LEFT JOIN LATERAL (SELECT {row} AS data, coalesce({version}, 0) AS version, {moment} AS moment FROM {target} AS t WHERE {is_key}) AS held ON true

-- refused: of the recorded rejects of a key, whether Postgres itself refused the row; null if there are none
SELECT bool_or(reason LIKE 'Postgres refuses%%') FROM sync.reject
WHERE table_name = %(table)s AND sha256(source_key) = sha256({source_key}) AND source_key = {source_key} AND action = 'reject'

-- recheck: leave a recheck intent for each finding's key, of the current epoch (rule 22), whose lock is held (rule 20)
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner)
SELECT %(table)s, k.key, k.source_key, k.token, 'recheck', 'finished', floor, epoch, 'drift report'
FROM (SELECT epoch, floor FROM sync.epoch ORDER BY epoch DESC LIMIT 1) AS e,
     unnest(%(keys)s::bytea[], %(source_keys)s::bytea[], %(tokens)s::bigint[]) AS k (key, source_key, token)
ON CONFLICT DO NOTHING

-- without_token: keys of rows that have no token, because they were written by hand: they are in no range
SELECT {key} FROM {target} AS t WHERE t.{token} IS NULL LIMIT %(limit)s OFFSET %(offset)s

-- strays: the same, and whether the key is announced: a row that a wrapped class has just inserted gets its token when it is sent
WITH s (key) AS MATERIALIZED (
    SELECT {key} FROM {target} AS t WHERE t.{token} IS NULL LIMIT %(limit)s
), changed AS MATERIALIZED (
    SELECT c.key FROM sync.sql_change AS c WHERE c.table_name = %(table)s AND c.key IN (SELECT key FROM s)
)
SELECT s.key, EXISTS (
    SELECT FROM sync.intent AS i WHERE i.table_name = %(table)s AND sha256(i.key) = sha256(s.key) AND i.key = s.key
) OR EXISTS (SELECT FROM changed AS c WHERE c.key = s.key) FROM s

-- sample: some rows after a token, and, if there are too few, some from the beginning of the ring: key, row, and whether there
-- are intents of it, in one snapshot
WITH s AS MATERIALIZED (
    SELECT * FROM (
        (SELECT {key} AS key, {row} AS data, t.{token} AS token FROM {target} AS t
         WHERE t.{token} > %(after)s ORDER BY t.{token} LIMIT %(limit)s)
        UNION ALL (SELECT {key}, {row}, t.{token} FROM {target} AS t
                   WHERE t.{token} <= %(after)s ORDER BY t.{token} LIMIT %(limit)s)
    ) AS found LIMIT %(limit)s
), changed AS MATERIALIZED (
    SELECT c.key FROM sync.sql_change AS c WHERE c.table_name = %(table)s AND c.key IN (SELECT key FROM s)
)
SELECT s.key, s.data,
       EXISTS (SELECT FROM sync.intent WHERE table_name = %(table)s AND sha256(key) = sha256(s.key) AND key = s.key)
           OR EXISTS (SELECT FROM sync.intent WHERE table_name = %(table)s AND token = s.token
                      AND kind IN ('delete_partition', 'recheck_partition'))
           OR EXISTS (SELECT FROM changed AS c WHERE c.key = s.key)
FROM s

-- stamp: give a row the token of its key, unless SQL is changing it, which locks rows in any order
UPDATE {target} AS t SET {token} = %(token)s WHERE {same_key} AND t.{token} IS DISTINCT FROM %(token)s
  AND t.ctid = (SELECT t.ctid FROM {target} AS t WHERE {same_key} FOR NO KEY UPDATE SKIP LOCKED)

-- show: a row as JSON, for people
SELECT to_jsonb(t.*) FROM {target} AS t WHERE {same_key}

-- resume_runs: the unfinished passes over these tables, which from now on repair or do not
UPDATE sync.run SET repair = %(repair)s WHERE table_name = ANY (%(tables)s) AND kind = 'drift' AND state = 'open'
RETURNING table_name, id

-- ranges_checked: how many ranges have a verdict from passes that were stopped
SELECT count(*) FROM sync.range AS r JOIN sync.run ON run.id = r.run_id AND run.kind = 'drift' AND run.state = 'open'
WHERE run.table_name = ANY (%(tables)s) AND r.state = 'done'

-- open_rates: how many rows a second the unfinished passes over these tables may read; null: no limit
SELECT DISTINCT rows_per_second FROM sync.run WHERE table_name = ANY (%(tables)s) AND kind = 'drift' AND state = 'open'

-- begin_runs: a new pass over each of these tables; it inserts nothing, so its floor means nothing
INSERT INTO sync.run (kind, table_name, floor, repair, epoch, shape)
SELECT 'drift', t.name, 0, %(repair)s, (SELECT max(epoch) FROM sync.epoch), t.shape
FROM unnest(%(tables)s::text[], %(shapes)s::text[]) WITH ORDINALITY AS t (name, shape, place) ORDER BY t.place
RETURNING table_name, id

-- invalidate: discard verdicts of a stopped pass that no longer count: all of them if it is to restart, or if the epoch or
-- the table's shape has changed since it began; otherwise those whose check began too long ago
UPDATE sync.range AS r
SET state = 'pending', done_to = NULL, figures = NULL, attempts = 0, deaths = 0, error = NULL, lease_owner = NULL,
    lease_until = NULL, started_at = NULL, finished_at = NULL, rows_read = 0, rows_written = 0, rows_stale = 0, rows_rejected = 0
FROM sync.run, unnest(%(tables)s::text[], %(shapes)s::text[]) AS now (table_name, shape)
WHERE run.id = r.run_id AND run.id = ANY (%(runs)s) AND run.table_name = now.table_name
  AND (%(restart)s OR run.epoch IS DISTINCT FROM (SELECT max(epoch) FROM sync.epoch) OR now.shape IS NOT NULL AND run.shape IS DISTINCT FROM now.shape
       OR r.state = 'done' AND r.started_at < clock_timestamp() - make_interval(secs => %(age)s))
RETURNING r.id

-- forget_findings: the findings in these ranges, which are checked again
DELETE FROM sync.drift_finding AS f USING sync.range AS r
WHERE r.id = ANY (%(ranges)s) AND f.run_id = r.run_id AND f.token BETWEEN r.range_start AND r.range_end
  AND (f.token > r.range_start OR r.range_start = (-9223372036854775808)::bigint)

-- note_begin: the epoch, and the shapes of the tables, to which all verdicts of these passes now belong
UPDATE sync.run
SET epoch = (SELECT max(epoch) FROM sync.epoch), shape = coalesce(now.shape, run.shape),
    started_at = CASE WHEN EXISTS (SELECT FROM sync.range WHERE run_id = run.id AND state = 'done') THEN started_at
                      ELSE clock_timestamp() END
FROM unnest(%(tables)s::text[], %(shapes)s::text[]) AS now (table_name, shape)
WHERE id = ANY (%(runs)s) AND run.table_name = now.table_name

-- open_runs: unfinished passes, and whether they repair
SELECT table_name, id, repair FROM sync.run WHERE kind = 'drift' AND state = 'open' AND id = ANY (%(runs)s)

-- claim: the next range to check. `attempts` counts its tries, except those whose worker died, which `deaths` counts. A
-- process that has a range whose worker died holds no other one, so that its death would cost no other range's check. Ranges
-- that were never tried come first, found by an index
WITH mine AS MATERIALIZED (
    SELECT count(*) > 0 AS holds, coalesce(bool_or(deaths > 0), false) AS deadly FROM sync.range
    WHERE run_id = ANY (%(runs)s) AND state = 'running' AND lease_until >= clock_timestamp()
      AND split_part(lease_owner, '/', 1) = split_part(%(owner)s, '/', 1)
)
UPDATE sync.range AS r
SET state = 'running', lease_owner = %(owner)s, attempts = attempts + (r.state = 'pending')::int,
    deaths = deaths + (r.state = 'running')::int,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s), started_at = clock_timestamp()
FROM sync.run
WHERE run.id = r.run_id AND NOT (SELECT deadly FROM mine) AND r.id = coalesce((
    SELECT c.id FROM unnest(%(runs)s::bigint[]) AS u (run) CROSS JOIN LATERAL (
        SELECT p.id FROM sync.range AS p
        WHERE p.run_id = u.run AND p.state = 'pending' AND p.attempts = 0 AND p.deaths = 0
          AND (SELECT o.state = 'open' AND NOT o.stop_requested FROM sync.run AS o WHERE o.id = u.run)
        ORDER BY p.range_start LIMIT 1 FOR UPDATE SKIP LOCKED) AS c
    LIMIT 1), (
    SELECT c.id FROM sync.range AS c JOIN sync.run ON run.id = c.run_id AND run.state = 'open' AND NOT run.stop_requested
    WHERE c.id = ANY (ARRAY(
        SELECT id FROM sync.range WHERE run_id = ANY (%(runs)s) AND state = 'pending' AND (attempts > 0 OR deaths > 0)
        UNION ALL
        SELECT id FROM sync.range WHERE run_id = ANY (%(runs)s) AND state = 'running' AND lease_until < clock_timestamp()))
      AND (NOT (SELECT holds FROM mine) OR c.deaths = 0 AND c.state = 'pending')
    ORDER BY c.deaths + (c.state = 'running')::int, c.attempts, c.run_id, c.range_start
    LIMIT 1 FOR UPDATE OF c SKIP LOCKED))
RETURNING r.id, r.run_id, r.table_name, r.range_start, r.range_end, r.done_to, run.floor, r.attempts,
          run.rows_per_second,
          1 + (SELECT count(DISTINCT split_part(o.lease_owner, '/', 1)) FROM sync.range AS o
               WHERE o.run_id = ANY (%(runs)s) AND o.state = 'running' AND o.lease_until > clock_timestamp()
                 AND split_part(o.lease_owner, '/', 1) <> split_part(%(owner)s, '/', 1))

-- fail_crashed: ranges whose workers died too often
UPDATE sync.range SET state = 'failed', deaths = deaths + 1, error = %(error)s, lease_owner = NULL, lease_until = NULL
WHERE run_id = ANY (%(runs)s) AND state = 'running' AND deaths + 1 >= %(most)s AND lease_until < clock_timestamp()

-- reset_deaths: deaths count for one start only
UPDATE sync.range SET deaths = 0 WHERE run_id = ANY (%(runs)s) AND deaths > 0 AND state = 'pending'

-- split_off: the part of a range after a token, as a range of its own with the given attempts
INSERT INTO sync.range (run_id, table_name, range_start, range_end, attempts)
SELECT run_id, table_name, %(middle)s, range_end, %(attempts)s FROM sync.range
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running' FOR UPDATE

-- shorten: the first half of a range that was split, with the given attempts
UPDATE sync.range
SET range_end = %(middle)s, state = 'pending', attempts = %(attempts)s, lease_owner = NULL, lease_until = NULL,
    error = %(error)s
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- cut: a range ends earlier, and its worker keeps it
UPDATE sync.range SET range_end = %(middle)s
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- done: a range's verdict, if it is still this worker's
UPDATE sync.range
SET state = 'done', done_to = range_end, finished_at = clock_timestamp(), error = NULL, figures = %(figures)s,
    rows_read = %(source)s, rows_written = %(same)s, rows_stale = %(differing)s, rows_rejected = %(rejected)s
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'
RETURNING id

-- kept: how many findings of a run are kept with their keys
SELECT count(*) FROM sync.drift_finding WHERE run_id = %(run)s

-- keep: keep a finding with its key
INSERT INTO sync.drift_finding (run_id, table_name, key, source_key, token, kind, shown, columns, source_version,
                                target_version, repaired, error)
VALUES (%(run)s, %(table)s, %(key)s, %(source_key)s, %(token)s, %(kind)s, %(shown)s, %(columns)s, %(source_version)s,
        %(target_version)s, %(repaired)s, %(error)s)
ON CONFLICT DO NOTHING

-- lock_runs: the passes to be closed; another command that wants to close them waits, and then finds them closed. A pass is
-- as old as the check that gave its oldest verdict
SELECT id, table_name, (SELECT coalesce(min(r.started_at), run.started_at) FROM sync.range AS r WHERE r.run_id = run.id), shape,
       (SELECT extract(epoch FROM max(r.finished_at) - run.started_at)::float8 FROM sync.range AS r WHERE r.run_id = run.id),
       (SELECT extract(epoch FROM max(r.finished_at) - min(r.started_at))::float8 FROM sync.range AS r WHERE r.run_id = run.id)
FROM sync.run WHERE id = ANY (%(runs)s) AND state = 'open' ORDER BY id FOR UPDATE

-- ranges: the ranges of a run, in the order of the ring; those without a verdict may hold how their worker was throttled
SELECT range_start, range_end, state, CASE WHEN state = 'done' THEN figures END, error
FROM sync.range WHERE run_id = %(run)s ORDER BY range_start

-- findings: the findings of a run that were kept; whether a change of the key, or of its partition, was announced meanwhile
SELECT table_name, key, source_key, token, kind, shown, columns, source_version, target_version, repaired, error, EXISTS (
    SELECT FROM sync.intent AS i
    WHERE i.table_name = f.table_name AND sha256(i.key) = sha256(f.key) AND i.key = f.key
      AND (i.owner = 'announce' OR starts_with(i.owner, 'follow '))
    UNION ALL SELECT FROM sync.intent AS i
    WHERE i.table_name = f.table_name AND i.token = f.token AND i.kind = 'recheck_partition') AS announced
FROM sync.drift_finding AS f WHERE run_id = %(run)s ORDER BY token, key

-- close_run: a pass is over
UPDATE sync.run SET state = 'done', finished_at = clock_timestamp() WHERE id = ANY (%(runs)s)

-- drop_ranges: a closed pass has its ranges in its report; here they would only slow down the search for a backfill's
DELETE FROM sync.range WHERE run_id = ANY (%(runs)s)

-- record: a pass with its figures
INSERT INTO sync.drift_pass (runs, clean, repaired, started_at, report, proof, epoch, data_center)
VALUES (%(runs)s, %(clean)s, %(repaired)s, %(started_at)s, %(report)s, %(proof)s, (SELECT max(epoch) FROM sync.epoch),
        (SELECT max(data_center) FROM sync.run WHERE id = ANY(%(runs)s)))
RETURNING id, finished_at

-- recorded: the pass that closed these runs
SELECT id, started_at, finished_at, report FROM sync.drift_pass
WHERE runs @> %(runs)s::bigint[] AND runs <@ %(runs)s::bigint[]

-- forget_disturbances: those that a later one of the same table supersedes, and those from before this epoch
DELETE FROM sync.disturbance AS d
WHERE d.at < (SELECT since FROM sync.epoch ORDER BY epoch DESC LIMIT 1)
   OR EXISTS (SELECT FROM sync.disturbance AS n WHERE n.table_name = d.table_name AND (n.at, n.id) > (d.at, d.id))

-- history: the passes, the newest first
SELECT id, clean, repaired, started_at, finished_at, report FROM sync.drift_pass ORDER BY id DESC LIMIT %(limit)s
