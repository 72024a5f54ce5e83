-- register: with a slot that is free, the one that was given back longest ago; a writer that lost its slot gets another one.
-- A fenced writer's slot is free: what it still stamps with it is refused (`open`). One of an older version knows no fence
INSERT INTO sync.writer AS mine
       (id, slot, host, pid, epoch, state, acknowledged, data_center, settings, lease_seconds, accepts, witness)
SELECT %(id)s, free.slot, %(host)s, %(pid)s, (SELECT max(epoch) FROM sync.epoch), 'active',
       (SELECT id FROM sync.switch WHERE finished_at IS NULL), %(data_center)s, %(settings)s, %(lease)s, %(accepts)s, %(witness)s
FROM (SELECT s AS slot FROM generate_series(0, %(slots)s - 1, %(step)s) AS s
      WHERE NOT EXISTS (SELECT FROM sync.writer AS w WHERE w.slot = s AND w.state <> 'signed_off'
                        AND (w.state = 'active' OR w.lease_seconds IS NULL))
      ORDER BY (SELECT w.heartbeat_at FROM sync.writer AS w WHERE w.slot = s ORDER BY w.registered_at DESC LIMIT 1) NULLS FIRST, s
      LIMIT 1) AS free
ON CONFLICT (id) DO UPDATE SET slot = excluded.slot, heartbeat_at = clock_timestamp() WHERE mine.state = 'active'
RETURNING slot, acknowledged

-- free_slot: the slot of the writer that was silent the longest, beyond its lease; whether it is clean, is another question
UPDATE sync.writer SET slot = NULL WHERE id = (
    SELECT id FROM sync.writer
    WHERE state = 'active' AND slot IS NOT NULL AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds)
    ORDER BY heartbeat_at LIMIT 1)
RETURNING id

-- dead: writers that can be signed off: silent beyond their lease and unable to write without an intent, or whose file says so
SELECT id, witness FROM sync.writer
WHERE state = 'active' AND unrecorded = 0 AND (witness = ANY (%(witnesses)s::text[])
      OR NOT accepts AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds))

-- sign_off_dead: sign them off, if they are as they were
UPDATE sync.writer SET state = 'signed_off'
WHERE id = ANY (%(ids)s::text[]) AND state = 'active' AND unrecorded = 0 AND (witness = ANY (%(witnesses)s::text[])
      OR NOT accepts AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds))
RETURNING id

-- gone: writers that signed off more than a day ago, if there are enough of them to look through the intents for
SELECT count(*) FROM (
    SELECT FROM sync.writer WHERE state = 'signed_off' AND registered_at < clock_timestamp() - interval '1 day'
      AND recorded_at IS NULL AND fenced_at IS NULL
    ORDER BY registered_at LIMIT %(many)s) AS found

-- forget: them; not those with intents, those that a proof must remember, and the newest one of its slot
DELETE FROM sync.writer AS w
WHERE w.state = 'signed_off' AND w.registered_at < clock_timestamp() - interval '1 day'
  AND w.heartbeat_at < clock_timestamp() - interval '1 day' AND w.recorded_at IS NULL AND w.fenced_at IS NULL
  AND (w.slot IS NULL
       OR EXISTS (SELECT FROM sync.writer AS later WHERE later.slot = w.slot AND later.registered_at > w.registered_at))
  AND NOT EXISTS (SELECT FROM sync.intent AS i WHERE i.owner = w.id)

-- heartbeat: this writer lives; what it has promised, and what it has not recorded
UPDATE sync.writer SET heartbeat_at = clock_timestamp(), unrecorded = %(unrecorded)s, failures = %(failures)s,
    epoch = (SELECT max(epoch) FROM sync.epoch), acknowledged = %(acknowledged)s, waits = %(waits)s, witness = %(witness)s,
    clock_skew_us = %(clock)s - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE id = %(id)s
RETURNING CASE WHEN state = 'active' AND slot IS NULL THEN 'silent' ELSE state END,
    (SELECT id FROM sync.switch WHERE finished_at IS NULL)

-- sign_off: it writes no more, and has nothing unrecorded (rule 29)
UPDATE sync.writer SET state = 'signed_off' WHERE id = %(id)s AND state = 'active' AND %(unrecorded)s = 0

-- list: the writers that have not signed off
SELECT id, host, pid, slot, epoch, state, accepts, unrecorded, clock_skew_us, failures, to_jsonb(writer) ->> 'data_center' AS data_center,
       to_jsonb(writer) -> 'settings' AS settings,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS heartbeat_age_seconds
FROM sync.writer WHERE state <> 'signed_off' ORDER BY id

-- fence: a writer that is not heard of any more; or one that has signed off, whose open intents tell of a data centre that is lost
UPDATE sync.writer AS w SET state = 'unclean', fenced_at = clock_timestamp()
WHERE id = %(id)s AND (state = 'active' OR state = 'signed_off' AND EXISTS (SELECT FROM sync.intent WHERE owner = w.id)) RETURNING id

-- risen: the floor exceeds what the writer may have stamped by its own clock (rule 3)
UPDATE sync.epoch SET floor = greatest(floor + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                                                  + greatest(0, (SELECT clock_skew_us FROM sync.writer WHERE id = %(id)s)))
WHERE epoch = (SELECT max(epoch) FROM sync.epoch)
