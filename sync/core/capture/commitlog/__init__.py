"""Cassandra's commit log, read from bytes: which keys its mutations change (decision 0034).

descriptor  the header of a segment: format, id, compression
mutations   a mutation's updates: table, partition key, what of the partition they change
place       a place in the log: segment, section, entry
rows        the rows of an update: clustering keys, the greatest timestamps
sections    the sections of a segment, and their entries, with checksums
tables      what the reader has to know of a table: its columns and how long their values are
told        what mutations tell: changed keys, changed partitions, gaps
"""
