"""The commit log of a Cassandra node, read from its `cdc_raw` beside it (decision 0034).

checks     what must hold of a node, its keyspace and its tables before they are followed
collector  takes segments out of `cdc_raw` as they appear, into a folder of its own
feed       the feed: batches of what was told, with the place behind them
heartbeat  a write of our own: whatever came before it in the log has been read when it is read
reader     goes through the segments, from a place on
schema     the tables of the node by their ids, from `system_schema`
segments   one segment's file: its sections as they are written
"""
