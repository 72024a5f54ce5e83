"""How a source table maps onto its target, and what has changed since.

limits        what makes a table impossible in Postgres, whatever it holds
mapping       how a source table maps onto its target, and every blocker
shapes        what has changed between two mappings, in words
static_rows   partitions with nothing but static columns
table_json    a source table as JSON, for a start while the source is away
vector_index  what a vector index of the source takes
"""
