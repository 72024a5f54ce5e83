-- epoch: the authority is the highest epoch
SELECT epoch, "primary", floor, state FROM sync.epoch ORDER BY epoch DESC LIMIT 1

-- raise_floor: the floor rises above every version that was possible before this moment (rule 3)
UPDATE sync.epoch SET floor = greatest(floor + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
WHERE epoch = (SELECT max(epoch) FROM sync.epoch)
RETURNING floor

-- resume_runs: the unfinished backfills of these tables
SELECT table_name, id FROM sync.run WHERE table_name = ANY (%(tables)s) AND kind = 'backfill' AND state = 'open'

-- begin_runs: a new backfill of each of these tables, whose floor is not known yet
INSERT INTO sync.run (kind, table_name, floor, shape, write_times)
SELECT 'backfill', t.name, 0, t.shape, true
FROM unnest(%(tables)s::text[], %(shapes)s::text[]) WITH ORDINALITY AS t (name, shape, place) ORDER BY t.place
RETURNING table_name, id

-- set_floor: rows that these runs insert from now on get the floor of this start (rule 18)
UPDATE sync.run SET floor = %(floor)s WHERE id = ANY (%(runs)s)

-- reset_ranges: restart the ranges of runs whose tables have changed their shape since they began
UPDATE sync.range AS r
SET state = 'pending', done_to = NULL, position = NULL, attempts = 0, error = NULL, lease_owner = NULL, lease_until = NULL,
    started_at = NULL, finished_at = NULL
FROM sync.run, unnest(%(tables)s::text[], %(shapes)s::text[]) AS now (table_name, shape)
WHERE run.id = r.run_id AND run.id = ANY (%(runs)s) AND run.table_name = now.table_name AND run.shape <> now.shape

-- note_shapes: the shapes with which the tables of these runs are compared at the end
UPDATE sync.run SET shape = now.shape FROM unnest(%(tables)s::text[], %(shapes)s::text[]) AS now (table_name, shape)
WHERE id = ANY (%(runs)s) AND run.table_name = now.table_name

-- shapes: the shapes of these runs' tables when the runs began; null where not recorded
SELECT table_name, shape FROM sync.run WHERE id = ANY (%(runs)s) ORDER BY id

-- request_stop: ask the workers of these runs to stop at the next batch, or take that back
UPDATE sync.run SET stop_requested = %(stop)s WHERE id = ANY (%(runs)s)

-- note_failure: record that a whole job failed, not only a range, for the command that started these runs
UPDATE sync.run
SET error = %(error)s,
    failures = failures + (NOT (%(away)s AND EXISTS (
        SELECT FROM sync.range WHERE run_id = ANY (%(runs)s) AND (state = 'done' OR rows_read > 0))))::int
WHERE id = ANY (%(runs)s)

-- forget_failures: a new start
UPDATE sync.run SET failures = 0, error = NULL WHERE id = ANY (%(runs)s)

-- failures: how many jobs failed since the start, and the last one's error
SELECT max(failures), max(error) FROM sync.run WHERE id = ANY (%(runs)s)

-- active_workers: processes that hold a range at this moment
SELECT count(DISTINCT split_part(lease_owner, '/', 1)) FROM sync.range
WHERE run_id = ANY (%(runs)s) AND state = 'running' AND lease_until > clock_timestamp()

-- release_worker: ranges of a worker that has stopped are released at once
UPDATE sync.range SET state = 'pending', lease_owner = NULL, lease_until = NULL
WHERE run_id = ANY (%(runs)s) AND state = 'running' AND split_part(lease_owner, '/', 1) = %(worker)s

-- set_rate: how many rows a second these runs may read, all workers together; null: no limit
UPDATE sync.run SET rows_per_second = %(rate)s WHERE id = ANY (%(runs)s)

-- add_range: one planned range
INSERT INTO sync.range (run_id, table_name, range_start, range_end) VALUES (%s, %s, %s, %s)

-- reopen: failed ranges, and those whose worker is gone, are tried again in this start
UPDATE sync.range SET state = 'pending', attempts = 0, error = NULL, lease_owner = NULL, lease_until = NULL
WHERE run_id = ANY (%(runs)s) AND (state = 'failed' OR state = 'running' AND lease_until < clock_timestamp())

-- claim: the next range to copy, under a lease: pending ones first, by attempts; then one whose lease has expired
UPDATE sync.range AS r
SET state = 'running', lease_owner = %(owner)s, attempts = attempts + 1,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s), started_at = coalesce(r.started_at, clock_timestamp())
FROM sync.run
WHERE run.id = r.run_id AND r.id = coalesce((
    SELECT c.id FROM unnest(%(runs)s::bigint[]) AS u (run) CROSS JOIN LATERAL (
        SELECT p.id FROM sync.range AS p
        WHERE p.run_id = u.run AND p.state = 'pending'
          AND (SELECT o.state = 'open' AND NOT o.stop_requested FROM sync.run AS o WHERE o.id = u.run)
        ORDER BY p.attempts, p.range_start LIMIT 1 FOR UPDATE SKIP LOCKED) AS c
    LIMIT 1), (
    SELECT c.id FROM sync.range AS c JOIN sync.run ON run.id = c.run_id AND run.state = 'open' AND NOT run.stop_requested
    WHERE c.run_id = ANY (%(runs)s) AND c.state = 'running' AND c.lease_until < clock_timestamp()
    ORDER BY c.run_id, c.range_start LIMIT 1 FOR UPDATE OF c SKIP LOCKED))
RETURNING r.id, r.run_id, r.table_name, r.range_start, r.range_end, r.done_to, run.floor, r.attempts,
          run.rows_per_second,
          1 + (SELECT count(*) FROM sync.range AS o
               WHERE o.run_id = ANY (%(runs)s) AND o.state = 'running' AND o.lease_until > clock_timestamp()),
          r.position

-- renew: prolong a lease and note how its worker is throttled, if it is; whether the run is to stop, and how many share its rate
-- now (streams of a backfill; processes of a drift pass, of which each has one limiter for all of its streams)
UPDATE sync.range AS r SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    figures = %(throttled)s::jsonb || jsonb_build_object('at', extract(epoch FROM clock_timestamp()))
FROM sync.run
WHERE run.id = r.run_id AND r.id = %(range)s AND r.lease_owner = %(owner)s AND r.state = 'running'
RETURNING run.stop_requested, run.rows_per_second,
          (SELECT CASE run.kind WHEN 'drift' THEN count(DISTINCT split_part(o.lease_owner, '/', 1)) ELSE count(*) END
           FROM sync.range AS o JOIN sync.run AS p ON p.id = o.run_id AND p.state = 'open' AND p.kind = run.kind
           WHERE o.state = 'running' AND o.lease_until > clock_timestamp())

-- hold: lock the range's row before the statement that merges (rule 18), if it is still this worker's; and the primary
SELECT e."primary"
FROM (SELECT FROM sync.range WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running' FOR UPDATE) AS r
CROSS JOIN (SELECT "primary" FROM sync.epoch ORDER BY epoch DESC LIMIT 1) AS e

-- touched: whether the range holds tombstones, of keys or of partitions, or intents, or SQL has changed a key, whose token it does not know
SELECT EXISTS (SELECT FROM sync.tombstone WHERE table_name = %(table)s AND token BETWEEN %(start)s AND %(end)s)
    OR EXISTS (SELECT FROM sync.partition_tombstone WHERE table_name = %(table)s AND token BETWEEN %(start)s AND %(end)s)
    OR EXISTS (SELECT FROM sync.intent WHERE table_name = %(table)s AND token BETWEEN %(start)s AND %(end)s)
    OR EXISTS (SELECT FROM sync.intent WHERE table_name = %(table)s AND token = (-9223372036854775808)::bigint)

-- checkpoint: what this transaction copied, with the rows themselves (invariant 4)
UPDATE sync.range
SET done_to = %(done_to)s, position = %(position)s, rows_read = rows_read + %(read)s, rows_written = rows_written + %(written)s,
    rows_stale = rows_stale + %(stale)s, rows_rejected = rows_rejected + %(rejected)s, bytes_read = bytes_read + %(bytes)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    attempts = CASE WHEN (done_to, position) IS DISTINCT FROM (%(done_to)s, %(position)s::bytea) THEN 1 ELSE attempts END, error = NULL,
    state = CASE WHEN %(last)s THEN 'done' ELSE state END,
    finished_at = CASE WHEN %(last)s THEN clock_timestamp() END
WHERE id = %(range)s
RETURNING (SELECT stop_requested FROM sync.run WHERE run.id = run_id)

-- clear_rejects: what other runs, or reconciles, rejected in a range that has now been read to its end
DELETE FROM sync.reject
WHERE table_name = %(table)s AND run_id <> %(run)s AND token BETWEEN %(start)s AND %(end)s
  AND (token > %(start)s OR %(start)s = (-9223372036854775808)::bigint)

-- release: a worker stops in the middle of a range; the checkpoint stays
UPDATE sync.range SET state = 'pending', lease_owner = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- release_owner: release what an owner held when it lost its connection
UPDATE sync.range SET state = 'pending', lease_owner = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
WHERE run_id = ANY (%(runs)s) AND lease_owner = %(owner)s AND state = 'running'

-- forget_position: the source no longer knows the place within a partition; this does not count as an attempt
UPDATE sync.range
SET state = 'pending', position = NULL, lease_owner = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- wait: a server is temporarily unavailable, for the reason in `error`; this does not count as an attempt
UPDATE sync.range
SET state = 'pending', lease_owner = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0), error = %(error)s
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- fail: an attempt failed; after the last one the range is failed
UPDATE sync.range
SET state = CASE WHEN attempts >= %(most)s THEN 'failed' ELSE 'pending' END, error = %(error)s,
    lease_owner = NULL, lease_until = NULL
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- fail_crashed: ranges that were claimed again and again, and whose workers died each time before the next checkpoint
UPDATE sync.range SET state = 'failed', error = %(error)s, lease_owner = NULL, lease_until = NULL
WHERE run_id = ANY (%(runs)s) AND state = 'running' AND attempts >= %(most)s AND lease_until < clock_timestamp()

-- split_off: the second half of what is left of a range that was too much for one request, as a range of its own
INSERT INTO sync.range (run_id, table_name, range_start, range_end)
SELECT run_id, table_name, %(middle)s, range_end FROM sync.range
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running' FOR UPDATE

-- shorten: the first half of a range that was split
UPDATE sync.range
SET range_end = %(middle)s, state = 'pending', lease_owner = NULL, lease_until = NULL, error = %(error)s
WHERE id = %(range)s AND lease_owner = %(owner)s AND state = 'running'

-- finish_runs: a run is done when all its ranges are
UPDATE sync.run SET state = 'done', finished_at = clock_timestamp()
WHERE id = ANY (%(runs)s) AND state = 'open'
  AND NOT EXISTS (SELECT FROM sync.range WHERE run_id = run.id AND range.state <> 'done')
RETURNING id

-- whole_ring: the ranges of each run, to check that they are exactly the ring (invariant 4)
SELECT run_id, range_start, range_end FROM sync.range WHERE run_id = ANY (%(runs)s)

-- progress: the progress of each run
SELECT r.table_name, count(*), count(*) FILTER (WHERE r.state = 'done'), count(*) FILTER (WHERE r.state = 'running'),
       count(*) FILTER (WHERE r.state = 'failed'), sum(r.rows_read), sum(r.rows_written), sum(r.rows_stale), sum(r.rows_rejected),
       sum(r.bytes_read),
       count(*) FILTER (WHERE r.state = 'running' AND r.lease_until < clock_timestamp()),
       coalesce(max(r.error) FILTER (WHERE r.state <> 'done'),
                CASE WHEN bool_or(r.state = 'pending') AND NOT bool_or(r.state = 'running' AND r.lease_until > clock_timestamp())
                     THEN (SELECT run.error FROM sync.run WHERE run.id = r.run_id) END),
       extract(epoch FROM max(coalesce(r.finished_at, clock_timestamp())) - min(r.started_at)),
       (array_agg(r.figures ORDER BY r.figures -> 'at' DESC) FILTER (
           WHERE r.figures ? 'share' AND (r.figures ->> 'at')::float8 > extract(epoch FROM clock_timestamp()) - 15))[1]
FROM sync.range AS r
WHERE r.run_id = ANY (%(runs)s)
GROUP BY r.run_id, r.table_name ORDER BY r.run_id

-- tables_of: the tables of these runs
SELECT table_name FROM sync.run WHERE id = ANY (%(runs)s) ORDER BY id

-- latest_runs: the newest backfill of each table
SELECT DISTINCT ON (table_name) id FROM sync.run WHERE kind = 'backfill' ORDER BY table_name, id DESC

-- open_drift_runs: drift passes that are in progress, or were stopped
SELECT id FROM sync.run WHERE kind = 'drift' AND state = 'open' ORDER BY id

-- work_left: whether there is a range that a worker could claim now
SELECT EXISTS (SELECT FROM sync.range JOIN sync.run ON run.id = run_id AND run.state = 'open'
               WHERE run_id = ANY (%(runs)s) AND range.state = 'pending')
    OR EXISTS (SELECT FROM sync.range JOIN sync.run ON run.id = run_id AND run.state = 'open'
               WHERE run_id = ANY (%(runs)s) AND range.state = 'running' AND lease_until < clock_timestamp())

-- last_throttled: how a worker of these runs was throttled last, half a minute ago at most
SELECT figures FROM sync.range
WHERE run_id = ANY (%(runs)s) AND figures ? 'share' AND (figures ->> 'at')::float8 > extract(epoch FROM clock_timestamp()) - 30
ORDER BY figures -> 'at' DESC LIMIT 1
