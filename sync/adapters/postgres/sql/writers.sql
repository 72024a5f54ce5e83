-- register: with a slot that is free, the one that was given back longest ago: who had it may not know yet
INSERT INTO sync.writer (id, slot, host, pid, epoch, state, acknowledged, data_center, settings)
SELECT %(id)s, free.slot, %(host)s, %(pid)s, (SELECT max(epoch) FROM sync.epoch), 'active',
       (SELECT id FROM sync.switch WHERE finished_at IS NULL), %(data_center)s,
       %(settings)s
FROM (SELECT s AS slot FROM generate_series(0, %(slots)s - 1, %(step)s) AS s
      WHERE s NOT IN (SELECT slot FROM sync.writer WHERE state <> 'signed_off')
      ORDER BY (SELECT max(heartbeat_at) FROM sync.writer AS w WHERE w.slot = s) NULLS FIRST, s LIMIT 1) AS free
RETURNING slot, acknowledged

-- heartbeat: this writer lives; what it has promised, and what it has not recorded
UPDATE sync.writer SET heartbeat_at = clock_timestamp(), unrecorded = %(unrecorded)s, failures = %(failures)s,
    epoch = (SELECT max(epoch) FROM sync.epoch), acknowledged = %(acknowledged)s, waits = %(waits)s,
    clock_skew_us = %(clock)s - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE id = %(id)s
RETURNING state, (SELECT id FROM sync.switch WHERE finished_at IS NULL)

-- sign_off: it writes no more, and has nothing unrecorded (rule 29)
UPDATE sync.writer SET state = 'signed_off' WHERE id = %(id)s AND state = 'active' AND %(unrecorded)s = 0

-- list: the writers that have not signed off
SELECT id, host, pid, slot, epoch, state, unrecorded, clock_skew_us, failures, to_jsonb(writer) ->> 'data_center' AS data_center,
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
