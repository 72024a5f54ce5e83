"""`make bench-arrays`: work for many keys: drains, resends, `put_many`, and the record of what was written alone.

    python -m benchmarks.arrays [--keys 100000] [--rounds 3] [--only drain,resend,record,put_many] [--json FILE]
    python -m benchmarks.arrays --against DIR     the same for the `sync` in DIR too: before and after, as a ratio

Each round takes every way, one code after the other, the order turned from round to round. Each runs in a process of its own,
`benchmarks/arrays_client.py`, which times its work without its start; both sides must be equal afterwards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.dual_client import song
from benchmarks.dual_write import TABLE, prepare
from benchmarks.meter import machine, measure, wait_until_calm
from benchmarks.servers import FOLDER, Servers, make_folder, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.postgres.connection.connect import connect
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Mutation, pack_cells, pack_key
from sync.settings import Config
from sync.stores import DualWriteStore
from sync.wiring.backfill.worker import map_tables

WAYS = {
    "drain": "drain of finished intents, one worker",
    "resend": "resend after a cut-over, one worker",
    "record": "record of writes that were accepted while Postgres was away",
    "put_many": "`put_many` of 1,000 rows",
}
_SENT_AT_ONCE = 64
_INTENTS = """
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation)
SELECT 'songs', key, source_key, token, 'put', 'finished', version, (SELECT max(epoch) FROM sync.epoch), 'bench:1', mutation
FROM public.bench_intent
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One way, run once by one code; CPU in seconds."""

    way: str
    code: str
    round: int
    keys: int
    seconds: float
    client: float
    cassandra: float
    postgres: float

    @property
    def rate(self) -> float:
        """Keys per second."""
        return self.keys / self.seconds


def fill(servers: Servers, keys: int) -> None:
    """Songs in Cassandra, and their intents in a table of the benchmark's own."""
    with DualWriteStore(servers.settings, Config()):
        pass  # makes the state schema
    with open_cassandra(servers.settings, 60) as source, closing(connect(servers.settings, autocommit=True)) as target:
        mapped = map_tables(source, target, servers.settings, Config(), [TABLE])[TABLE]
        rows, cells = SourceRows(source, mapped.source, 60), cells_of(mapped.source, RowEncoder(mapped, 0))
        source.session.execute(f"TRUNCATE {servers.keyspace}.{TABLE}", timeout=60)
        target.execute(b"DROP TABLE IF EXISTS public.bench_intent, public.bench_song")
        target.execute(
            b"CREATE TABLE public.bench_intent (key bytea, source_key bytea, token bigint, version bigint, mutation bytea)"
        )
        (now,) = target.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone() or (0,)
        with target.cursor() as cursor, cursor.copy("COPY public.bench_intent FROM STDIN") as copy:
            for at in range(0, keys, _SENT_AT_ONCE):
                songs = [song() for _ in range(min(_SENT_AT_ONCE, keys - at))]
                puts = [Mutation("put", cells.key(each), cells.row(each)) for each in songs]
                assert {outcome for outcome, _, _ in rows.write_many([(put, now) for put in puts])} == {"written"}
                for put in puts:
                    packed = pack_cells(put.key.cells, put.cells)
                    copy.write_row((put.key.canonical, pack_key(put.key.cells), put.key.token, now, packed))
        target.execute(b"ANALYZE public.bench_intent")


def set_up(servers: Servers, way: str) -> None:
    """What a way begins with."""
    with servers.postgres() as connection:
        connection.execute("SELECT set_config('sync.own', 'on', false)")  # no trigger for SQL writers fires
        connection.execute("TRUNCATE sync.intent, sync.tombstone, public.songs")
        primary = "postgres" if way == "resend" else "astra"
        connection.execute('UPDATE sync.epoch SET "primary" = %s', (primary,))
        if way == "resend":
            connection.execute("INSERT INTO public.songs SELECT * FROM public.bench_song")
        if way in ("drain", "resend"):
            connection.execute(_INTENTS)
        connection.execute("CHECKPOINT")


def check(servers: Servers, way: str, keys: int) -> None:
    """End with an error unless all is done; the first drain's rows are kept for resends."""
    with servers.postgres() as connection:
        (intents, songs) = connection.execute(
            "SELECT (SELECT count(*) FROM sync.intent), (SELECT count(*) FROM public.songs)"
        ).fetchone() or (0, 0)
        expected = (keys, 0) if way == "record" else (0, keys)
        if (intents, songs) != expected:
            raise SystemExit(f"{way}: {intents} intents and {songs} songs are left, not {expected}")
        if way == "drain":
            connection.execute("CREATE TABLE IF NOT EXISTS public.bench_song AS TABLE public.songs")


def run(servers: Servers, way: str, code: tuple[str, Path], number: int, keys: int) -> Run:
    """One way, once."""
    set_up(servers, way)
    wait_until_calm(servers, limit=20)
    command = [sys.executable, str(Path(__file__).with_name("arrays_client.py")), way, str(keys)]
    env = {"PYTHONPATH": f"{code[1].resolve()}:{FOLDER.parent}", **servers.env}
    cost = measure(command, servers, env, make_folder() / f"{way}.log", own_clock=True)
    done = int(cost.answer["keys"])
    made = Run(way, code[0], number, done, cost.seconds, cost.client_cpu, cost.cassandra_cpu, cost.postgres_cpu)
    check(servers, way, keys)
    say(f"  {number + 1} {way:<9} {code[0]:<8} {made.rate:9,.0f}/s")
    return made


def table(runs: Sequence[Run], against: str) -> str:
    """The medians, in Markdown."""
    out = [f"Servers and client on the same {machine()}.", ""]
    out += ["| | code | keys/s | CPU ms a key: client, Cassandra, Postgres | × |", "| --- " * 5 + "|"]
    for way in dict.fromkeys(each.way for each in runs):
        for code in dict.fromkeys(each.code for each in runs if each.way == way):
            found = [each for each in runs if (each.way, each.code) == (way, code)]
            cpu = [
                f"{statistics.median(spent * 1e3 / each.keys for each, spent in zip(found, of, strict=True)):.3f}"
                for of in zip(*((e.client, e.cassandra, e.postgres) for e in found), strict=True)
            ]
            ratio = _ratio(runs, way, against) if against and code == "this" else ""
            rate = statistics.median(each.rate for each in found)
            out.append(f"| {WAYS[way]} | {code} | {rate:,.0f} | {', '.join(cpu)} | {ratio} |")
    return "\n".join(out) + "\n"


def _ratio(runs: Sequence[Run], way: str, against: str) -> str:
    rates = {(each.code, each.round): each.rate for each in runs if each.way == way}
    rounds = sorted({number for code, number in rates if code == "this"})
    return f"{statistics.median(rates['this', n] / rates[against, n] for n in rounds):.2f}"


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000, help="of each way; put_many writes a fifth of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(WAYS), help="ways, separated by commas")
    parser.add_argument("--against", type=Path, metavar="DIR", help="a folder with another `sync` to measure beside this one")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    parser.add_argument("--keep", action="store_true", help="keep the servers, and use those that were kept")
    wanted = parser.parse_args()
    other = f"@{wanted.against.name}" if wanted.against else ""
    codes = [("this", FOLDER.parent), *([(other, wanted.against)] if wanted.against else [])]
    runs: list[Run] = []
    with own_servers("bench", "bench", keep=wanted.keep, name="dual") as servers:
        prepare(servers)
        fill(servers, wanted.keys)
        if "drain" not in wanted.only.split(","):  # resends begin with its rows
            run(servers, "drain", codes[0], 0, wanted.keys)
        for number in range(wanted.rounds):
            for way in wanted.only.split(","):
                for code in codes[:: -1 if number % 2 else 1]:
                    runs.append(run(servers, way, code, number, wanted.keys // 5 if way == "put_many" else wanted.keys))
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(each) for each in runs], indent=1) + "\n")
    sys.stdout.write(table(runs, other))


if __name__ == "__main__":
    main()
