"""What an application may ask of a store, the same of either side, and where a read can resume.

cursor     the place after a row, as text
key_order  a table's key: its partition, and the order of the rows within one
names      the application's names, where Postgres has others
query      what `find`, `search` and `delete_many` are asked for, checked against the key and the indexes
shapes     what a read asks for, without values, and which indexes a side lacks to answer it
"""
