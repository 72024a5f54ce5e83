"""Wires the workers' part of dual writes.

drain_session  the connections that a worker process keeps from one reconcile job to the next
expired        deletes rows that have expired, while workers run
resolve        `sync intents --resolve`
worker         a worker's part of dual writes, and the sweeper
"""
