"""Stores over one side: before a migration and after it.

astra        over the Data API
cql          over CQL
live_tables  the source's tables as they are now
postgres     over Postgres
unreadable   values that Python cannot represent
values       converts an application's values for Postgres, and back
"""
