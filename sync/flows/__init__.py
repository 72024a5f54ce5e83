"""The order of the steps, one module per path: they know ports and the core, no adapter and no driver (docs/architecture.md).

Dual writes

dual_write       a write while the source is primary (rules 11 to 14)
dual_write_batch  the same for many rows at once
shared_puts      what many threads put at the same time goes together
gathering        who comes while others are under way waits, and goes with those that wait
reverse_write    a write while Postgres is primary (rules 23 to 25)
insert           an insert while the source is primary (rule 17)
increment        an increment of counters while the source is primary (rule “counters”)
wrapped_write    a write by an application's own class (rule 17)
observing        how long the steps of a write took, and what becomes of a range
write_router     the flow of the current primary; waits during a switch
drain            takes the keys that are due, in batches
reconcile        makes the target equal, key by key (rules 15 and 16)
resend           makes the source equal, key by key (rules 26 and 27)
partition_deletes  deletes of partitions that are left (rules 37 and 38)
partition_rechecks  rechecks of partitions, expanded to rechecks of keys (rule 46)
resend_counters  the same for counters, by differences (rule “counters”)
isolation        many keys in one transaction; where that fails, each by itself

Changes by others

follow         records what a feed tells (rules 32 and 39 to 43)

Backfill

preflight      what maps to what, and what is missing
backfill       plans, notifies workers and watches
copy_ranges    a worker's part: claim a range, read pages, load batches
verify         the comparison at the end of `sync migrate`

Drift

check_ranges   a worker's part: claim a range, hash it on both sides
range_verdicts  the verdicts on the keys of a range, counted
recheck        reads keys that seemed to differ until each has a verdict

Switch

cutover        announce, close, drain, switch, open (rules 21 and 30)

All

pacing         how fast a stream works: its share of a rate, rests while servers are slow
retry          retries while a server is busy or unreachable, and the pauses between
"""
