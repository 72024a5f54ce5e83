"""The application's own repository of songs over cassandra-driver, its twin over psycopg, and which of them is used."""

import os

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from sync import DualWriteStore

COLUMNS = ("id", "title", "artist", "genre", "mood")


class CassandraSongs:
    """What the application has had all along."""

    def __init__(self, session):
        self.session = session
        self._save = session.prepare(f"INSERT INTO songs ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?)")
        self._delete = session.prepare("DELETE FROM songs WHERE id = ?")
        self._get = session.prepare(f"SELECT {', '.join(COLUMNS)} FROM songs WHERE id = ?")
        self._of_genre = session.prepare(f"SELECT {', '.join(COLUMNS)} FROM songs WHERE genre = ? LIMIT 20")

    def save(self, song):
        self.session.execute(self._save, [song[name] for name in COLUMNS])

    def delete(self, song_id):
        self.session.execute(self._delete, [song_id])

    def get(self, song_id):
        row = self.session.execute(self._get, [song_id]).one()
        return row and _song(row)

    def of_genre(self, genre):
        return [_song(row) for row in self.session.execute(self._of_genre, [genre])]


class PostgresSongs:
    """Its twin: the same methods, for after the cut-over."""

    def __init__(self, pool):
        self.pool = pool

    def save(self, song):
        with self.pool.connection() as connection:
            connection.execute(
                "INSERT INTO songs (id, title, artist, genre, mood) "
                "VALUES (%(id)s, %(title)s, %(artist)s, %(genre)s, %(mood)s::real[]::vector) "
                "ON CONFLICT (id) DO UPDATE SET title = excluded.title, artist = excluded.artist, "
                "genre = excluded.genre, mood = excluded.mood",
                song,
            )

    def delete(self, song_id):
        with self.pool.connection() as connection:
            connection.execute("DELETE FROM songs WHERE id = %s", [song_id])

    def get(self, song_id):
        return next(iter(self._read("WHERE id = %s", song_id)), None)

    def of_genre(self, genre):
        return self._read("WHERE genre = %s LIMIT 20", genre)

    def _read(self, where, value):
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(f"SELECT id, title, artist, genre, mood::real[] AS mood FROM songs {where}", [value])
            return cursor.fetchall()


def open_songs():
    """One of them, or both, by the variables that select the store everywhere else."""
    if os.environ.get("SYNC_DUAL_WRITE") == "true":
        return DualWriteStore.wrap(
            over_cassandra(),
            over_postgres(),
            # Each call of these writes one row, and this is its key. All other methods are passed on to the primary's class.
            writes={"save": lambda song: ("songs", {"id": song["id"]}), "delete": lambda song_id: ("songs", {"id": song_id})},
        )
    return over_postgres() if os.environ.get("STORAGE_BACKEND") == "postgres" else over_cassandra()


def over_cassandra():
    cluster = Cluster(
        os.environ["CASSANDRA_CONTACT_POINTS"].split(","),
        port=int(os.environ["CASSANDRA_PORT"]),
        auth_provider=PlainTextAuthProvider(os.environ["CASSANDRA_USERNAME"], os.environ["CASSANDRA_PASSWORD"]),
    )
    return CassandraSongs(cluster.connect(os.environ["ASTRA_DB_KEYSPACE"]))


def over_postgres():
    names = {"host": "HOST", "port": "PORT", "dbname": "DATABASE", "user": "USER", "password": "PASSWORD"}
    given = {name: os.environ[f"POSTGRES_{variable}"] for name, variable in names.items()}
    return PostgresSongs(ConnectionPool(kwargs=given, max_size=4, open=True))


def _song(row):
    song = row._asdict()
    return {**song, "mood": song["mood"] and list(song["mood"])}
