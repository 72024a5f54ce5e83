"""What every way of copying does to odd rows: one odd cell among twenty clean rows, and a second run.

    python -m benchmarks.hostile [--only sync,psycopg3] [--without spark] [--json FILE]

Starts servers of its own. Prints a table: a line per oddity, a column per way, in words what was observed.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from cassandra.query import BoundStatement
from psycopg import sql

from benchmarks import dataset
from benchmarks.backfill import choose
from benchmarks.dataset import EMBEDDINGS, SONGS, TABLES, Table
from benchmarks.meter import CommandFailed, measure
from benchmarks.peers import Peer
from benchmarks.peers.packages import NotHad
from benchmarks.rows import DIMENSION, Cells
from benchmarks.servers import Servers, make_folder, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra

_ROWS, _ODD = 21, 10
_KEYSPACE = "bench_hostile"
_YEAR_1 = struct.pack(">q", -62_135_596_800_000)
_NAN = struct.pack(">f", float("nan")) + struct.pack(">f", 0.5) * (DIMENSION - 1)
_ODD_TEXT = 'C:\\new\\table\\N, "quoted"\nand a second line\t\\.'


@dataclass(frozen=True, slots=True)
class Case:
    """One odd cell. `wanted`: the target's text of it; `possible` is false where Postgres has no such value."""

    name: str
    table: Table
    column: str
    cell: bytes | None
    wanted: str | None = None
    possible: bool = True


CASES = (
    Case("null text", SONGS, "genre", None),
    Case("empty text", SONGS, "title", b"", ""),
    Case("backslashes, quotes, line ends", SONGS, "description", _ODD_TEXT.encode(), _ODD_TEXT),
    Case("null map", SONGS, "attributes", None),
    Case("timestamp of the year 1", SONGS, "created_at", _YEAR_1, "0001-01-01 00:00:00+00"),
    Case("NUL in a text", SONGS, "title", b"a\x00b", possible=False),
    Case("null vector", EMBEDDINGS, "embedding", None),
    Case("NaN in a vector", EMBEDDINGS, "embedding", _NAN, possible=False),
)


def observe(servers: Servers, peer: Peer, case: Case) -> str:
    """Copy the case's table and say what came of it."""
    failed, said = _copy(servers, peer, case.table)
    arrived, odd_is_there, text = _target(servers, case)
    if failed:
        return f"stops, {arrived} of {_ROWS} rows loaded: {failed}"
    if not odd_is_there:
        left = "the others arrive" if arrived == _ROWS - 1 else f"{arrived} of {_ROWS} rows arrive"
        return f"row left out, {left}{said}"
    if not case.possible:
        return f"altered: {_short(text)}"
    return "as it is" if text == case.wanted else f"altered: {_short(text)}"


def second_run(servers: Servers, peer: Peer, table: Table) -> str:
    """Copy, change a row of the source, copy again."""
    failed, _ = _copy(servers, peer, table)
    if failed:
        return f"first run stops: {failed}"
    rows = list(table.make(0, _ROWS))
    rows[_ODD][table.columns.index("created_at")] = struct.pack(">q", 1_000)
    _fill(servers, table, rows)
    failed, said = _copy(servers, peer, table, fresh=False)
    arrived, _, text = _target(servers, Case("", table, "created_at", None))
    state = "changed row is taken over" if text == "1970-01-01 00:00:01+00" else "changed row is stale"
    return f"stops: {failed}; {state}" if failed else f"{arrived} rows, {state}{said}"


def _copy(servers: Servers, peer: Peer, table: Table, fresh: bool = True) -> tuple[str, str]:
    """Run the peer's command; its error, or nothing, and what it says of rows that it did not write."""
    try:
        if fresh:
            with servers.postgres() as connection:
                dataset.fresh_target(connection, table)
            if peer.before:
                peer.before(servers, table)
        env = {**servers.env, **peer.env()}
        cost = measure(peer.command(table), servers, env, make_folder() / "hostile.log", limit=120)
    except CommandFailed as error:
        return _short(str(error)), ""
    told = (cost.answer.get("tables") or [{}])[0]
    counts = [f"{told[name]} {name}" for name in ("rows_rejected", "rows_stale") if told.get(name)]
    return "", f"; it says: {', '.join(counts)}" if counts else ""


def _fill(servers: Servers, table: Table, rows: list[Cells]) -> None:
    dataset.drop_source(servers.settings, table, servers.keyspace)
    with open_cassandra(servers.settings) as source:
        dataset.make_source(source.session, table, servers.keyspace)
        marks, names = ", ".join("?" * len(table.columns)), ", ".join(table.columns)
        insert = source.session.prepare(f"INSERT INTO {servers.keyspace}.{table.name} ({names}) VALUES ({marks})")
        for cells in rows:
            bound = BoundStatement(insert)
            bound.values = cells
            source.session.execute(bound)


def _target(servers: Servers, case: Case) -> tuple[int, bool, str | None]:
    """Rows in the target, whether the odd one is among them, and the text of its odd column."""
    key = list(case.table.make(0, _ROWS))[_ODD][0]
    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(case.table.name))
    one = sql.SQL("SELECT {}::text FROM {} WHERE {} = encode(%s, 'hex')::uuid").format(
        *map(sql.Identifier, (case.column, case.table.name, case.table.key))
    )
    with servers.postgres() as connection:
        rows = (connection.execute(count).fetchone() or (0,))[0]
        odd = connection.execute(one, (key,)).fetchone()
    return rows, odd is not None, odd[0] if odd else None


def _short(text: str | None) -> str:
    if text is None:
        return "null"
    return repr(text) if len(text) < 3 else " ".join(text.split())[:90]


def run(servers: Servers, peers: list[Peer]) -> dict[str, dict[str, str]]:
    """Every case with every peer; songs first, because DSBulk cannot start beside a table with a vector."""
    dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)
    found: dict[str, dict[str, str]] = {}
    for case in CASES:
        rows = list(case.table.make(0, _ROWS))
        rows[_ODD][case.table.columns.index(case.column)] = case.cell
        if case.name == "null vector":  # the first with a vector
            found["second run, a row changed between"] = _second_runs(servers, peers)
        _fill(servers, case.table, rows)
        found[case.name] = {}
        for peer in (p for p in peers if case.table.name in p.tables):
            found[case.name][peer.name] = observe(servers, peer, case)
            say(f"{case.name}: {peer.name}: {found[case.name][peer.name]}")
    return found


def _second_runs(servers: Servers, peers: list[Peer]) -> dict[str, str]:
    found = {}
    for peer in (p for p in peers if SONGS.name in p.tables):
        _fill(servers, SONGS, list(SONGS.make(0, _ROWS)))
        found[peer.name] = second_run(servers, peer, SONGS)
        say(f"second run: {peer.name}: {found[peer.name]}")
    return found


def _had(peers: list[Peer]) -> list[Peer]:
    """Those whose packages can be had."""
    found = []
    for peer in peers:
        try:
            peer.command(next(t for t in TABLES.values() if t.name in peer.tables))
        except NotHad as why:
            say(f"{peer.name}: left out: {why}")
        else:
            found.append(peer)
    return found


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="ways, separated by commas")
    parser.add_argument("--without", default="", help="the same, to leave out")
    parser.add_argument("--json", type=Path, help="write what was observed to this file too")
    wanted = parser.parse_args()
    peers = _had(list(choose(wanted.only, wanted.without, quick=False)))
    with own_servers(_KEYSPACE, _KEYSPACE, name="hostile") as servers:
        found = run(servers, peers)
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1) + "\n")
    names = [p.name for p in peers]
    sys.stdout.write(f"| | {' | '.join(names)} |\n{'| --- ' * (len(names) + 1)}|\n")
    for case, by in found.items():
        cells = [by.get(name, "cannot start").replace("|", "\\|") for name in names]
        sys.stdout.write(f"| {case} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
