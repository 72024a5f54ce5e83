-- lock_partition: whoever deletes rows of a partition with one statement holds it alone, and takes no key's lock (rule 33)
SELECT pg_advisory_xact_lock(%(partition)s), set_config('sync.own', 'on', true)

-- covering: what deleted, or is deleting, rows of the key's partition. By its token alone: that a key counts as deleted which
-- only shares the partition with a deleted range costs it a reconcile, or a higher stamp, and no more (rules 34 and 35)
UNION ALL SELECT version FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = %(token)s
UNION ALL SELECT version FROM sync.intent WHERE table_name = %(table)s AND token = %(token)s AND kind = 'delete_partition'
UNION ALL SELECT version FROM sync.intent WHERE table_name = %(table)s AND token = %(token)s AND kind = 'recheck_partition'
    AND owner NOT LIKE 'follow %%'  -- a method of the application's own class has written, or is writing, it (rule 47)

-- uncovered: a put that is older than the delete of its partition is refused, and reconciled (rule 34)
AND NOT EXISTS (
    SELECT FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = %(token)s AND version >= %(version)s)

-- tombstone: the version with which the key was deleted, by itself or with its partition (rule 34)
greatest((SELECT version FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s),
         (SELECT version FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = %(token)s))

-- stamped: the epoch, and the least version of a delete: above all that is known of any key of the partition (rule 35)
e AS (
    SELECT epoch, "primary", floor, state FROM sync.epoch ORDER BY epoch DESC LIMIT 1
), known AS (
    SELECT max(version) AS version FROM (
        SELECT max({version}) AS version FROM {target} AS t WHERE {covered}
        UNION ALL SELECT version FROM sync.tombstone WHERE table_name = %(table)s AND token = %(token)s
        UNION ALL SELECT version FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = %(token)s
        UNION ALL SELECT version FROM sync.intent WHERE table_name = %(table)s AND token = %(token)s
        UNION ALL SELECT version FROM sync.intent -- of keys that SQL has changed: it knows no token
            WHERE (SELECT "primary" FROM e) = 'astra' AND table_name = %(table)s AND token = (-9223372036854775808)::bigint
        UNION ALL SELECT version FROM sync.ahead WHERE table_name = %(table)s AND token = %(token)s
    ) AS all_known
), need AS (
    SELECT greatest(%(clock)s, %(above)s, e.floor, 1 + least(coalesce(known.version, 0), {most})) AS need FROM e, known
), clock AS (
    SELECT greatest(e.floor, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now FROM e
)

-- half: the target's half of a delete, if its intent is still there: rows that are no newer go; the tombstone stays; newer
-- rows are rechecked, as the source may have a part of them alone (rule 36)
WITH mine AS (
    SELECT id, version, epoch, owner FROM sync.intent WHERE id = %(intent)s FOR UPDATE
), gone AS (
    DELETE FROM {target} AS t WHERE {covered} AND coalesce({version}, 0) <= (SELECT m.version FROM mine AS m)
), newer AS (
    INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner)
    SELECT %(table)s, n.key, %(token)s, 'recheck', 'finished', m.version, m.epoch, m.owner
    FROM mine AS m CROSS JOIN LATERAL (
        SELECT {key} AS key FROM {target} AS t WHERE {covered} AND coalesce({version}, 0) > (SELECT o.version FROM mine AS o)) AS n
    ON CONFLICT DO NOTHING
), remembered AS (
    INSERT INTO sync.partition_tombstone AS p (table_name, token, version) SELECT %(table)s, %(token)s, m.version FROM mine AS m
    ON CONFLICT (table_name, token) DO UPDATE SET version = greatest(p.version, excluded.version)
), removed AS (
    DELETE FROM sync.intent WHERE id IN (SELECT m.id FROM mine AS m)
)
SELECT EXISTS (SELECT FROM mine)

-- rejected: the source's own keys of the partition's rejects
SELECT source_key FROM sync.reject WHERE table_name = %(table)s AND token = %(token)s

-- recheck: leave a finished recheck of each of these keys
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner)
SELECT %(table)s, k.key, k.source_key, %(token)s, 'recheck', 'finished', %(version)s, (SELECT max(epoch) FROM sync.epoch), %(owner)s
FROM unnest(%(keys)s::bytea[], %(source_keys)s::bytea[]) AS k (key, source_key)
ON CONFLICT DO NOTHING

-- delete: the same with Postgres as primary: every row goes, and the intent says what the source is to be sent (rule 38)
WITH {stamped}, {allowed}, gone AS (
    DELETE FROM {target} AS t WHERE {covered} AND EXISTS (SELECT FROM v AS given)
), written AS (
    INSERT INTO sync.partition_tombstone AS p (table_name, token, version) SELECT %(table)s, %(token)s, v.version FROM v
    ON CONFLICT (table_name, token) DO UPDATE SET version = greatest(p.version, excluded.version)
    RETURNING 1
), {made}

-- due: deletes of partitions to work on, leased for a while. All but the finished ones are claimed, so that their writers can
-- no longer withdraw them (rule 37)
UPDATE sync.intent SET lease_owner = %(owner)s, lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    state = CASE WHEN state = 'finished' THEN state ELSE 'claimed' END, replays = replays + (state <> 'finished')::int,
    replayed_at = CASE WHEN state = 'finished' THEN replayed_at ELSE clock_timestamp() END
WHERE id = ANY (ARRAY(
    SELECT i.id FROM sync.intent AS i
    WHERE i.table_name = %(table)s AND i.kind = 'delete_partition' AND i.epoch = %(epoch)s
      AND (i.lease_until IS NULL OR i.lease_until < statement_timestamp()) AND {is_due}
    ORDER BY i.id LIMIT 16 FOR UPDATE SKIP LOCKED))
RETURNING id, version, state, key, token, mutation
