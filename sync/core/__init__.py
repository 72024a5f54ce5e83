"""Pure logic: no I/O and no driver imports (import-linter holds it).

capture/    changes by others: keys, never values
cutover/    gates, proofs, phases: pure judgements
dashboard/  what the dashboard shows: steps, rings, curves
decode/     Postgres cell to CQL cell
documents/  collections of the Data API as tables
drift/      comparing two sides of a range; reports
encode/     CQL cell to Postgres cell
keys/       keys as people see them, and a key that no row has
reads/      what an application may ask for, and where a read resumes
schema/     how a source table maps onto its target
counters    what may be added to counters, and how far two rows' are apart
cell_ttls   when a row expires, from the TTLs of its cells
cql         CQL types as values
expiry      moments at which rows expire, and the column that has them
key_forms   one form of each key value, for both sides
metrics     the state of a migration as metrics
mutations   a write as it was asked for, kept in its intent
ring        the token ring and its ranges `(start, end]`
rows        tables, columns and mappings as values
throttle    how much of the time a run may work while servers are slow
versions    versions: microseconds, unique among writers (rule 2)
visible     text made safe for a terminal
words       numbers and names in sentences
"""
