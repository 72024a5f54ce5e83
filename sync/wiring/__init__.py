"""The only place that builds adapters and hands them to the flows: one module a command or job.

backfill/    `sync backfill`, and a worker's part of it
cutover/     `sync cutover`, `sync rollback`, `sync finish`: gates, canary, switch
drift/       `sync drift-report`, `sync migrate`'s comparison, and a worker's part
dual_write/  a worker's part of dual writes; intents that are given up
expiry       whether a table's rows are to expire: they would not in Postgres
preflight    `sync preflight`
rights       whether this host may send writes again
schema       `sync schema apply`
shapes       what tables are at the beginning and at the end
sight        whether values are seen as they are, on both sides
status       `sync status`
trials       which flows are possible, asked with their own statements
working      what `sync worker` looks at before it begins
write_times  looks for rows ahead of the clock while ranges are copied
"""
