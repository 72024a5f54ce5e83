"""Writes to both sides: writers, intents, guarded writes, reconciles; and the same where Postgres is primary.

agreement         what writers and runs were started with: all must agree
announcements     several keys of a write by an application's own class, announced together
array_statements  the statements of one table for many keys at once
batch_journal     intents and guarded writes of many rows at once
breaker           stops asking a Postgres that does not answer (invariant 8)
counters          claims of keys whose counters are sent on (rule “counters”)
data_centres      which process reads and writes which data centre
dead_writers      dead writers that provably had nothing unrecorded (rule 29)
expired           rows that have expired, deleted a few at a time
intents           intents as an operator sees them
journal           intents and guarded writes of one table (rules 1 to 15)
locks             advisory locks of keys and partitions (rules 5 and 33)
pacing            how soon a writer reads the epoch again
parameters        keys and rows as a statement's parameters
partitions        deletes of partitions (rules 33 to 38)
reconcile         the two transactions of a reconcile (rules 15a and 15d)
registration      this process as a writer, and its heartbeat (rules 28 to 30)
resend_in_order   resends of one key, one after the other
resolution        intents that an operator gives up
reverse           writes while Postgres is primary, and what is sent on (rules 23 to 27)
sql_changes       keys that SQL has changed become rechecks (rule 50)
statements        the statements of one table
turns             threads of a writer stamp a key in turn (rule 2)
unrecorded        writes that Postgres does not know of yet (rule 31)
write_behind      what a writer buffers: ends and marks of intents, unrecorded writes
"""
