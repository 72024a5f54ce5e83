"""The store over both sides: every write goes to both, and what one side missed is reconciled.

announce           `announce()`: somebody else has changed a row
async_transaction  a transaction for asyncio, in a thread of its own
asynchronous       over both sides, for asyncio
background         a thread for work that nobody waits for
counters           increments of counters
dual               over both sides
dual_api           over both sides, where Astra is written through the Data API
expected_backend   STORAGE_BACKEND must not contradict the authority (invariant 6)
first_look         a read that either side can answer, and the keys in which the answers differ
flow_cache         the flows of tables, made at the first write and again after a table has changed
halves             the target's part of rows that it could not take together
many_puts          `put_many`
puts               `put`, also of rows that several callers put at the same time
read_back          the Data API with CQL beside it
read_shapes        which reads the application makes, recorded for the gate of the next switch
reads              reads from the primary, also across a switch
second_look        keys in which the answers differed, looked at by their stored bytes
shadow_reads       a share of the reads is asked of the other side, too
source             the source, connected or temporarily unreachable
source_api         the same, written through the Data API
table_flows        what one table needs, in either direction
table_writes       what a part of the store needs of the whole, to write to one table
task_puts          what many tasks put at the same time goes together
target             Postgres, and this process as a writer there
target_documents   documents made from Postgres's rows
transactions       `transaction()`: the application's SQL and writes that go to both sides
wrapped            `DualWriteStore.wrap`
wrapped_classes    whether an application's two classes fit together
wrapped_threads    the blocking parts of an application's asynchronous writes
"""
