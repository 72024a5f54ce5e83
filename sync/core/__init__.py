"""Pure logic: no I/O and no driver imports (import-linter holds it).

decode/           Postgres cell to CQL cell
encode/           CQL cell to Postgres cell
agreement         settings that writers, workers and commands must agree on
checked           what a check of a range found
cql               CQL types as values
digest            row hashes and digests, as both sides compute them
document_changes  changes of a document's fields, as the Data API's `$set` makes them
documents         a collection as a table
drift             comparing two sides by key and hash; that the numbers add up
drift_report      the report of a pass, from its ranges' verdicts
gates             the gates of a cut-over, a rollback and the end: pure judgements
key_forms         one form of each key value, for both sides
limits            what Postgres cannot make of a table, whatever it holds
mapping           how a source table maps onto its target, and every blocker
mutations         a write as it was asked for, kept in its intent
own_key           a key that nobody has
phases            where a migration is, and the next step
proof             which drift passes prove a table, and what invalidates them
range_hashes      hashes and raw keys of a range, packed
remembered        a source table as JSON and back
ring              the token ring and its ranges `(start, end]`
rows              tables, columns and mappings as values
search            how well two rankings agree
shapes            what has changed between two mappings, in words
shown_keys        a key as JSON, for people and back
static_rows       partitions with nothing but static columns
vector_index      what a vector index of the source takes
verdicts          the verdict on one key
versions          versions: microseconds, unique among writers (rule 2)
visible           text made safe for a terminal
"""
