"""How Postgres is reached and queried: addresses, pools, poolers, named SQL, the epoch's lock, what errors mean.

address        URLs as other programs write them
cell           encoded cells as binary parameters
connect        a connection from settings: pooled or direct, TLS, clear errors
deadline       a limit for how long a server may say nothing
epoch_lock     the epoch's lock (rule 20)
held           a transaction within which the application's own code runs
hashing        whether both sides can compute the hash
pool           a pool that survives restarts, suspended computes and forks
pooled         a connection through a transaction pooler
pooler         whether an address is a transaction pooler's
queries        named statements from `sql/*.sql`
refusals       whether an error is about a row, a statement, a lock or the server
session        settings that end the build of an index through a pooler
single_flight  one query for many callers: each gets the result of one that began after its call
"""
