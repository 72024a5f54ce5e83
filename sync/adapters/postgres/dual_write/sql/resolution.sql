-- find: intents by number; busy: its writer has not said what became of it, nor has anybody said that the writer is gone; waits: for
-- so long may its last attempt still arrive (rule 17); leased: a worker may be sending it; others: intents of the same key
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

-- reserve: no worker takes them up meanwhile
UPDATE sync.intent SET lease_owner = %(owner)s, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = ANY (%(intents)s::bigint[])

-- cancel_replay: its write is not sent again, and its key is looked at like one whose write was acknowledged; unless somebody sent it
-- meanwhile, whose attempt may arrive behind that look
UPDATE sync.intent SET state = 'finished', error = %(error)s, lease_owner = NULL, lease_until = NULL
WHERE id = %(intent)s AND replays = %(replays)s

-- drop: it goes as it is
DELETE FROM sync.intent WHERE id = %(intent)s

-- disturb: passes that were begun before prove nothing
INSERT INTO sync.disturbance (table_name, why) VALUES (%(table)s, 'an intent was resolved by hand')
