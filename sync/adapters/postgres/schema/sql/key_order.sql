-- recorded: the comments on tables' primary keys, and whether this role may write them
SELECT t.name, k.conname, obj_description(k.oid, 'pg_constraint'), pg_has_role(c.relowner, 'USAGE')
FROM unnest(%(tables)s::text[]) AS t (name)
JOIN pg_class AS c ON c.oid = to_regclass(t.name) JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'

-- indexes: the columns that lead a valid index of whole rows, and whether it finds ranges; Cassandra reads no part of a partition key
SELECT a.attname, bool_or(m.amname = 'btree')
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam AND m.amname IN ('btree', 'hash')
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisvalid AND NOT i.indisprimary AND i.indpred IS NULL
GROUP BY a.attname

-- has_token: whether the table has the column of tokens, which a migration adds and `sync finish` drops
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attname = %(token)s AND NOT attisdropped)
