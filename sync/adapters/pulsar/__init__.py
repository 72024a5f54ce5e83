"""Pulsar: the data topics of Astra's and DataStax's change data capture, by pulsar-client and fastavro.

connection       the client, and what is wrong with it in one line
keys             the feed: keys that topics tell of, with a position and gaps
partition        one partition of a topic: what it sends, what of it is lost, up to when it has told everything
pulsar_settings  SYNC_PULSAR_*: where the server is, and the token for it
topics           which table a topic tells of
"""
