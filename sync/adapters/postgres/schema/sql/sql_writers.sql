-- relations: tables and all that inherits from them, partitions of every level: a statement may name each of them
WITH RECURSIVE found AS (
    SELECT name, to_regclass(name)::oid AS oid FROM unnest(%(tables)s::text[]) AS name
    UNION SELECT found.name, i.inhrelid FROM pg_inherits AS i JOIN found ON found.oid = i.inhparent
)
SELECT found.name, c.oid, format('%%I.%%I', n.nspname, c.relname), c.relkind = 'f',
       EXISTS (SELECT FROM pg_subscription_rel AS s WHERE s.srrelid = c.oid)
FROM found JOIN pg_class AS c ON c.oid = found.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 3

-- functions: what the functions of these names do
SELECT proname, prosrc FROM pg_proc
WHERE pronamespace = to_regnamespace('sync') AND proname = ANY (%(names)s) AND prosecdef
  AND proconfig = ARRAY['search_path=pg_catalog, pg_temp'] AND prorettype = 'trigger'::regtype

-- triggers: those of these relations that fire always, with all that they are made of
SELECT t.tgrelid, t.tgname, t.tgtype::int, p.proname, coalesce(t.tgoldtable, ''), coalesce(t.tgnewtable, ''),
       split_part(encode(t.tgargs, 'escape'), '\000', 1)
FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.pronamespace = to_regnamespace('sync')
WHERE t.tgrelid = ANY (%(relations)s) AND t.tgenabled = 'A' AND t.tgqual IS NOT NULL

-- left_behind: relations whose triggers announce keys, and the number in the functions' names
SELECT c.oid, format('%I.%I', n.nspname, c.relname), right(p.proname, 12)
FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.pronamespace = to_regnamespace('sync')
     JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.proname ~ '^sql_(inserted|updated|deleted)_[0-9a-f]{12}$'

-- when: transactions of the program's own fire nothing
WHEN (current_setting('sync.own', true) IS DISTINCT FROM 'on')

-- function: announces the keys of a statement's rows
CREATE OR REPLACE FUNCTION sync.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $sync${body}$sync$

-- body: the keys of a statement's rows. Where Postgres is primary workers make the rechecks (rule 50); before the
-- cut-over the copy's guards and the stamps of writes to Astra look for them at once. A row's own token is its old key's, so that only
-- rows that were there tell theirs, and their version
/* rows of {table} that SQL has {what} */
DECLARE
    seen constant bigint := nullif(current_setting('sync.sql_epoch', true), ''); -- below 0: Astra is primary
BEGIN
    IF seen > 0 THEN
        INSERT INTO sync.sql_change (table_name, key, token, version, epoch)
        SELECT {name}, k.key, k.token, k.version, seen FROM ({rows}) AS k;
        RETURN NULL;
    END IF;
    IF seen = 0 THEN
        RETURN NULL; -- a plain copy
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = TG_RELID AND attname = '_sync_version') THEN
        RETURN NULL; -- nothing has been copied yet
    END IF;
    INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner)
    SELECT {name}, k.key, coalesce(k.token, {unknown}), 'recheck', 'finished',
           greatest(k.version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
           coalesce(abs(seen), (SELECT max(epoch) FROM sync.epoch)), 'SQL'
    FROM ({rows}) AS k
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END

-- inserted: new rows
SELECT {key} AS key, NULL::bigint AS token, NULL::bigint AS version FROM _sync_new AS t

-- deleted: old rows
SELECT {key} AS key, {token} AS token, t._sync_version AS version FROM _sync_old AS t

-- updated: both, once each: a key may have been changed. Nothing is joined: a plan is kept, and was made for few rows
SELECT b.key, max(b.token) AS token, max(b.version) AS version FROM (
        SELECT {key} AS key, {token} AS token, t._sync_version AS version FROM _sync_old AS t
        UNION ALL SELECT {key}, NULL, NULL FROM _sync_new AS t
    ) AS b GROUP BY b.key

-- trigger: one of a relation's triggers
CREATE OR REPLACE TRIGGER {trigger} {moment} ON {relation} {referencing}FOR EACH STATEMENT {when}EXECUTE FUNCTION sync.{function}({given})

-- always: whatever session_replication_role is
ALTER TABLE {relation} ENABLE ALWAYS TRIGGER {trigger}
