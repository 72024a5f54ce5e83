"""Postgres: the target's tables, and the state of the migration in the schema `sync`; each method is one transaction.

Connections

address        URLs as other programs write them
breaker        stops asking a Postgres that does not answer (invariant 8)
cell           encoded cells as binary parameters
connect        a connection from settings: pooled or direct, TLS, clear errors
own_line       a connection beside a pool's, for what must not wait
parameters     keys and rows as a statement's parameters
pool           a pool that survives restarts, suspended computes and forks
pooled         a connection through a transaction pooler
pooler         whether an address is a transaction pooler's
queries        named statements from `sql/*.sql`
refusals       whether an error is about a row, a statement, a lock or the server
session        settings that end the build of an index through a pooler

Schema

catalogue      tables, columns, types and privileges of the target
finishing      the end of a migration: its columns and its state go
indexes        dropped for a load, rebuilt after it
index_lease    one command at a time builds a table's indexes
migrations     the SQL files of `migrations/`, applied and recorded
remembering    the source's tables as they were at the last switch
sight          whether this role sees and writes the rows themselves

Backfill

ahead          rows of the source that were written ahead of the clock
ledger         runs and ranges: planning, leases, progress
load           a batch with its checkpoint, in one transaction
merge          only absent keys are inserted (rules 18 and 19)
rejects        values that the target cannot hold

Dual writes

aside          what a writer buffers: ends and marks of intents, unrecorded writes
ending         dead writers that provably had nothing unrecorded (rule 29)
in_turn        resends of one key, one after the other
intents        intents as an operator sees them
journal        intents and guarded writes of one table (rules 1 to 15)
registration   this process as a writer, and its heartbeat (rules 28 to 30)
resolving      intents that an operator gives up
reverse        writes where Postgres is primary, and what is sent on (rules 23 to 27)
settling       the two transactions of a reconcile (rules 15a and 15d)
statements     the statements of one table
unrecorded     writes that Postgres does not know of yet (rule 31)
writers        writers as an operator sees them

Drift

checks         ranges, verdicts and findings of drift reports
digest         SQL for a row's canonical bytes, and digests of ranges
digests        digests and hashes of ranges, by the index on the token
hashing        whether both sides can make the hash
keys           single keys: looked at, marked for a reconcile, given their token
passes         passes: closed, recorded, listed
search         vector search, in the source's terms

Switch

agreement      what writers and runs were started with: all must agree
data_centres   who reads and writes which data centre
epoch_lock     the epoch's lock (rule 20)
epochs         who is primary, and the switch (rules 21 and 30)
gates          what the gates look at
"""
