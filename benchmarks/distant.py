"""What compression brings over a line that is long and narrow: `sync backfill` from a source behind one.

    python -m benchmarks.distant [--ms 20] [--mbit 50] [--songs 200000] [--embeddings 60000] [--rounds 2]

A proxy stands between the workers and Cassandra. All connections share its two directions, so many bits a second each; half
of the round trip's milliseconds go by on each way. Postgres is beside the workers. The table tells the time, the bytes on the
line and the CPU of each side, without compression and with LZ4 (`CASSANDRA_COMPRESSION`), each as the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass

from benchmarks import dataset
from benchmarks.dataset import TABLES, Table
from benchmarks.line import Proxy
from benchmarks.meter import machine, measure
from benchmarks.peers import PEERS
from benchmarks.servers import Servers, make_folder, own_servers, say

_SYNC = PEERS[0]
_WAYS = ("none", "lz4")


@dataclass(frozen=True, slots=True)
class Run:
    """One copy: seconds, bytes on the line, CPU seconds of the client and of Cassandra."""

    seconds: float
    bytes: int
    client: float
    cassandra: float


def main(argv: list[str]) -> int:
    """Copy both tables, with and without compression in turn."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distant", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ms", type=float, default=20, help="milliseconds, there and back (%(default)s)")
    parser.add_argument("--mbit", type=float, default=50, help="10^6 bits a second, each way (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2)
    for table in TABLES.values():
        parser.add_argument(f"--{table.name}", type=int, default=table.default_rows, help="rows (%(default)s)")
    given = parser.parse_args(argv)
    with own_servers("bench", "bench") as servers:
        dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)
        line = Proxy(int(servers.env["CASSANDRA_PORT"]), given.ms / 1000, given.mbit * 1e6 / 8)
        with line.open():
            lines = [_table(servers, line, table, getattr(given, table.name), given.rounds) for table in TABLES.values()]
    head = "| table | compression | s | MB on the line | client CPU s | Cassandra CPU s |\n" + "| --- " * 6 + "|\n"
    sys.stdout.write(f"{machine()}, {given.ms:g} ms, {given.mbit:g} Mbit/s\n\n{head}{''.join(lines)}")
    return 0


def _table(servers: Servers, line: Proxy, table: Table, count: int, rounds: int) -> str:
    dataset.load(servers.settings, table, count, keyspace=servers.keyspace)
    servers.stack.cassandra.refresh_estimates(servers.keyspace, table.name)
    found: dict[str, list[Run]] = {way: [] for way in _WAYS}
    for number in range(rounds):
        for way in _WAYS if number % 2 == 0 else reversed(_WAYS):
            found[way].append(_once(servers, line, table, way))
    return "".join(_line(f"{table.name}, {count:,}", way, runs) for way, runs in found.items())


def _once(servers: Servers, line: Proxy, table: Table, way: str) -> Run:
    _SYNC.clear(servers, table)
    env = {**servers.env, **_SYNC.env(), "CASSANDRA_PORT": str(line.port), "CASSANDRA_COMPRESSION": way}
    before = line.carried()
    cost = measure(_SYNC.command(table), servers, env, make_folder() / f"distant-{table.name}-{way}.log")
    run = Run(cost.seconds, line.carried() - before, cost.client_cpu, cost.cassandra_cpu)
    say(f"{table.name}, {way}: {run}")
    return run


def _line(table: str, way: str, runs: list[Run]) -> str:
    def median(name: str) -> float:
        return statistics.median(float(getattr(run, name)) for run in runs)

    figures = f"{median('seconds'):.1f} | {median('bytes') / 1e6:.1f} | {median('client'):.1f} | {median('cassandra'):.1f}"
    return f"| {table} | {way} | {figures} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
