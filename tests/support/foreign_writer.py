"""Somebody who knows nothing of `sync`: writes to Cassandra with the plain driver until it is ended.

`python foreign_writer.py HOST PORT USER PASSWORD KEYSPACE`; prints a number with each hundred statements.
"""

import random
import sys

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

host, port, user, password, keyspace = sys.argv[1:]
auth = PlainTextAuthProvider(user, password)
session = Cluster([host], port=int(port), auth_provider=auth).connect(keyspace)
count = 0
while True:
    p, c, kind = random.randrange(30), random.randrange(20), random.randrange(8)
    if kind == 0:
        session.execute(f"DELETE FROM songs WHERE album = 'a{p}' AND track > {c} AND track < {c + 4}")
    elif kind == 1:
        session.execute(f"DELETE FROM songs WHERE album = 'a{p}'")
    elif kind == 2:
        session.execute(f"DELETE FROM songs WHERE album = 'a{p}' AND track = {c}")
    elif kind == 3:
        session.execute(f"UPDATE songs SET tags = tags + {{'t{c}'}} WHERE album = 'a{p}' AND track = {c}")
    elif kind == 4:
        session.execute(
            f"BEGIN BATCH INSERT INTO people (name, age) VALUES ('p{p}', {c}); "
            f"INSERT INTO songs (album, track, title) VALUES ('a{p}', {c}, 'of p{p}'); APPLY BATCH"
        )
    elif kind == 5:
        session.execute(f"INSERT INTO people (name, age) VALUES ('p{p}', {c}) IF NOT EXISTS")
    else:
        session.execute(f"INSERT INTO songs (album, track, title) VALUES ('a{p}', {c}, 'title {count}')")
    count += 1
    if count % 100 == 0:
        print(count, flush=True)
