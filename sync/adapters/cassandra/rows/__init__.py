"""Rows of the source: read and written by key, with the timestamps of their cells.

cell_times         CQL that selects write times, as far as the server reports them
cell_types         the driver's types, made from the catalogue
cells              an application's values to raw CQL cells, keys and tokens, and back
inserts            rows written only where there are none: lightweight transactions
key_rows           many rows by key, at quorum, for a drift report's second look
moments            when a row that is written expires
partition_deletes  deletes of a partition, or of a range of it, in CQL
partition_keys     the keys of a partition, for its recheck
partitions         the same as an application asks for them
queries            rows of a partition, by an index, or all of them, page by page
resume             a read that goes on after a place
rows               single rows: written with our own timestamp, sent again, read at quorum
search             vector search and rows, to compare with the target's
timed_requests     writes that are under way at once
timestamped_rows   SELECT of rows with their newest write times
values             rows of many cells as Python values
write_times        rows that were written ahead of the clock
writes_in_flight   how many writes that nobody waits for are in progress
"""
