"""reladiff over a table and its copy in one Postgres, by checksums of segments as between two databases; for scale.

Runs on its own, in the peers' environment: python reladiff_copy.py TABLE COPY. Says seconds and how many rows differ.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from urllib.parse import quote

from guide_psycopg2 import COLUMNS
from reladiff import Algorithm, connect_to_table, diff_tables


def url() -> str:
    """The target's address."""
    env = os.environ
    user, password = (quote(env[f"POSTGRES_{name}"], safe="") for name in ("USER", "PASSWORD"))
    return f"postgresql://{user}:{password}@{env['POSTGRES_HOST']}:{env['POSTGRES_PORT']}/{env['POSTGRES_DATABASE']}"


def main(table: str, copy: str) -> None:
    """Compare."""
    logging.disable(logging.WARNING)  # it knows no jsonb and no vector, and compares their text
    key, *others = COLUMNS[table].split(", ")
    begin = time.monotonic()
    one, two = (connect_to_table(url(), name, (key,), extra_columns=tuple(others)) for name in (table, copy))
    found = diff_tables(one, two, algorithm=Algorithm.HASHDIFF)
    differing = {row[0] for _sign, row in found}
    sys.stdout.write(json.dumps({"seconds": time.monotonic() - begin, "differing": len(differing)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
