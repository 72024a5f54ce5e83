-- note: record rows of the source that were written ahead of the clock; one that was written again since is rechecked again
INSERT INTO sync.ahead AS a (table_name, key, source_key, token, version, shown)
SELECT %(table)s, k.key, k.source_key, k.token, k.version, k.shown
FROM unnest(%(keys)s::bytea[], %(source_keys)s::bytea[], %(tokens)s::bigint[], %(versions)s::bigint[], %(shown)s::json[])
     AS k (key, source_key, token, version, shown)
ON CONFLICT (table_name, sha256(key)) DO UPDATE
SET source_key = excluded.source_key, version = greatest(a.version, excluded.version),
    rechecked = a.rechecked AND a.version >= excluded.version

-- recheck: leave one recheck intent for each, which gives its row the source's version; the epoch's lock is held (rule 20)
WITH e AS (
    SELECT epoch, floor FROM sync.epoch
    WHERE "primary" = 'astra' AND state = 'open' AND epoch = (SELECT max(epoch) FROM sync.epoch)
), due AS (
    UPDATE sync.ahead SET rechecked = true
    WHERE table_name = ANY (%(tables)s) AND NOT rechecked AND EXISTS (SELECT FROM e) RETURNING table_name, key, source_key, token
)
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner)
SELECT due.table_name, due.key, due.source_key, due.token, 'recheck', 'finished', e.floor, e.epoch, 'write times' FROM due, e
ON CONFLICT DO NOTHING

-- facts: by table: rows whose newest cell is still ahead; those not reconciled yet; those that no write can exceed; some keys
SELECT a.table_name, count(*), count(*) FILTER (WHERE NOT a.rechecked OR i.waits), count(*) FILTER (WHERE a.version > %(most)s),
       (array_agg(a.shown ORDER BY a.version DESC))[1:3]
FROM sync.ahead AS a
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM sync.intent AS i WHERE i.table_name = a.table_name AND sha256(i.key) = sha256(a.key) AND i.key = a.key) AS waits
) AS i
WHERE a.table_name = ANY (%(tables)s) AND a.version > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
GROUP BY a.table_name ORDER BY a.table_name

-- unseen: tables whose newest backfill did not look for such rows
SELECT t.name FROM unnest(%(tables)s::text[]) AS t (name)
WHERE (SELECT write_times FROM sync.run WHERE table_name = t.name AND kind = 'backfill' ORDER BY id DESC LIMIT 1) IS NOT TRUE
ORDER BY 1
