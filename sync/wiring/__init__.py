"""The only place that builds adapters and hands them to the flows: one module a command or job.

backfill       `sync backfill`
canary         whether the way back to the source is open
checking       a worker's part of a drift report
clearing       a fenced writer is cleared by a full pass (rule 31)
copying        a worker's part of a backfill
cutover        `sync cutover` and `sync rollback`
drift          `sync drift-report`
drift_values   findings as they are shown, with values where asked for
finishing      `sync finish`
gates          the gates, with the facts behind them
kept_drains    one set of connections for a worker's reconcile jobs
preflight      `sync preflight`
reconciling    a worker's part of dual writes, and the sweeper
resolving      `sync intents --resolve`
rights         whether this host may send writes again
schema         `sync schema apply`
shapes         what tables are at the beginning and at the end
sight          whether values are seen as they are, on both sides
status         `sync status`
trials         which flows are possible, asked with their own statements
verify         the comparison at the end of `sync migrate`
working        what `sync worker` looks at before it begins
write_times    looks for rows ahead of the clock while ranges are copied
"""
