"""The tutorial's source: one table of 20,000 tunes in Cassandra, where the environment or .env says that it is."""

import uuid

from cassandra.concurrent import execute_concurrent_with_args

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import load_settings

TABLE = "tunes (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>, mood vector<float, 8>)"
TUNES = 20_000

if __name__ == "__main__":
    settings = load_settings()
    with open_cassandra(settings) as cassandra:
        session, keyspace = cassandra.session, settings.astra_db_keyspace
        session.execute(f"CREATE TABLE {keyspace}.{TABLE}")
        insert = session.prepare(f"INSERT INTO {keyspace}.tunes (id, title, plays, tags, mood) VALUES (?, ?, ?, ?, ?)")
        moods = ([((no * 7919 * (n + 3)) % 1000 - 500) / 500 for n in range(8)] for no in range(TUNES))
        rows = [(uuid.uuid4(), f"Tune No. {no}", 0, {"no": str(no)}, mood) for no, mood in enumerate(moods)]
        execute_concurrent_with_args(session, insert, rows)
    print(f"{TUNES:,} tunes are in {keyspace}.tunes")
