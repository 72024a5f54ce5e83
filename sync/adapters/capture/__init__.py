"""Feeds of changes by others: each yields batches of changed keys (`sync.core.capture.changes`).

key_lines  JSON lines of a file, or of what is piped in
"""
