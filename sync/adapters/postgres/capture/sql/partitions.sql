-- due: rechecks of partitions to work on, leased for a while; not before what they tell of has come to a quorum (rule 40), nor
-- while a call that writes the partition is under way, or may still land (rules 17 and 47). Of a call whose end nobody has seen
-- the partition is taken to be written now, and above what an earlier recheck has left
UPDATE sync.intent SET lease_owner = %(owner)s, lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE id = ANY (ARRAY(
    SELECT i.id FROM sync.intent AS i
    WHERE i.table_name = %(table)s AND i.kind = 'recheck_partition'
      AND (i.lease_until IS NULL OR i.lease_until < statement_timestamp()) AND {is_due}
    ORDER BY i.id LIMIT 64 FOR UPDATE SKIP LOCKED))
RETURNING id, key, source_key, token,
    CASE WHEN state = 'finished' THEN version ELSE greatest(version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 1 + (
        SELECT least(p.version, {most}) FROM sync.partition_tombstone AS p WHERE p.table_name = intent.table_name AND p.token = intent.token)) END,
    owner, state

-- renew: the worker still has them, as they were picked: no call has ended since (rule 47). All of them, or it changes nothing
UPDATE sync.intent AS i SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM unnest(%(intents)s::bigint[], %(states)s::text[]) AS picked (id, state)
WHERE i.id = picked.id AND i.state = picked.state AND i.lease_owner = %(worker)s

-- bury: the tombstone of the partition, with what its events tell: stamps and puts see it from now on, and so no write that was
-- hidden in the source can come into the target behind the steps that follow (rule 46)
INSERT INTO sync.partition_tombstone AS p (table_name, token, version) VALUES (%(table)s, %(token)s, greatest(%(version)s, 1))
ON CONFLICT (table_name, token) DO UPDATE SET version = greatest(p.version, excluded.version)

-- leave: finished rechecks of these keys of the source
INSERT INTO sync.intent AS i (table_name, key, source_key, token, kind, state, version, epoch, owner)
SELECT %(table)s, k.key, k.source_key, %(token)s, 'recheck', 'finished', %(version)s,
       (SELECT max(epoch) FROM sync.epoch), %(owner)s
FROM unnest(%(keys)s::bytea[], %(source_keys)s::bytea[]) AS k (key, source_key)
ORDER BY sha256(k.key)
ON CONFLICT (table_name, sha256(key), version) WHERE kind = 'recheck' AND state = 'finished'
DO UPDATE SET id = DEFAULT, epoch = excluded.epoch, owner = CASE WHEN i.owner LIKE 'follow %%' THEN excluded.owner ELSE i.owner END, source_key = excluded.source_key

-- leave_target: the same of the target's next rows, and the last one's place
WITH page AS (
    SELECT {key} AS key, {places} FROM {target} AS t WHERE {covered} AND {after} ORDER BY {order} LIMIT %(most)s
), left_there AS (
    INSERT INTO sync.intent AS i (table_name, key, token, kind, state, version, epoch, owner)
    SELECT %(table)s, p.key, %(token)s, 'recheck', 'finished', %(version)s, (SELECT max(epoch) FROM sync.epoch), %(owner)s
    FROM page AS p ORDER BY sha256(p.key)
    ON CONFLICT (table_name, sha256(key), version) WHERE kind = 'recheck' AND state = 'finished'
    DO UPDATE SET id = DEFAULT, epoch = excluded.epoch, owner = CASE WHEN i.owner LIKE 'follow %%' THEN excluded.owner ELSE i.owner END
)
SELECT {texts} FROM page ORDER BY {reverse_order} LIMIT 1

-- remove: they are expanded; only as they were picked
WITH removed AS (
    DELETE FROM sync.intent AS i USING unnest(%(intents)s::bigint[], %(states)s::text[]) AS picked (id, state)
    WHERE i.id = picked.id AND i.state = picked.state AND i.lease_owner = %(worker)s
    RETURNING i.table_name, i.state, i.mutation
), {late}
SELECT count(*) FROM removed

-- failed: they are tried again, later each time
UPDATE sync.intent SET attempts = attempts + 1, error = %(error)s,
    lease_until = clock_timestamp() + make_interval(secs => least(300, 2 ^ least(attempts, 8)))
WHERE id = ANY (%(intents)s) AND lease_owner = %(worker)s
