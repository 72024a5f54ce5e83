-- put: write a whole row, with its version and the intent to send it, while Postgres is primary (rule 23)
WITH {stamped}, {allowed}, written AS (
    INSERT INTO {target} AS t ({columns}, {token}, {version_column})
    SELECT {values}, %(token)s, v.version FROM v
    ON CONFLICT ({primary_key}) DO UPDATE SET {set_excluded}
    RETURNING 1
), {mended}, {made}

-- insert: a row that is not there, or has expired; if it is, neither a row nor an intent is written
WITH {stamped}, {allowed}, written AS (
    INSERT INTO {target} AS t ({columns}, {token}, {version_column})
    SELECT {values}, %(token)s, v.version FROM v
    ON CONFLICT ({primary_key}) DO {if_expired}
    RETURNING 1
), {mended}, {made}

-- update: some columns of a row that is there; if there is none, neither a row nor an intent is written (rules 23 and 24)
WITH {stamped}, {allowed}, written AS (
    UPDATE {target} AS t SET {set_given}, {version_column} = v.version FROM v WHERE {same_key}
    RETURNING 1
), {made}

-- delete: the row goes, its tombstone stays (rule 23)
WITH {stamped}, {allowed}, gone AS (
    DELETE FROM {target} AS t USING v WHERE {same_key}
), written AS (
    INSERT INTO sync.tombstone AS t (table_name, key, token, version)
    SELECT %(table)s, %(key)s, %(token)s, v.version FROM v
    ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)
    RETURNING 1
), {mended}, {made}

-- increment: add to counters of a row, which begin at 0; no sum is beyond what Cassandra can count
WITH {stamped}, {allowed}, written AS (
    INSERT INTO {target} AS t ({given}, {token}, {version_column})
    SELECT {given_values}, %(token)s, v.version FROM v
    ON CONFLICT ({primary_key}) DO UPDATE SET {set_added}, {token} = excluded.{token}, {version_column} = excluded.{version_column}
    RETURNING 1
), {mended}, {made}

-- held: a row that is about to be changed, locked: a change of it by hand waits
SELECT {row} FROM {target} AS t WHERE {same_key} FOR UPDATE

-- unwritten: there is no row to change; this only tells whether writes go to Postgres now
WITH {stamped}, {allowed}, written AS (
    SELECT WHERE false
), {made}

-- announce: the intent of a key that an application's own class is about to write
WITH {stamped}, {allowed}, written AS (
    SELECT 1
), {made}

-- allowed: the version, if the write may be made in Postgres now
v AS (
    SELECT need + ((%(slot)s - need) %% 1000 + 1000) %% 1000 AS version, e.epoch FROM e, need, clock
    WHERE e.state = 'open' AND e."primary" = 'postgres' AND %(clock)s <= clock.now + %(skew)s AND need <= {most}
)

-- made: the intent, and what became of the write
made AS (
    INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation)
    SELECT %(table)s, %(key)s, %(source_key)s, %(token)s, %(kind)s, 'open', v.version, v.epoch, %(owner)s, %(mutation)s
    FROM v WHERE EXISTS (SELECT FROM written)
    RETURNING id, version
)
SELECT made.id, made.version, e.epoch, e."primary", e.state, need.need > {most}, %(clock)s - clock.now
FROM e CROSS JOIN need CROSS JOIN clock LEFT JOIN made ON true

-- committing: which of these intents are there
SELECT id FROM sync.intent WHERE id = ANY (%(intents)s::bigint[])

-- raise: a key's version rises above all that is known of it, so that the row when sent again hides older cells (rule 27). It waits
-- for a row that SQL holds: it is the only one (several keys: arrays.sql)
WITH {stamped}, v AS (
    SELECT greatest(need, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS version
    FROM e, need WHERE e.epoch = %(epoch)s
), raised AS (
    UPDATE {target} AS t SET {version_column} = v.version, {token} = %(token)s -- SQL knows none, or leaves that of another key
    FROM v WHERE {same_key}
    RETURNING 1
)
INSERT INTO sync.tombstone AS t (table_name, key, token, version)
SELECT %(table)s, %(key)s, %(token)s, v.version FROM v WHERE NOT EXISTS (SELECT FROM raised)
ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)

-- sent: the version with which a key was last written or deleted by itself
SELECT greatest((SELECT {version} FROM {target} AS t WHERE {same_key}), (SELECT version FROM sync.tombstone
    WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s))

-- look: the raised version of a key, and its row
SELECT coalesce((SELECT {version} FROM {target} AS t WHERE {same_key}), {tombstone}),
       (SELECT {row} FROM {target} AS t WHERE {same_key})

-- remove: exactly the intents that were picked (rule 26). Not waiting for one that is locked: whoever has it may hold others that
-- this one removes. Those are removed one by one
WITH removed AS (
    DELETE FROM sync.intent WHERE id = ANY (ARRAY(
        SELECT id FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]) FOR UPDATE SKIP LOCKED))
    RETURNING table_name, state, mutation
), {late}
SELECT count(*) FROM removed
