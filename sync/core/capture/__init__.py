"""Changes by others (decision 0031): what a feed of the source tells is announced, never applied.

cdc_keys     Avro records of DataStax's change data capture become changed keys
changes      what every feed makes of its events: changed keys, changed partitions, gaps, with a position
commitlog/   Cassandra's commit log
feed_places  places in a topic, and whether one message follows another
json_lines   changed keys as JSON lines, for `sync follow keys`
"""
