-- is_copied: whether a backfill of the table was ever completed
SELECT EXISTS (SELECT FROM sync.run WHERE table_name = %(table)s AND kind = 'backfill' AND state = 'done')

-- is_unrecorded: whether a writer may have made writes of which there is no intent yet (rule 31): it says so, or it may accept
-- writes without one, and is late. One that stays away for longer than its lease is no reason to wait
SELECT EXISTS (SELECT FROM sync.writer WHERE state = 'active' AND (unrecorded > 0 OR accepts
    AND heartbeat_at < clock_timestamp() - make_interval(secs => %(late)s)
    AND heartbeat_at > clock_timestamp() - make_interval(secs => %(lease)s)))

-- fold: the counts of writers that are gone, added up under no name, so that there is a row for each writer there is
WITH gone AS (
    DELETE FROM sync.shadow_reads AS s
    WHERE writer NOT IN ('', %(writer)s) AND NOT EXISTS (SELECT FROM sync.writer AS w WHERE w.id = s.writer)
    RETURNING epoch, compared, skipped, differing)
INSERT INTO sync.shadow_reads (writer, epoch, compared, skipped, differing)
SELECT '', epoch, sum(compared), sum(skipped), sum(differing) FROM gone GROUP BY epoch
ON CONFLICT (writer, epoch) DO UPDATE
SET compared = shadow_reads.compared + excluded.compared, skipped = shadow_reads.skipped + excluded.skipped,
    differing = shadow_reads.differing + excluded.differing, counted_at = clock_timestamp()

-- count: add what a writer has counted since the last time
INSERT INTO sync.shadow_reads (writer, epoch, compared, skipped, differing)
VALUES (%(writer)s, %(epoch)s, %(compared)s, %(skipped)s, %(differing)s)
ON CONFLICT (writer, epoch) DO UPDATE
SET compared = shadow_reads.compared + excluded.compared, skipped = shadow_reads.skipped + excluded.skipped,
    differing = shadow_reads.differing + excluded.differing, counted_at = clock_timestamp()

-- keep: a key that differs, once; the newest have the highest ids
INSERT INTO sync.shadow_difference (table_name, key, source_key, token, kind, shown, columns, epoch, writer)
VALUES (%(table)s, %(key)s, %(source_key)s, %(token)s, %(kind)s, %(shown)s, %(columns)s, %(epoch)s, %(writer)s)
ON CONFLICT (table_name, sha256(key), sha256(source_key)) DO UPDATE
SET id = DEFAULT, kind = excluded.kind, columns = excluded.columns, epoch = excluded.epoch, writer = excluded.writer,
    found_at = clock_timestamp()

-- prune: only the newest keys are kept
DELETE FROM sync.shadow_difference
WHERE id <= (SELECT id FROM sync.shadow_difference ORDER BY id DESC OFFSET %(most)s LIMIT 1)

-- totals: what was counted in this epoch, and how many of the keys that are kept were found since the last pass that repaired
SELECT coalesce(sum(compared), 0)::bigint, coalesce(sum(skipped), 0)::bigint, coalesce(sum(differing), 0)::bigint,
       (SELECT count(*) FROM sync.shadow_difference WHERE found_at > coalesce((
           SELECT max(p.started_at) FROM sync.drift_pass AS p
           WHERE EXISTS (SELECT FROM sync.run WHERE id = ANY (p.runs) AND repair)), '-infinity'))
FROM sync.shadow_reads WHERE epoch = (SELECT max(epoch) FROM sync.epoch)

-- keys: the keys that are kept, the newest first
SELECT table_name, shown, kind, columns, epoch, writer, found_at FROM sync.shadow_difference ORDER BY id DESC
