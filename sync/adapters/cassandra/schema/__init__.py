"""The source's schema: its tables, and what this role may see and do there.

catalogue          tables with their columns, keys, types and sizes
identity           whether a table is still the same one
privileges         whether this role may write, found out with statements that change nothing
probes             whether the source would take each flow's statements
read_indexes       indexes that a read may use
ttl                a sample of rows that will expire
views_and_indexes  what is not migrated with a table: its views, and indexes that queries may need
visibility         whether this role sees values or masks (dynamic data masking)
"""
