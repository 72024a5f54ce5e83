"""Wires the backfill: the command and a worker's part.

command  `sync backfill`
worker   a worker's part of a backfill
"""
