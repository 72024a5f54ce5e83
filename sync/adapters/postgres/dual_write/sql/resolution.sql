-- find: intents by number. Busy: its writer is active and has not said how the write ended; waits: for how many more seconds
-- its last attempt may still arrive (rule 17); leased: a worker may be sending it; others: further intents of the same key
SELECT i.id, i.table_name, i.key, i.kind, i.state, i.mutation, i.attempts, coalesce(i.error, ''),
       i.state <> 'finished' AND i.ended_at IS NULL AND i.epoch = (SELECT max(epoch) FROM sync.epoch)
           AND EXISTS (SELECT FROM sync.writer AS w WHERE w.id = i.owner AND w.state = 'active'),
       CASE WHEN i.state = 'finished' THEN 0 ELSE greatest(0, %(window)s - extract(epoch FROM clock_timestamp()
           - greatest(i.created_at, i.ended_at, i.replayed_at))) END::float8,
       i.source_key, i.token, i.owner, coalesce(i.lease_until > clock_timestamp(), false),
       ARRAY(SELECT o.id FROM sync.intent AS o WHERE o.table_name = i.table_name AND sha256(o.key) = sha256(i.key) AND o.key = i.key
             AND o.id <> ALL (%(intents)s::bigint[]) ORDER BY o.id),
       i.replays
FROM sync.intent AS i WHERE i.id = ANY (%(intents)s::bigint[]) ORDER BY i.id

-- reserve: keep workers away from them for a while
UPDATE sync.intent SET lease_owner = %(owner)s, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = ANY (%(intents)s::bigint[])

-- cancel_replay: its write is not sent again, and its key is reconciled as after an acknowledged write; not if a worker has
-- sent it meanwhile, because that attempt may arrive after the read
UPDATE sync.intent SET state = 'finished', error = %(error)s, lease_owner = NULL, lease_until = NULL
WHERE id = %(intent)s AND replays = %(replays)s

-- drop: remove the intent as it is
DELETE FROM sync.intent WHERE id = %(intent)s

-- disturb: passes begun before this prove nothing
INSERT INTO sync.disturbance (table_name, why) VALUES (%(table)s, 'an intent was resolved by hand')
