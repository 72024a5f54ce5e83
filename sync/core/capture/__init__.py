"""Changes by others (decision 0031): what a feed of the source tells is announced, never applied.

changes     what every feed makes of its events: changed keys, changed partitions, gaps, with a position
commitlog/  Cassandra's commit log
json_lines  changed keys as JSON lines, for `sync follow keys`
"""
