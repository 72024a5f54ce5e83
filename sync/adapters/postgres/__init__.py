"""Postgres: the target's tables, and the state of the migration in the schema `sync`; each method is one transaction.

One package per flow, with its SQL in `sql/` beside it. Each imports only from those after it in this order: history, drift,
capture, dual_write, cutover, backfill, schema, connection.

backfill/    ranges, loads, merges, rejects
capture/     announcements of changes by others, and their feeds
connection/  how Postgres is reached and queried, and what its errors mean
cutover/     epochs, and what the gates look at
drift/       ranges and passes of drift reports, digests, single keys
dual_write/  writers, intents, guarded writes, reconciles, in both directions
history/     samples, and what has happened so far
schema/      tables, indexes and privileges; the state's migrations
"""
