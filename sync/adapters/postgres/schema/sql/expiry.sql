-- known: the comment on a column, and whether a valid index leads with it
SELECT col_description(a.attrelid, a.attnum),
       EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL)
FROM pg_attribute AS a WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s AND NOT a.attisdropped

-- marked: the columns with comments of the tables that a migration has touched, as SQL names both
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), col_description(a.attrelid, a.attnum)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND col_description(a.attrelid, a.attnum) IS NOT NULL
  AND EXISTS (SELECT FROM pg_attribute AS v WHERE v.attrelid = c.oid AND v.attname = '_sync_version' AND NOT v.attisdropped)
ORDER BY 1, 2

-- delete_of: what the function deletes of one table: a batch, the oldest first, past rows that somebody is writing
deleted{nth} AS (
    DELETE FROM {table} WHERE {column} <= now() AND ctid = ANY (ARRAY(
        SELECT ctid FROM {table} WHERE {column} <= now() ORDER BY {column} LIMIT most FOR UPDATE SKIP LOCKED))
    RETURNING 1
)

-- function: deletes expired rows, at most so many of each table; returns how many
CREATE OR REPLACE FUNCTION {name}(most integer DEFAULT 10000) RETURNS bigint LANGUAGE sql AS $sync$
WITH {deletes}
SELECT {counts}
$sync$
