"""The only place that builds adapters and hands them to the flows: one module a command or job.

backfill/     `sync backfill`, and a worker's part of it
capture/      `sync follow`
cutover/      `sync cutover`, `sync rollback`, `sync finish`: gates, canary, switch
dashboard/    what `sync dashboard` reads, and samples for it
drift/        `sync drift-report`, `sync migrate`'s comparison, and a worker's part
dual_write/   a worker's part of dual writes; giving up intents
expiry        whether a table's rows have a TTL, which Postgres does not know
indexes       indexes that a read may need, and the statements that make them
kept          an answer that many may ask for, and that is dear to make
metrics       the state as Prometheus reads it
notify        tells a webhook what has happened
preflight     `sync preflight`
privileges    whether this host's role may send writes to the source again
probes        which flows are possible with these servers and roles, tried with the flows' own statements
schema        `sync schema apply`
readings      what is asked of servers that may hang
servers       which servers answer
shapes        whether tables change between the beginning and the end of a run
status        `sync status`
throttle      what a worker paces its streams with
tracing       OpenTelemetry spans of writes and of ranges
visibility    whether this process sees values as they are, on both sides
worker_check  what `sync worker` checks before it starts
write_times   looks for rows ahead of the clock while ranges are copied
"""
