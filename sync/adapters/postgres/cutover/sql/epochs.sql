-- current: the epoch, and for how many seconds more it may be closing
SELECT epoch, "primary", state, floor, since, extract(epoch FROM closing_until - clock_timestamp())::float8
FROM sync.epoch ORDER BY epoch DESC LIMIT 1

-- in_progress: the switch that has not ended
SELECT kind, who FROM sync.switch WHERE finished_at IS NULL

-- begin: announce a switch; the unique index admits one at a time
INSERT INTO sync.switch (kind, from_epoch, who, lease_until)
SELECT %(kind)s, epoch, %(who)s, clock_timestamp() + make_interval(secs => %(lease)s)
FROM sync.epoch WHERE "primary" = %(primary)s AND state = 'open' AND epoch = (SELECT max(epoch) FROM sync.epoch)
  AND epoch = coalesce(%(judged)s, epoch)
ON CONFLICT DO NOTHING RETURNING id

-- renew: the command is alive
UPDATE sync.switch SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE id = %(switch)s AND finished_at IS NULL RETURNING id

-- not_ready: writers whose acknowledgement is missing (rule 30), or that lack a class for the next primary, and why
WITH going AS (
    SELECT CASE kind WHEN 'cutover' THEN 'astra' ELSE 'postgres' END AS "primary" FROM sync.switch WHERE id = %(switch)s
)
SELECT id, CASE WHEN state = 'unclean' THEN 'unclean'
                WHEN to_jsonb(writer) -> 'settings' ->> 'wraps' = (SELECT "primary" FROM going)
                THEN 'wraps a class for Astra, and none for Postgres (`new` is None)'
                WHEN acknowledged IS DISTINCT FROM %(switch)s THEN 'has not acknowledged'
                ELSE unrecorded || ' writes are not recorded yet' END,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8
FROM sync.writer
WHERE state = 'unclean' OR state = 'active' AND (acknowledged IS DISTINCT FROM %(switch)s OR unrecorded > 0
      OR to_jsonb(writer) -> 'settings' ->> 'wraps' = (SELECT "primary" FROM going))
  -- A silent writer that writes nothing without an intent does not block: if it comes back, its writes first check the epoch.
  AND NOT coalesce(NOT accepts AND heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds), false)
ORDER BY id

-- close: no new write begins; those that were being stamped have ended (rule 20)
UPDATE sync.epoch AS e SET state = 'closing', closing_until = clock_timestamp() + make_interval(secs => %(pause)s)
FROM sync.switch AS s
WHERE s.id = %(switch)s AND s.finished_at IS NULL AND e.epoch = s.from_epoch AND e.state = 'open' RETURNING e.epoch

-- closed: record when the switch closed the epoch
UPDATE sync.switch SET state = 'closing', closed_at = clock_timestamp() WHERE id = %(switch)s AND finished_at IS NULL

-- feeds_behind: feeds that have not told what was told at the source before the epoch closed; before it closes, what was written
-- before the switch began: a write may be under way for so long (rule 42)
SELECT f.name, CASE WHEN isfinite(f.told_until) THEN extract(epoch FROM m.moment - f.told_until)::float8 END
FROM sync.feed AS f, (
    SELECT coalesce(closed_at, started_at + make_interval(secs => %(write_timeout)s)) AS moment FROM sync.switch WHERE id = %(switch)s
) AS m
WHERE f.told_until < m.moment ORDER BY f.name

-- open_intents: how many intents are left, counted up to a limit
SELECT count(*) FROM (SELECT id FROM sync.intent UNION ALL SELECT id FROM sync.sql_change LIMIT 100000) AS counted

-- reopen: open the same epoch again after a switch that was too slow or crashed (rule 21)
UPDATE sync.epoch SET state = 'open', closing_until = NULL WHERE epoch = %(epoch)s AND state = 'closing' RETURNING epoch

-- reopen_late: the same, by a writer that waits, once the time limit of the closing has passed
UPDATE sync.epoch SET state = 'open', closing_until = NULL
WHERE epoch = %(epoch)s AND state = 'closing' AND closing_until < clock_timestamp() RETURNING epoch

-- abandon: the switch has ended without changing the primary
UPDATE sync.switch SET state = 'abandoned', finished_at = clock_timestamp(), reason = %(reason)s
WHERE id = %(switch)s AND finished_at IS NULL RETURNING from_epoch

-- abandon_expired: a switch whose command has died
UPDATE sync.switch SET state = 'abandoned', finished_at = clock_timestamp(), reason = 'its command did not end it'
WHERE finished_at IS NULL AND lease_until < clock_timestamp() RETURNING id, from_epoch, kind, who

-- hold: the epoch and the switch, locked before the primary changes (rules 20 and 21)
SELECT e.epoch FROM sync.epoch AS e JOIN sync.switch AS s ON s.from_epoch = e.epoch
WHERE s.id = %(switch)s AND s.finished_at IS NULL AND e.state = 'closing' AND e.epoch = (SELECT max(epoch) FROM sync.epoch)
FOR UPDATE

-- unfinished: intents, with what SQL has changed (rule 50), and open backfills, of which none may be left when the primary changes
SELECT (SELECT count(*) FROM sync.intent) + (SELECT count(*) FROM sync.sql_change), (SELECT count(*) FROM sync.run WHERE kind = 'backfill' AND state = 'open')

-- end_epoch: end the old epoch
UPDATE sync.epoch SET state = 'closed', closing_until = NULL WHERE epoch = %(epoch)s

-- new_epoch: begin the next one; its floor exceeds what a writer may have stamped by its own clock (rule 3)
INSERT INTO sync.epoch (epoch, "primary", floor)
SELECT epoch + 1, CASE "primary" WHEN 'astra' THEN 'postgres' ELSE 'astra' END,
       greatest(floor + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                           + greatest(0, (SELECT max(clock_skew_us) FROM sync.writer WHERE state = 'active')))
FROM sync.epoch WHERE epoch = %(epoch)s RETURNING epoch, "primary", floor, since

-- finish: the switch is done: its kind, and for how long the epoch was closed
UPDATE sync.switch SET state = 'done', finished_at = clock_timestamp() WHERE id = %(switch)s
RETURNING kind, extract(epoch FROM clock_timestamp() - closed_at)::float8

-- waits: how long writes waited for a switch, in milliseconds, by writer
SELECT id, waits -> 'ms' FROM sync.writer WHERE (waits ->> 'switch')::bigint = %(switch)s

-- unclean: whether there is an unclean writer; if not, the epoch is not locked, so no writer waits
SELECT EXISTS (SELECT FROM sync.writer WHERE state = 'unclean')

-- clear: sign off writers that were fenced long enough before a full pass with repair began; the floor rises (rules 3 and 31)
WITH cleared AS (
    UPDATE sync.writer SET state = 'signed_off'
    WHERE state = 'unclean' AND coalesce(fenced_at, heartbeat_at) + make_interval(secs => %(window)s) < %(begun)s RETURNING id
), risen AS (
    UPDATE sync.epoch SET floor = greatest(floor + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + %(skew)s)
    WHERE epoch = (SELECT max(epoch) FROM sync.epoch) AND EXISTS (SELECT FROM cleared)
)
SELECT id FROM cleared

-- audit: who did what, with which figures
INSERT INTO sync.audit (who, what, detail) VALUES (%(who)s, %(what)s, %(detail)s)

-- audits: the audit, the oldest first
SELECT at, who, what, detail FROM sync.audit ORDER BY id
