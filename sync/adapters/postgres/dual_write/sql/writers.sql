-- register: with a free slot, the one that was used least recently; a writer that lost its slot gets another one. A fenced
-- writer's slot is free: what it still stamps with it is refused (`open`). A writer of an older version is not refused, so
-- its slot is not free
INSERT INTO sync.writer AS mine
       (id, slot, host, pid, epoch, state, acknowledged, data_center, settings, lease_seconds, accepts, witness, protocol)
SELECT %(id)s, free.slot, %(host)s, %(pid)s, (SELECT max(epoch) FROM sync.epoch), 'active',
       (SELECT id FROM sync.switch WHERE finished_at IS NULL), %(data_center)s, %(settings)s, %(lease)s, %(accepts)s, %(witness)s, 2
FROM (SELECT s AS slot FROM generate_series(0, %(slots)s - 1, %(step)s) AS s
      WHERE NOT EXISTS (SELECT FROM sync.writer AS w WHERE w.slot = s AND w.state <> 'signed_off'
                        AND (w.state = 'active' OR w.lease_seconds IS NULL))
      ORDER BY (SELECT w.heartbeat_at FROM sync.writer AS w WHERE w.slot = s ORDER BY w.registered_at DESC LIMIT 1) NULLS FIRST, s
      LIMIT 1) AS free
ON CONFLICT (id) DO UPDATE SET slot = excluded.slot, heartbeat_at = clock_timestamp() WHERE mine.state = 'active'
RETURNING slot, acknowledged

-- older: active writers of a version that knows no deletes of partitions
SELECT count(*) FROM sync.writer WHERE state = 'active' AND protocol < 1

-- free_slot: take the slot of the writer that has been silent the longest, beyond its lease; the writer stays registered
UPDATE sync.writer SET slot = NULL WHERE id = (
    SELECT id FROM sync.writer
    WHERE state = 'active' AND slot IS NOT NULL AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds)
    ORDER BY heartbeat_at LIMIT 1)
RETURNING id

-- dead: writers to examine: silent beyond their lease and unable to write without an intent, or with a file on this host
SELECT id, witness FROM sync.writer
WHERE state = 'active' AND unrecorded = 0 AND (witness = ANY (%(witnesses)s::text[])
      OR NOT accepts AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds))

-- sign_off_dead: sign off those still silent and unable to write without an intent, or with a file that proves them clean
UPDATE sync.writer SET state = 'signed_off'
WHERE id = ANY (%(ids)s::text[]) AND state = 'active' AND unrecorded = 0 AND (witness = ANY (%(witnesses)s::text[])
      OR NOT accepts AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds))
RETURNING id

-- gone: signed-off writers that registered over a day ago, counted up to the number that is worth looking for their intents
SELECT count(*) FROM (
    SELECT FROM sync.writer WHERE state = 'signed_off' AND registered_at < clock_timestamp() - interval '1 day'
      AND recorded_at IS NULL AND fenced_at IS NULL
    ORDER BY registered_at LIMIT %(many)s) AS found

-- forget: delete those silent for a day; not those with intents, those that a proof must remember, or the newest of a slot
DELETE FROM sync.writer AS w
WHERE w.state = 'signed_off' AND w.registered_at < clock_timestamp() - interval '1 day'
  AND w.heartbeat_at < clock_timestamp() - interval '1 day' AND w.recorded_at IS NULL AND w.fenced_at IS NULL
  AND (w.slot IS NULL
       OR EXISTS (SELECT FROM sync.writer AS later WHERE later.slot = w.slot AND later.registered_at > w.registered_at))
  AND NOT EXISTS (SELECT FROM sync.intent AS i WHERE i.owner = w.id)

-- heartbeat: this writer is alive; what it has promised, and how much it has not recorded
UPDATE sync.writer SET heartbeat_at = clock_timestamp(), unrecorded = %(unrecorded)s, failures = %(failures)s,
    epoch = (SELECT max(epoch) FROM sync.epoch), acknowledged = %(acknowledged)s, waits = %(waits)s, witness = %(witness)s,
    clock_skew_us = %(clock)s - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE id = %(id)s
RETURNING CASE WHEN state = 'active' AND slot IS NULL THEN 'silent' ELSE state END,
    (SELECT id FROM sync.switch WHERE finished_at IS NULL)

-- sign_off: the writer has stopped writing, and has nothing unrecorded (rule 29)
UPDATE sync.writer SET state = 'signed_off' WHERE id = %(id)s AND state = 'active' AND %(unrecorded)s = 0

-- list: the writers that have not signed off
SELECT id, host, pid, slot, epoch, state, accepts, unrecorded, clock_skew_us, failures, to_jsonb(writer) ->> 'data_center' AS data_center,
       to_jsonb(writer) -> 'settings' AS settings,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS heartbeat_age_seconds
FROM sync.writer WHERE state <> 'signed_off' ORDER BY id

-- fence: declare a silent writer unclean; or one that has signed off, if it left intents and their data centre is lost
UPDATE sync.writer AS w SET state = 'unclean', fenced_at = clock_timestamp()
WHERE id = %(id)s AND (state = 'active' OR state = 'signed_off' AND EXISTS (SELECT FROM sync.intent WHERE owner = w.id)) RETURNING id

-- risen: raise the floor above what the writer may have stamped by its own clock (rule 3)
UPDATE sync.epoch SET floor = greatest(floor + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                                                  + greatest(0, (SELECT clock_skew_us FROM sync.writer WHERE id = %(id)s)))
WHERE epoch = (SELECT max(epoch) FROM sync.epoch)
