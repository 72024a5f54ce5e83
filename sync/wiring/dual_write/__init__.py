"""Wires the workers' part of dual writes.

kept_drains  one set of connections for a worker's reconcile jobs
resolve      `sync intents --resolve`
worker       a worker's part of dual writes, and the sweeper
"""
