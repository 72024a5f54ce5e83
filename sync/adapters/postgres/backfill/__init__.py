"""Copies history into Postgres: ranges with their leases, batches, merges, rejects.

ahead         rows of the source that were written ahead of the clock
loader        a batch with its checkpoint, in one transaction
merge         only absent keys are inserted (rules 18 and 19)
range_ledger  runs and ranges: planning, leases, progress
rejects       values that the target cannot hold
"""
