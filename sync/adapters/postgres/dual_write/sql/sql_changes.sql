-- expand: make a recheck of each key that SQL has changed, the oldest first, of all tables. Moved by one statement, they are always in
-- one of both tables. A key with several tokens, of which only one is its own, has an intent for each. Two changes that are moved
-- at once are one recheck: both were committed before anybody picks it. Each time it is a new one, with a version of its own above the
-- clock and above that of a row that is gone: what the key has already may have been picked, and its row sent
WITH moved AS (
    DELETE FROM sync.sql_change WHERE id = ANY (ARRAY(
        SELECT id FROM sync.sql_change ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED))
    RETURNING table_name, key, token, version, epoch, changed_at
), clock AS (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS moment
), told AS (
    SELECT table_name, key, token, max(version) AS version, max(epoch) AS epoch, min(changed_at) AS changed_at
    FROM moved GROUP BY table_name, key, token
), made AS (
    INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, created_at)
    SELECT k.table_name, k.key, coalesce(k.token, %(unknown)s), 'recheck', 'finished',
           least(greatest(max(k.version) OVER same, moment), %(latest)s) + row_number() OVER same - 1, k.epoch, 'SQL', k.changed_at
    FROM told AS k, clock WINDOW same AS (PARTITION BY k.table_name, k.key)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM moved
