"""Cassandra and Astra over CQL: pages as bytes, rows by key, and what the servers allow.

catalogue     tables with their columns, keys, types and sizes
cell_times    how CQL is asked for write times, by what the server knows
cell_types    the driver's types, made from the catalogue
cells         an application's values to raw CQL cells, keys and tokens, and back
connect       a cluster from settings: contact points or a secure bundle, TLS, credentials
data_centres  which data centre this process reads and writes
faults        the driver's errors, sorted: too much for one request, not now, or neither
identity      whether a table is still the same one
key_rows      many rows by key, at quorum, for a drift report's second look
pages         pages of a token range as the bytes that came over the wire
quiet         the driver's log, without repetition
rights        what this role may do, found out with statements that change nothing
routing       a read of a range goes to a replica of it
rows          single rows: written with a timestamp of ours, sent again, read at quorum
search        vector search and rows, to compare with the target's
sight         whether this role sees values, not masks
stamped       SELECT of rows with their newest timestamps
tls           certificates: by authority, and by name or address
trial         whether the source would take each flow's statements
ttl           a sample of rows that will expire
write_times   rows that were written ahead of the clock
"""
