"""Cassandra and Astra over CQL: pages as bytes, rows by key, and what the servers allow.

connection/  a cluster from settings: nodes, TLS, pages as bytes
rows/        rows read and written, by key and by range
schema/      tables, privileges, guardrails, what this role sees
"""
