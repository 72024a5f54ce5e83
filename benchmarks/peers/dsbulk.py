"""DSBulk unloads to CSV files, COPY loads them.

Runs on its own, in the peers' environment: python dsbulk.py TABLE JAVA CLASS_PATH
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from guide_psycopg2 import COLUMNS, target

MAIN = "com.datastax.oss.dsbulk.runner.DataStaxBulkLoader"


def unload(table: str, java: str, class_path: str, folder: Path) -> None:
    """Write the table to CSV files."""
    env = os.environ
    query = f"SELECT {COLUMNS[table]} FROM {table}"
    command = [java, "-cp", class_path, MAIN, "unload", "-query", query, "-k", env["ASTRA_DB_KEYSPACE"]]
    command += ["-h", env["CASSANDRA_CONTACT_POINTS"], "-port", env["CASSANDRA_PORT"], "-url", str(folder / "csv")]
    login = folder / "login.conf"  # not an argument, which everybody may read
    auth = {"class": "PlainTextAuthProvider", "username": env["CASSANDRA_USERNAME"], "password": env["CASSANDRA_PASSWORD"]}
    login.write_text(json.dumps({"datastax-java-driver": {"advanced": {"auth-provider": auth}}}))
    command += ["-f", str(login)]
    command += ["-logDir", str(folder / "logs"), "-header", "true", "-verbosity", "quiet"]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise SystemExit("DSBulk failed: see above")


def load(table: str, folder: Path) -> None:
    """COPY the files."""
    names = COLUMNS[table]
    with psycopg.connect(**target()) as connection, connection.cursor() as cursor:
        for path in sorted((folder / "csv").glob("*.csv")):
            options = "FORMAT csv, HEADER, ESCAPE '\\'"  # as DSBulk writes them
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN ({options})") as copy, path.open("rb") as file:
                while chunk := file.read(1 << 17):
                    copy.write(chunk)


def main(table: str, java: str, class_path: str) -> None:
    """Copy a table."""
    with TemporaryDirectory(dir=".") as folder:
        unload(table, java, class_path, Path(folder).absolute())
        load(table, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
