"""The target's schema: its tables, indexes, privileges, the state's migrations, and the end of a migration.

catalogue        tables, columns, types and privileges of the target
expiry           the column that says when a row expires: its mark, and as SQL
expiry_function  what deletes expired rows once the migration is over
finish           the end of a migration: its columns and its state are dropped
index_lease      one command at a time builds a table's indexes
indexes          dropped for a load, rebuilt after it
inspection       all target tables in a few statements: privileges, triggers, foreign keys, blockers
key_order        the order of a key as Cassandra keeps it: recorded, and as SQL
migrations       the SQL files of `migrations/`, applied and recorded
read_plans       which reads of a table Postgres answers, and in which order
row_digest_sql   SQL for a row's canonical bytes, and digests of ranges
source_schema    the source's tables as they were at the last switch
sql_writers      triggers on the migrated tables: what SQL writes there is announced, or refused
visibility       whether this role sees and writes all rows: row security, views, privileges
"""
