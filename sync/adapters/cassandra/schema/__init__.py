"""What the source is: its tables, and what this role may see and do there.

beside     views of it, and indexes that applications may search by
catalogue  tables with their columns, keys, types and sizes
identity   whether a table is still the same one
rights     what this role may do, found out with statements that change nothing
sight      whether this role sees values, not masks
trial      whether the source would take each flow's statements
ttl        a sample of rows that will expire
"""
