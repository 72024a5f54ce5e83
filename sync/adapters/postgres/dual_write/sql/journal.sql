-- stamped: the epoch, whose lock an earlier statement took (rule 20), and the least version that a stamp may have (rule 2)
e AS (
    SELECT epoch, "primary", floor, state FROM sync.epoch ORDER BY epoch DESC LIMIT 1
), known AS (
    SELECT max(version) AS version FROM (
        SELECT {version} AS version FROM {target} AS t WHERE {same_key}
        UNION ALL SELECT version FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s
        UNION ALL SELECT version FROM sync.intent WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s
        UNION ALL SELECT version FROM sync.ahead WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s
        {covering}
    ) AS all_known
), need AS (
    SELECT greatest(%(clock)s, %(above)s, e.floor, 1 + least(coalesce(known.version, 0), {most})) AS need FROM e, known
), clock AS (
    SELECT greatest(e.floor, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now FROM e
)

-- registered: whether the slot is still the writer's (rule 2): another one may have it if this one was silent or fenced
EXISTS (SELECT FROM sync.writer WHERE id = %(owner)s AND state = 'active' AND slot = %(slot)s)

-- open: stamp a write and commit its intent in one statement (rule 2); `made` is empty if the write may not begin
WITH {stamped}, me AS (
    SELECT {registered} AS registered
), made AS (
    INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation)
    SELECT %(table)s, %(key)s, %(source_key)s, %(token)s, %(kind)s, 'open',
           need + ((%(slot)s - need) %% 1000 + 1000) %% 1000, e.epoch, %(owner)s, %(mutation)s
    FROM e, need, clock, me
    WHERE me.registered AND e.state = 'open' AND e."primary" = 'astra' AND %(clock)s <= clock.now + %(skew)s AND need <= {most}
    RETURNING id, version
)
SELECT made.id, made.version, e.epoch, e."primary", e.state, need.need > {most}, %(clock)s - clock.now, me.registered
FROM e CROSS JOIN need CROSS JOIN clock CROSS JOIN me LEFT JOIN made ON true

-- noted: record the time of a late record: passes begun before it prove nothing (rule 31)
UPDATE sync.writer SET recorded_at = clock_timestamp() WHERE id = %(owner)s

-- lock_key: every transaction that changes a key first takes its lock, in an earlier statement (rule 5), and with it says that it
-- is the program's own: its statements fire no trigger for SQL writers (rule 44)
SELECT pg_advisory_xact_lock(%(lock)s), set_config('sync.own', 'on', true)

-- lock_key_in_partition: the same in a table with partitions of several rows: the partition's lock, shared, comes first
SELECT pg_advisory_xact_lock_shared(%(partition)s), pg_advisory_xact_lock(%(lock)s), set_config('sync.own', 'on', true)

-- share_range: whoever writes a tombstone share-locks the backfill's range row (rule 9)
SELECT FROM sync.range AS r
WHERE r.run_id = (SELECT id FROM sync.run WHERE table_name = %(table)s AND kind = 'backfill' AND state = 'open')
  AND r.range_start < greatest(%(token)s, -9223372036854775807)
ORDER BY r.range_start DESC LIMIT 1 FOR SHARE

-- put: the guarded write of a whole row, with its intent (rules 6 and 12)
WITH mine AS (
    SELECT id FROM sync.intent WHERE id = %(intent)s FOR UPDATE
), written AS (
    INSERT INTO {target} AS t ({columns}, {token}, {version_column})
    SELECT {values}, %(token)s, %(version)s FROM mine
    WHERE NOT EXISTS (
        SELECT FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s AND version >= %(version)s)
      {uncovered}
    ON CONFLICT ({primary_key}) DO UPDATE SET {set_excluded}
    WHERE coalesce({version}, 0) < %(version)s
    RETURNING 1
), {mended}, {settle}

-- update: the guarded write of some columns of a row that is there (rules 7 and 12)
WITH mine AS (
    SELECT id FROM sync.intent WHERE id = %(intent)s FOR UPDATE
), written AS (
    UPDATE {target} AS t SET {set_given}, {version_column} = %(version)s FROM mine
    WHERE {same_key} AND coalesce({version}, 0) < %(version)s
    RETURNING 1
), {settle}

-- delete: the guarded delete, with its tombstone (rules 8 and 12)
WITH mine AS (
    SELECT id FROM sync.intent WHERE id = %(intent)s FOR UPDATE
), allowed AS (
    SELECT id FROM mine
    WHERE NOT EXISTS (SELECT FROM {target} AS t WHERE {same_key} AND coalesce({version}, 0) > %(version)s)
), gone AS (
    DELETE FROM {target} AS t USING allowed WHERE {same_key}
), written AS (
    INSERT INTO sync.tombstone AS t (table_name, key, token, version)
    SELECT %(table)s, %(key)s, %(token)s, %(version)s FROM allowed
    ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)
    RETURNING 1
), {mended}, {settle}

-- mended: an accepted write removes the rejects of its key
mended AS (
    DELETE FROM sync.reject
    WHERE table_name = %(table)s AND sha256(source_key) = sha256(%(source_key)s) AND source_key = %(source_key)s AND EXISTS (SELECT FROM written)
)

-- settle: the intent of an accepted write is removed; a refused write's becomes finished, to be reconciled (rule 12)
removed AS (
    DELETE FROM sync.intent WHERE id IN (SELECT id FROM mine) AND EXISTS (SELECT FROM written)
), kept AS (
    UPDATE sync.intent SET state = 'finished' WHERE id IN (SELECT id FROM mine) AND NOT EXISTS (SELECT FROM written)
)
SELECT EXISTS (SELECT FROM written)

-- mark: the outcome of writes whose second half was not done: finished, or unsure (rule 11); unless a reconcile has them. The
-- recheck of a partition gets the time at which the call had ended, of its own host, whose driver has stamped the call's writes;
-- by Postgres's clock, a write after it could be newer than a call that follows (rule 47). If a worker has picked it, which took
-- the writer for dead, it loses it, and the recheck is unsure: the worker may have looked before the call's last statements
UPDATE sync.intent SET error = %(error)s, ended_at = clock_timestamp(),
    state = CASE WHEN kind = 'recheck_partition' AND lease_owner IS NOT NULL THEN 'unsure' ELSE %(state)s END,
    version = CASE WHEN kind = 'recheck_partition' THEN greatest(version, %(clock)s) ELSE version END,
    lease_owner = CASE WHEN kind = 'recheck_partition' THEN NULL ELSE lease_owner END,
    lease_until = CASE WHEN kind = 'recheck_partition' THEN NULL ELSE lease_until END
WHERE id = ANY (%(intents)s::bigint[]) AND state = 'open'
RETURNING id

-- remove: both sides have the writes. Not flushed: an intent that a crash brings back is reconciled once more
WITH quickly AS (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM sync.intent USING quickly WHERE id = ANY (%(intents)s::bigint[])

-- withdraw: the primary refused the only attempt, or there was none, and nobody has claimed the intent (rule 13)
DELETE FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]) AND state = 'open' RETURNING id

-- known: what the target knows of the key (rule 15a)
SELECT (SELECT coalesce({version}, 0) FROM {target} AS t WHERE {same_key}), {tombstone}

-- tombstone: the version with which the key was deleted
(SELECT version FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s)

-- set_row: write the row as the primary has it, and remove the picked intents, if the key is unchanged (rule 15d)
WITH {same}, written AS (
    INSERT INTO {target} AS t ({columns}, {token}, {version_column})
    SELECT {values}, %(token)s, %(version)s FROM same
    ON CONFLICT ({primary_key}) DO UPDATE SET {set_excluded}
), {settled}

-- set_absent: the same if the primary has no such row: delete it and leave a tombstone (rule 15d)
WITH {same}, gone AS (
    DELETE FROM {target} AS t USING same WHERE {same_key}
), written AS (
    INSERT INTO sync.tombstone AS t (table_name, key, token, version)
    SELECT %(table)s, %(key)s, %(token)s, %(version)s FROM same
    ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)
), {settled}

-- set_kept: the same if the row expired in the primary and is kept (rule 15d); its version rises (rule 1)
WITH {same}, written AS (
    UPDATE {target} AS t SET {version_column} = %(version)s FROM same WHERE {same_key}
), {settled}

-- same: whether the target knows the same of the key as when the intents were picked, and one of them is left: else a switch may
-- have come between, and a change that gave the row no version (rule 15d)
same AS (
    SELECT 1 WHERE (SELECT coalesce({version}, 0) FROM {target} AS t WHERE {same_key})
            IS NOT DISTINCT FROM %(row_version)s::bigint
        AND {tombstone} IS NOT DISTINCT FROM %(tombstone)s::bigint
        AND EXISTS (SELECT FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]))
)

-- settled: remove exactly the intents that were picked, and the rejects of the key
mended AS (
    DELETE FROM sync.reject WHERE table_name = %(table)s AND sha256(source_key) = sha256(%(source_key)s) AND source_key = %(source_key)s AND EXISTS (SELECT FROM same)
), removed AS (
    DELETE FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]) AND EXISTS (SELECT FROM same)
    RETURNING table_name, state, mutation
), {late}
SELECT EXISTS (SELECT FROM same)

-- late: if the window was too short, an unrepeatable write may have arrived after the read: invalidate the proof (rule 17)
late AS (
    INSERT INTO sync.disturbance (table_name, why)
    SELECT table_name, 'a write that could not be repeated was settled' FROM removed
    WHERE state <> 'finished' AND mutation IS NULL LIMIT 1
)

-- due: keys of a table with intents to work on, leased for a while so that workers do not queue for the same ones. At most
-- half are ones that were tried before, so that neither these nor new ones wait until the others are done. The limit is a
-- literal, so that the planner knows how few are asked for
UPDATE sync.intent SET lease_owner = %(owner)s, lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE id = ANY (ARRAY(
    SELECT id FROM (
        SELECT i.id FROM sync.intent AS i
        WHERE i.table_name = %(table)s AND i.kind NOT IN ('delete_partition', 'recheck_partition') AND i.state <> 'open' AND i.lease_until < statement_timestamp() AND {is_due}
        ORDER BY i.lease_until NULLS FIRST, i.id LIMIT {half} FOR UPDATE SKIP LOCKED) AS again
    UNION ALL SELECT id FROM (
        SELECT i.id FROM sync.intent AS i
        WHERE i.table_name = %(table)s AND i.kind NOT IN ('delete_partition', 'recheck_partition') AND i.state <> 'open' AND i.lease_until IS NULL AND {is_due}
        ORDER BY i.lease_until NULLS FIRST, i.id LIMIT {limit} FOR UPDATE SKIP LOCKED) AS first
    UNION ALL SELECT id FROM (
        SELECT i.id FROM sync.intent AS i
        WHERE i.table_name = %(table)s AND i.kind NOT IN ('delete_partition', 'recheck_partition') AND i.state = 'open' AND (i.lease_until IS NULL OR i.lease_until < statement_timestamp())
          AND {is_due}
        ORDER BY i.id LIMIT {limit} FOR UPDATE SKIP LOCKED) AS left_open
    LIMIT {limit}))
RETURNING key, token, source_key, CASE WHEN source_key IS NULL THEN mutation END

-- in_order: let the next statements read, in the order of an index, only as much as they need, and not everything first:
-- before the first ANALYZE the planner takes every table to be small
SELECT set_config('enable_bitmapscan', 'off', true)

-- is_due: whether an intent may be worked on now; not before what it tells of has come to a quorum, or never will (rule 40)
((i.not_before IS NULL OR i.not_before <= statement_timestamp()) AND (i.epoch < %(epoch)s OR i.epoch = %(epoch)s
      AND (i.state <> 'open' OR NOT EXISTS (
          SELECT FROM sync.writer AS w WHERE w.id = i.owner AND w.state = 'active'
            AND w.heartbeat_at > clock_timestamp() - make_interval(secs => %(writer_lease)s))
          OR i.mutation IS NOT NULL AND i.created_at < clock_timestamp() - make_interval(secs => %(writer_lease)s))
      AND (i.state = 'finished' OR i.mutation IS NOT NULL OR clock_timestamp() - make_interval(secs => %(window)s) > greatest(
          coalesce(i.ended_at, i.created_at),
          (SELECT w.heartbeat_at FROM sync.writer AS w WHERE w.id = i.owner AND i.state = 'open')))))

-- failed: a reconcile failed; it is retried, later each time, and not at the same moment as others that failed with it
WITH chance AS MATERIALIZED (SELECT 0.75 + random() / 2 AS factor)
UPDATE sync.intent SET attempts = attempts + 1, error = %(error)s,
    lease_until = clock_timestamp() + make_interval(secs => chance.factor * least(300, 2 ^ least(attempts, 8)))
FROM chance WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s

-- open_by_table: each table with intents, found one after the other by index; their number, counted up to a limit; whether
-- there is one that nobody works on. Each part reads in the order of its index. What SQL has changed since a sweep began to make
-- rechecks of it (rule 50) counts, too
WITH RECURSIVE named (name) AS (
    (SELECT table_name FROM sync.intent ORDER BY table_name LIMIT 1)
    UNION ALL
    SELECT (SELECT table_name FROM sync.intent WHERE table_name > named.name ORDER BY table_name LIMIT 1)
    FROM named WHERE named.name IS NOT NULL
), changed AS MATERIALIZED (
    SELECT table_name AS name, count(*) AS waiting FROM (
        SELECT table_name FROM sync.sql_change ORDER BY id LIMIT %(most)s) AS counted
    GROUP BY table_name
)
SELECT name,
       (SELECT count(*) FROM (SELECT FROM sync.intent WHERE table_name = name ORDER BY token LIMIT %(most)s) AS counted)
           + coalesce(waiting, 0),
       waiting IS NOT NULL OR coalesce((SELECT true FROM sync.intent WHERE table_name = name AND state <> 'open' AND lease_until IS NULL
                 ORDER BY lease_until NULLS FIRST, id LIMIT 1),
                (SELECT true FROM sync.intent WHERE table_name = name AND state <> 'open' AND lease_until < statement_timestamp()
                 ORDER BY lease_until NULLS FIRST, id LIMIT 1), false),
       coalesce((SELECT true FROM sync.intent
                 WHERE table_name = name AND state = 'open' AND (lease_until IS NULL OR lease_until < statement_timestamp())
                 ORDER BY id LIMIT 1), false)
FROM (SELECT name FROM named WHERE name IS NOT NULL) AS of_intents FULL JOIN changed USING (name)
