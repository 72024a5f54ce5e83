-- lock_keys: the locks of many keys, in the order of their numbers (rule 5)
SELECT pg_advisory_xact_lock(number), set_config('sync.own', 'on', true) FROM unnest(%(locks)s::bigint[]) AS number

-- lock_partitions: before them, the shared locks of the partitions that they are in (rule 33)
SELECT pg_advisory_xact_lock_shared(number) FROM unnest(%(locks)s::bigint[]) AS number

-- share_ranges: whoever may write a tombstone share-locks the backfill's range rows (rule 9)
SELECT FROM sync.run CROSS JOIN unnest(%(tokens)s::bigint[]) AS token CROSS JOIN LATERAL (
    SELECT r.id FROM sync.range AS r
    WHERE r.run_id = run.id AND r.range_start < greatest(token, -9223372036854775807)
    ORDER BY r.range_start DESC LIMIT 1 FOR SHARE) AS held
WHERE run.table_name = %(table)s AND run.kind = 'backfill' AND run.state = 'open'

-- pick: intents that may be worked on: finished, unsure, claimed by an earlier reconcile; if asked for, also open ones whose
-- writer is gone, or that are older than a lease though their writer lives (it may not know of them); unrepeatable ones
-- later (rule 17). A recheck requested by a copy, a comparison or a search for write times, or announced, is not a write but a look.
-- Whatever is left of a closed epoch is reconciled in the current direction, and is not sent again (rule 22)
SELECT i.key, i.id, CASE WHEN i.epoch = %(epoch)s THEN i.state ELSE 'finished' END, i.version,
       CASE WHEN i.kind <> 'recheck' THEN i.kind
            WHEN i.owner IN ('drift report', 'write times', 'SQL', 'announce') OR i.owner LIKE 'backfill run %%' THEN 'look'
            WHEN i.owner LIKE 'follow %%' THEN 'told'
            ELSE i.kind END,
       CASE WHEN %(mutations)s OR i.epoch = %(epoch)s AND i.state <> 'finished' THEN i.mutation END, i.replays, coalesce(extract(epoch FROM clock_timestamp() - i.replayed_at), 0)::float8
FROM unnest(%(keys)s::bytea[], %(tokens)s::bigint[]) AS k (key, token) CROSS JOIN LATERAL (
  SELECT * FROM sync.intent AS i
  WHERE i.table_name = %(table)s AND sha256(i.key) = sha256(k.key) AND i.key = k.key
  AND i.token IN (k.token, -9223372036854775808)  -- no other key's of the same value; an unknown one's is this one
  AND (i.not_before IS NULL OR i.not_before <= clock_timestamp())  -- rule 40
  AND (i.epoch < %(epoch)s OR i.epoch = %(epoch)s
  AND (i.state <> 'open' OR %(open_too)s AND (NOT EXISTS (
      SELECT FROM sync.writer AS w WHERE w.id = i.owner AND w.state = 'active'
        AND w.heartbeat_at > clock_timestamp() - make_interval(secs => %(writer_lease)s))
      OR i.mutation IS NOT NULL AND i.created_at < clock_timestamp() - make_interval(secs => %(writer_lease)s)))
  AND (i.state = 'finished' OR i.mutation IS NOT NULL OR clock_timestamp() - make_interval(secs => %(window)s) > greatest(
      coalesce(i.ended_at, i.created_at),
      (SELECT w.heartbeat_at FROM sync.writer AS w WHERE w.id = i.owner AND i.state = 'open'))))
  FOR UPDATE) AS i
ORDER BY i.key, i.version

-- claim: these may be sent again from now on, so their writers can no longer withdraw them (rule 15a)
UPDATE sync.intent SET state = 'claimed', replays = replays + 1, replayed_at = clock_timestamp() WHERE id = ANY (%(intents)s) AND state <> 'finished'
