-- claim: take the lease on building a table's indexes, for a while; whoever holds it prolongs it
INSERT INTO sync.index_lease (table_name, owner, until)
VALUES (%(table)s, %(owner)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (table_name) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE index_lease.owner = excluded.owner OR index_lease.until < clock_timestamp()
RETURNING true

-- release: the indexes are built, or the attempt has ended
DELETE FROM sync.index_lease WHERE table_name = %(table)s AND owner = %(owner)s
