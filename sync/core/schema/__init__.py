"""How a source table maps onto its target, and what has changed since.

ddl           SQL that makes a target, and completes it
limits        what makes a table impossible in Postgres, whatever it holds
mapping       how a source table maps onto its target, and every blocker
shapes        what has changed between two mappings, in words
static_rows   static columns as a table of their own, and what is no row
table_json    a source table as JSON, for a start while the source is away
vector_index  what a vector index of the source takes
"""
