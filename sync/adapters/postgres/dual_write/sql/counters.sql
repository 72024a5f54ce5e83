-- waiting: keys whose counters an earlier attempt may still change: it was not acknowledged, and is not old enough
SELECT k.key FROM unnest(%(keys)s::bytea[]) AS k (key) WHERE EXISTS (
    SELECT FROM sync.intent AS i
    WHERE i.table_name = %(table)s AND sha256(i.key) = sha256(k.key) AND i.key = k.key AND i.state = 'claimed'
      AND i.replayed_at > clock_timestamp() - make_interval(secs => %(window)s))

-- claim: one attempt for these intents begins; each gets the attempt's number
UPDATE sync.intent SET state = 'claimed', replays = replays + 1, replayed_at = clock_timestamp() WHERE id = ANY (%(intents)s)
RETURNING id, replays

-- equal: remove the intents of a claim, as both sides are equal. An earlier attempt that was not acknowledged may arrive even
-- now, which invalidates the proof
WITH removed AS (
    DELETE FROM sync.intent AS i USING unnest(%(ids)s::bigint[], %(replays)s::int[]) AS mine (id, replays)
    WHERE i.id = mine.id AND i.replays = mine.replays AND i.state = 'claimed'
    RETURNING i.id
), late AS (
    INSERT INTO sync.disturbance (table_name, why)
    SELECT %(table)s, 'an increment that was not acknowledged was settled' WHERE %(unsure)s
)
SELECT count(*) FROM removed

-- unsure: the attempt was not acknowledged: its time begins now
UPDATE sync.intent AS i SET replayed_at = clock_timestamp() FROM unnest(%(ids)s::bigint[], %(replays)s::int[]) AS mine (id, replays)
WHERE i.id = mine.id AND i.replays = mine.replays AND i.state = 'claimed'

-- release: give up a claim; one recheck takes the place of its intents, claimed if an increment of it may still arrive. It is
-- left also if the claim was taken over: then whoever took it over may have read too early
WITH removed AS (
    DELETE FROM sync.intent AS i USING unnest(%(ids)s::bigint[], %(replays)s::int[]) AS mine (id, replays)
    WHERE i.id = mine.id AND i.replays = mine.replays AND i.state = 'claimed'
    RETURNING i.attempts
)
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, attempts, replayed_at)
SELECT %(table)s, %(key)s, %(source_key)s, %(token)s, 'recheck', %(state)s, %(version)s, e.epoch, 'counters',
       coalesce((SELECT max(attempts) FROM removed), 0), clock_timestamp()
FROM (SELECT epoch FROM sync.epoch ORDER BY epoch DESC LIMIT 1) AS e
ON CONFLICT DO NOTHING
