"""The Data API, by astrapy: documents and rows of an application that does not speak CQL (docs/data-api.md).

api              a database from settings: Astra's, or a self-hosted Data API
calls            calls with retries and backoff; their errors become this project's
catalogue        tables and collections of a keyspace
collection_rows  documents by key: read over CQL, written through the API
documents        the store interface over a collection
faults           whether a failed call may have written, and whether to retry it
queries          rows of a table's partition, or by an index, page by page
rows             the store interface over a table
values           Python values to the API's JSON and back, by their CQL types
"""
