"""What one worker copies a second from three nodes, and from one: interleaved rounds on servers of its own.

    python -m benchmarks.three_nodes [--songs 200000] [--rounds 3]

All nodes share this machine's cores, so seconds say little: see the rows for each CPU second of client and of Cassandra, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

import psutil

from benchmarks import dataset
from benchmarks.dataset import TABLES
from benchmarks.meter import Cost, machine, measure
from benchmarks.peers import PEERS
from benchmarks.servers import Cpu, Servers, make_folder, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.local.stack import Stack

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.three_nodes import ThreeNodes, node_certificates, replication

_TABLE = TABLES["songs"]
_SYNC = next(peer for peer in PEERS if peer.name == "sync")


class OnThree(Servers):
    """The same Postgres and Valkey, and a keyspace on three nodes."""

    def __init__(self, stack: Stack, three: ThreeNodes, copies: int, database: str) -> None:
        super().__init__(stack, f"bench_{copies}", database)
        self._three = three
        where = three.settings(self.settings, self.keyspace)
        self.settings = where
        self.env |= {
            "CASSANDRA_CONTACT_POINTS": str(where.cassandra_contact_points),
            "CASSANDRA_PORT": str(where.cassandra_port),
        }
        with open_cassandra(where.model_copy(update={"astra_db_keyspace": None})) as cassandra:
            cassandra.session.execute(f"CREATE KEYSPACE {self.keyspace} WITH replication = {replication(copies)}")

    def cpu(self) -> Cpu:
        """Of all three nodes, and of Postgres."""
        spent = (psutil.Process(node.pid).cpu_times() for node in self._three.nodes)
        return Cpu(sum(times.user + times.system for times in spent), super().cpu().postgres)


def main(argv: list[str]) -> int:
    """A line for each way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.three_nodes", description=__doc__)
    parser.add_argument("--songs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, own_servers("bench", "bench", name="three") as servers:
        (certificates := Path(folder) / "certificates").mkdir()
        three = ThreeNodes(Path(folder) / "nodes", node_certificates(certificates), heap_mb=512, fast_start=False)
        try:
            three.start()
            ways = {
                "one node": servers,
                "three nodes, one replica": OnThree(servers.stack, three, 1, servers.database),
                "three nodes, three replicas": OnThree(servers.stack, three, 3, servers.database),
            }
            _say(_figures(_measure(ways, given.songs, given.rounds), given.songs))
        finally:
            three.end()
    return 0


def _measure(ways: dict[str, Servers], songs: int, rounds: int) -> dict[str, list[Cost]]:
    for name, servers in ways.items():
        dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)
        seconds = dataset.load(servers.settings, _TABLE, songs, keyspace=servers.keyspace)
        say(f"{name}: {songs:,} rows loaded in {seconds:.0f} s")
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, servers in ways.items():
            cost = _once(servers)
            cpu = f"CPU client {cost.client_cpu:.1f} Cassandra {cost.cassandra_cpu:.1f} Postgres {cost.postgres_cpu:.1f}"
            say(f"  {number} {name}: {cost.seconds:.2f} s, {cpu}")
            if number:  # the first round warms the nodes up
                found[name].append(cost)
    return found


def _once(servers: Servers) -> Cost:
    _SYNC.clear(servers, _TABLE)
    command = [*_SYNC.command(_TABLE), "--workers", "1"]
    return measure(command, servers, {**servers.env, **_SYNC.env()}, make_folder() / "three.log")


def _figures(found: dict[str, list[Cost]], songs: int) -> str:
    lines = [
        f"{machine()}; one worker, {songs:,} songs; medians",
        "| | s | rows a second | of one node's | rows a client CPU second | rows a Cassandra CPU second |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    first = median(cost.seconds for cost in found["one node"])
    for name, costs in found.items():
        seconds, client, cassandra = (
            median(getattr(cost, what) for cost in costs) for what in ("seconds", "client_cpu", "cassandra_cpu")
        )
        rates = f"{songs / seconds:,.0f} | {first / seconds:.2f} | {songs / client:,.0f} | {songs / cassandra:,.0f}"
        lines.append(f"| {name} | {seconds:.2f} | {rates} |")
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
