"""`python -m support.dataapi` (with tests/ on the path) serves the double over the Cassandra of the environment."""

from __future__ import annotations

import time

from support.dataapi.server import data_api
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import load_settings

with open_cassandra(load_settings()) as cassandra, data_api(cassandra.session) as opened:
    print(f"ASTRA_DB_API_ENDPOINT={opened.endpoint}", flush=True)
    while True:
        time.sleep(60)
