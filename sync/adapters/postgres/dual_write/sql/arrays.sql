-- known: what the target knows of each key (rule 15a)
SELECT (SELECT coalesce({version}, 0) FROM {target} AS t WHERE {same_key}), {tombstone} FROM {given} ORDER BY g.n

-- set_row: write rows as the primary has them, and remove the intents that were picked, of each key that is unchanged (rule 15d)
WITH {same}, written AS (
    INSERT INTO {target} AS t ({columns}, {token}, {version_column})
    SELECT {values}, g.token, g.version FROM same AS g
    ON CONFLICT ({primary_key}) DO UPDATE SET {set_excluded}
), {settled}

-- set_absent: the same for keys of which the primary has no row: delete it and leave a tombstone (rule 15d)
WITH {same}, gone AS (
    DELETE FROM {target} AS t USING same AS g WHERE {same_key}
), written AS (
    INSERT INTO sync.tombstone AS t (table_name, key, token, version)
    SELECT %(table)s, g.key, g.token, g.version FROM same AS g
    ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)
), {settled}

-- same: the keys of which the target knows the same as when their intents were picked, and of which one of them is left (rule
-- 15d). OFFSET 0 keeps the planner from joining: each key goes by an index
same AS MATERIALIZED (
    SELECT g.* FROM {given}
    WHERE (SELECT coalesce({version}, 0) FROM {target} AS t WHERE {same_key}) IS NOT DISTINCT FROM g.row_version
      AND {tombstone} IS NOT DISTINCT FROM g.tombstone
      AND EXISTS (SELECT FROM sync.intent WHERE id = ANY (g.intents::bigint[]) OFFSET 0)
)

-- settled: remove exactly the intents that were picked, and the rejects of the keys; the numbers of the keys that are done
mended AS (
    DELETE FROM sync.reject WHERE table_name = %(table)s
        AND sha256(source_key) = ANY (ARRAY(SELECT sha256(g.source_key) FROM same AS g))
        AND source_key = ANY (ARRAY(SELECT g.source_key FROM same AS g))
), removed AS (
    DELETE FROM sync.intent WHERE id = ANY (ARRAY(SELECT unnest(g.intents::bigint[]) FROM same AS g))
    RETURNING table_name, state, mutation
), {late}
SELECT g.n FROM same AS g

-- stamped: of each key, the least version that it may be raised to: above all that is known of it (rule 2)
known AS MATERIALIZED (
    SELECT g.n, (SELECT max(version) FROM (
        SELECT {version} AS version FROM {target} AS t WHERE {same_key}
        UNION ALL SELECT version FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(g.key) AND key = g.key
        UNION ALL SELECT version FROM sync.intent WHERE table_name = %(table)s AND sha256(key) = sha256(g.key) AND key = g.key
        UNION ALL SELECT version FROM sync.ahead WHERE table_name = %(table)s AND sha256(key) = sha256(g.key) AND key = g.key
        {covering}
    ) AS all_known) AS version FROM given AS g
)

-- raise: the keys' versions rise above all that is known of them (rule 27), each as the statement for one key does it: whether its
-- row was raised, and whether SQL holds it, and nothing is raised (rule 44): no row is waited for. Locks come first, then changes
WITH given AS MATERIALIZED (
    SELECT g.* FROM {given}
), e AS (
    SELECT floor FROM sync.epoch WHERE epoch = %(epoch)s AND epoch = (SELECT max(epoch) FROM sync.epoch)
), {stamped}, v AS MATERIALIZED (
    SELECT g.*, greatest(e.floor, 1 + least(coalesce(known.version, 0), {most}),
                         (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS version
    FROM e CROSS JOIN given AS g JOIN known ON known.n = g.n
), free AS MATERIALIZED (
    SELECT g.n FROM v AS g CROSS JOIN LATERAL (SELECT FROM {target} AS t WHERE {same_key} FOR NO KEY UPDATE SKIP LOCKED) AS held
), raised AS (
    UPDATE {target} AS t SET {version_column} = g.version, {token} = g.token -- SQL knows none, or leaves that of another key
    FROM v AS g WHERE {same_key} AND g.n = ANY (ARRAY(SELECT n FROM free))
    RETURNING g.n
), held AS MATERIALIZED (
    SELECT g.n FROM v AS g WHERE NOT g.n = ANY (ARRAY(SELECT n FROM free))
        AND EXISTS (SELECT FROM {target} AS t WHERE {same_key} OFFSET 0)
), gone AS (
    INSERT INTO sync.tombstone AS t (table_name, key, token, version)
    SELECT %(table)s, g.key, g.token, g.version FROM v AS g
    WHERE NOT g.n = ANY (ARRAY(SELECT n FROM raised)) AND NOT g.n = ANY (ARRAY(SELECT n FROM held))
    ON CONFLICT (table_name, sha256(key)) DO UPDATE SET version = greatest(t.version, excluded.version)
)
SELECT g.n = ANY (ARRAY(SELECT n FROM raised)), g.n = ANY (ARRAY(SELECT n FROM held)) FROM given AS g ORDER BY g.n

-- sent: the versions with which keys were last written or deleted by themselves
SELECT greatest((SELECT {version} FROM {target} AS t WHERE {same_key}), (SELECT version FROM sync.tombstone
    WHERE table_name = %(table)s AND sha256(key) = sha256(g.key) AND key = g.key)) FROM {given} ORDER BY g.n

-- look: the raised versions of keys, and their rows
SELECT coalesce(t.version, {tombstone}), t.data FROM {given}
LEFT JOIN LATERAL (SELECT {version} AS version, {row} AS data FROM {target} AS t WHERE {same_key}) AS t ON true ORDER BY g.n

-- record: writes made without an intent while Postgres was unreachable; once Postgres is primary, rechecks (rule 31)
WITH e AS (
    SELECT epoch, "primary" = 'astra' AS forward FROM sync.epoch ORDER BY epoch DESC LIMIT 1
)
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation)
SELECT %(table)s, g.key, g.source_key, g.token, CASE WHEN e.forward OR g.kind = 'recheck_partition' THEN g.kind ELSE 'recheck' END,
       CASE WHEN e.forward THEN g.state ELSE 'finished' END, g.version, e.epoch, %(owner)s, CASE WHEN e.forward THEN g.mutation END
FROM e CROSS JOIN {given}
ON CONFLICT (table_name, sha256(key), version) WHERE kind = 'recheck' AND state = 'finished' DO NOTHING

-- open: stamp writes of several keys and commit their intents in one statement (rule 2), each as the statement for one does it
WITH given AS MATERIALIZED (
    SELECT g.* FROM {given}
), e AS (
    SELECT epoch, "primary", floor, state FROM sync.epoch ORDER BY epoch DESC LIMIT 1
), {stamped}, clock AS (
    SELECT greatest(e.floor, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now FROM e
), me AS (
    SELECT {registered} AS registered
), v AS MATERIALIZED (
    SELECT g.*, greatest(%(clock)s, g.above, e.floor, 1 + least(coalesce(known.version, 0), {most})) AS need
    FROM e CROSS JOIN given AS g JOIN known ON known.n = g.n
), made AS (
    INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation)
    SELECT %(table)s, v.key, v.source_key, v.token, v.kind, 'open',
           v.need + ((%(slot)s - v.need) %% 1000 + 1000) %% 1000, e.epoch, %(owner)s, v.mutation
    FROM v, e, clock, me
    WHERE me.registered AND e.state = 'open' AND e."primary" = 'astra' AND %(clock)s <= clock.now + %(skew)s AND v.need <= {most}
    RETURNING id, version, key
)
SELECT made.id, made.version, e.epoch, e."primary", e.state, v.need > {most}, %(clock)s - clock.now, me.registered
FROM v CROSS JOIN e CROSS JOIN clock CROSS JOIN me LEFT JOIN made ON made.key = v.key ORDER BY v.n

-- put: guarded writes of whole rows, each with its intent (rules 6 and 12)
WITH given AS MATERIALIZED (
    SELECT g.* FROM {given}
), mine AS MATERIALIZED (
    SELECT g.* FROM given AS g CROSS JOIN LATERAL (SELECT FROM sync.intent WHERE id = g.intent FOR UPDATE) AS held
), written AS (
    INSERT INTO {target} AS t ({columns}, {token}, {version_column})
    SELECT {values}, g.token, g.version FROM mine AS g
    WHERE NOT EXISTS (
        SELECT FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(g.key) AND key = g.key AND version >= g.version
        OFFSET 0)
      {uncovered}
    ON CONFLICT ({primary_key}) DO UPDATE SET {set_excluded}
    WHERE coalesce({version}, 0) < excluded.{version_column}
    RETURNING {written_key}
), done AS MATERIALIZED (
    SELECT g.n, g.intent, g.source_key FROM mine AS g JOIN written AS t ON {same_key}
), mended AS (
    DELETE FROM sync.reject WHERE table_name = %(table)s
        AND sha256(source_key) = ANY (ARRAY(SELECT sha256(done.source_key) FROM done))
        AND source_key = ANY (ARRAY(SELECT done.source_key FROM done))
), removed AS (
    DELETE FROM sync.intent WHERE id = ANY (ARRAY(SELECT intent FROM done))
), kept AS (
    UPDATE sync.intent SET state = 'finished'
    WHERE id = ANY (ARRAY(SELECT intent FROM mine EXCEPT SELECT intent FROM done))
)
SELECT count(*) FROM done
