-- take: the feed under this name, for this process alone; no row where another one has it
INSERT INTO sync.feed AS f (name, told_until, lease_owner, lease_until)
VALUES (%(name)s, '-infinity', %(owner)s, clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (name) DO UPDATE SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until,
    told_until = CASE WHEN f.told_until = 'infinity' THEN clock_timestamp() ELSE f.told_until END, error = NULL
WHERE f.lease_owner IS NULL OR f.lease_owner = excluded.lease_owner OR f.lease_until < clock_timestamp()
RETURNING f.position

-- owner: who has the feed, and how long its lease is to last, in seconds
SELECT coalesce(lease_owner, 'nobody'), extract(epoch FROM lease_until - clock_timestamp())::float8 FROM sync.feed WHERE name = %(name)s

-- release: another process may go on at once
UPDATE sync.feed SET lease_owner = NULL, error = %(error)s WHERE name = %(name)s AND lease_owner = %(owner)s

-- advance: the feed is recorded up to this place; no row where another process has it. The epoch's lock was taken by an earlier
-- statement. What comes while Postgres is primary is a stray
WITH e AS (
    SELECT "primary" = 'postgres' AS reverse FROM sync.epoch ORDER BY epoch DESC LIMIT 1
)
UPDATE sync.feed SET position = %(position)s, recorded_at = clock_timestamp(), error = NULL,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    told_until = CASE WHEN %(behind)s::float8 IS NULL THEN 'infinity'
                      ELSE greatest(told_until, clock_timestamp() - make_interval(secs => %(behind)s::float8)) END,
    keys = keys + %(keys)s, partitions = partitions + %(partitions)s, unmapped = unmapped + %(unmapped)s,
    rejects = rejects + %(rejects)s, strays = strays + CASE WHEN e.reverse THEN %(keys)s + %(partitions)s ELSE 0 END
FROM e WHERE name = %(name)s AND lease_owner = %(owner)s
RETURNING e.reverse

-- announce: a finished recheck of each key. One that is there already gets a new number: a reconcile that has picked it may have
-- read before, and removes what it has picked by its number (rule 32). What tells no time has this server's: a read does not
-- show a delete's (rule 39). In the order of the index, so that two feeds do not wait for each other
INSERT INTO sync.intent AS i
    (table_name, key, source_key, token, kind, state, version, epoch, owner, not_before, lease_until)
SELECT k.table_name, k.key, k.source_key, k.token, 'recheck', 'finished',
       coalesce(k.version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
       e.epoch, %(owner)s, w.until, w.until
{told}
ORDER BY k.table_name, sha256(k.key)
ON CONFLICT (table_name, sha256(key), version) WHERE kind = 'recheck' AND state = 'finished'
DO UPDATE SET id = DEFAULT, epoch = excluded.epoch, owner = CASE WHEN i.owner LIKE 'follow %%' THEN excluded.owner ELSE i.owner END,
    source_key = excluded.source_key, attempts = 0,
    not_before = greatest(i.not_before, excluded.not_before), lease_until = greatest(i.not_before, excluded.not_before),
    lease_owner = NULL, error = NULL

-- told: what is told, with the present epoch, and the time before which it is not read
FROM unnest(%(tables)s::text[], %(keys)s::bytea[], %(source_keys)s::bytea[], %(tokens)s::bigint[], %(versions)s::bigint[],
            %(waits)s::float8[]) AS k (table_name, key, source_key, token, version, wait)
     CROSS JOIN (SELECT max(epoch) AS epoch FROM sync.epoch) AS e
     CROSS JOIN LATERAL (
         SELECT CASE WHEN k.wait > 0 THEN clock_timestamp() + make_interval(secs => k.wait) END AS until) AS w

-- announce_partitions: a recheck of each partition, which a worker expands (rule 46)
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, not_before, lease_until)
SELECT k.table_name, k.key, k.source_key, k.token, 'recheck_partition', 'finished',
       coalesce(k.version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
       e.epoch, %(owner)s, w.until, w.until
{told}

-- gap: events are lost. Passes prove something when what was in it is written or never will be, and every clock has passed it
-- (rule 41)
INSERT INTO sync.gap (feed, table_name, until, counts_from, why)
SELECT %(name)s, %(table)s, u.until, u.until + make_interval(secs => %(write_timeout)s + %(skew)s), %(why)s
FROM (SELECT clock_timestamp() - make_interval(secs => %(behind)s) AS until) AS u

-- feeds: all of them, for `sync status` and the gates
SELECT name, position, CASE WHEN isfinite(told_until) THEN extract(epoch FROM clock_timestamp() - told_until)::float8 END,
       told_until = 'infinity', extract(epoch FROM clock_timestamp() - recorded_at)::float8,
       keys, partitions, strays, unmapped, rejects, coalesce(error, ''),
       lease_owner IS NOT NULL AND lease_until > clock_timestamp(),
       (SELECT count(*) FROM sync.gap AS g WHERE g.feed = f.name)
FROM sync.feed AS f ORDER BY name

-- gaps: the newest, as `sync status` shows them
SELECT feed, table_name, until, why FROM sync.gap ORDER BY id DESC LIMIT 10

-- behind: feeds that have not told everything before a moment, and how many seconds of it are left
SELECT name, CASE WHEN isfinite(told_until) THEN extract(epoch FROM %(moment)s - told_until)::float8 END FROM sync.feed
WHERE told_until < %(moment)s ORDER BY name

-- forget: a feed that nobody follows any more; its gaps stay. Whether it had more to tell, which is a gap: not if it has ended, or
-- what others write is overwritten (rule 41)
DELETE FROM sync.feed WHERE name = %(name)s AND (lease_owner IS NULL OR lease_until < clock_timestamp())
RETURNING told_until < 'infinity' AND (SELECT "primary" FROM sync.epoch ORDER BY epoch DESC LIMIT 1) = 'astra'
