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
), numbered AS MATERIALIZED (
    SELECT k.table_name, k.key, coalesce(k.token, %(unknown)s) AS token, k.epoch, k.changed_at,
           least(greatest(max(k.version) OVER same, moment), %(latest)s) + row_number() OVER same - 1 AS version
    FROM told AS k, clock WINDOW same AS (PARTITION BY k.table_name, k.key)
), made AS (
    INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, created_at)
    SELECT table_name, key, token, 'recheck', 'finished', version, epoch, 'SQL', changed_at FROM numbered
    ON CONFLICT DO NOTHING
    RETURNING table_name, key, version
), above AS ( -- where a recheck has that very version: a call's, of a clock that is ahead
    INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, created_at)
    SELECT n.table_name, n.key, n.token, 'recheck', 'finished', least(greatest(max(n.version) OVER same, (
               SELECT max(i.version) FROM sync.intent AS i
               WHERE i.table_name = n.table_name AND sha256(i.key) = sha256(n.key) AND i.key = n.key
           )), %(latest)s - 1) + row_number() OVER same, n.epoch, 'SQL', n.changed_at
    FROM numbered AS n
    WHERE NOT EXISTS (SELECT FROM made AS m WHERE m.table_name = n.table_name AND m.key = n.key AND m.version = n.version)
    WINDOW same AS (PARTITION BY n.table_name, n.key)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM moved
