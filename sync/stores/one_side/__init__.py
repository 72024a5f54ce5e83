"""Stores over one side: before a migration and after it.

astra             over the Data API
cql               over CQL
live_tables       the source's tables as they are now
page_reads        `find` and `scan`, the same over CQL and Postgres
postgres          over Postgres: what it writes
postgres_queries  partitions, indexes and whole tables of Postgres, page by page
postgres_reads    over Postgres: what it reads
renamed           over Postgres, by the application's names
unreadable        values that Python cannot represent
values            converts an application's values for Postgres, and back
"""
