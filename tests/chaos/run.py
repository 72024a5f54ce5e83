"""`python -m tests.chaos.run --trials 50 --seed 1`: kill processes at every step of the protocol, and print what was lost.

The trials of a point have the seeds `<seed>:<point>:<number>`; a failed one is printed with the command that runs it again.
`SYNC_TEST_SERVERS=<folder>` uses servers that run there already. Exit code 2 where anything was lost.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from psycopg import sql  # noqa: E402
from support.commands import Commands, environment  # noqa: E402
from support.places import Place  # noqa: E402
from support.servers import given, servers_folder  # noqa: E402
from support.two_data_centres import TwoDataCentres, start  # noqa: E402

from chaos.trial import CROWD, CUT, ENDS, FULL, JUMPS, POINTS, TWO, Arena, Verdict  # noqa: E402
from sync import local  # noqa: E402
from sync.adapters.cassandra.connection.connect import open_cassandra  # noqa: E402
from sync.adapters.postgres.connection.connect import Connection, connect  # noqa: E402
from sync.settings import Settings  # noqa: E402

TROUBLES = (CUT, *ENDS, JUMPS, FULL)
"""Trials in which no process is killed."""
DISK_MB = 48
say = functools.partial(print, flush=True)
SIMPLE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
BOTH = "{'class': 'NetworkTopologyStrategy', 'dc1': 1, 'dc2': 1}"


def main(argv: list[str]) -> int:
    """Run the trials; 0, or 2 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="of each crash point")
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument(
        "--point", action="append", choices=[*POINTS, CROWD, *TROUBLES, TWO], help="only this one (may be repeated)"
    )
    parser.add_argument("--number", type=int, help="only the trial of this number")
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    began = time.monotonic()
    failed: list[Verdict] = []
    unreached = []
    say(f"seed {args.seed}, {args.trials} trials of each crash point\n")
    say("| crash point | trials | killed there | lost | resurrected | stale | seconds |")
    say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    points, numbers = (
        args.point or [*POINTS, CROWD, *TROUBLES, TWO],
        range(args.trials) if args.number is None else [args.number],
    )
    for opened, those in ((arena, [p for p in points if p != TWO]), (two_arena, [p for p in points if p == TWO])):
        if not those:
            continue
        with opened() as made:
            for point in those if made.disk else [p for p in those if p != FULL]:
                verdicts = run_point(made, point, [f"{args.seed}:{point}:{n}" for n in numbers])
                failed += [v for v in verdicts if v.faults]
                if point not in TROUBLES and args.number is None and not any(v.killed for v in verdicts):
                    unreached.append(point)
            if FULL in those and not made.disk:
                say(f"\n{FULL}: not tried, since this user may not mount a small disk")
    say(f"\n{time.monotonic() - began:.0f} s in all")
    for verdict in failed:
        number = verdict.seed.rsplit(":", 1)[1]
        say(f"\n{verdict.seed}\n  " + "\n  ".join(verdict.faults))
        say(f"  again: python -m tests.chaos.run --seed {args.seed} --point '{verdict.point}' --number {number}")
    for point in unreached:
        say(f"\n{point}: no trial reached it")
    return 2 if failed or unreached else 0


def run_point(made: Arena, point: str, seeds: list[str]) -> list[Verdict]:
    """Run the trials of one crash point, and print their line of the table."""
    began = time.monotonic()
    verdicts = [made.trial(point, seed) for seed in seeds]
    counts = [sum(bool(getattr(v, what)) for v in verdicts) for what in ("killed", "lost", "resurrected", "stale")]
    cells = [point, len(verdicts), *counts, f"{time.monotonic() - began:.0f}"]
    say(f"| {' | '.join(map(str, cells))} |")
    return verdicts


@contextmanager
def arena() -> Iterator[Arena]:
    """A place for the trials."""
    with small_disk() as disk, own_place("chaos", disk) as place:
        made = Arena(place, disk)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def two_arena() -> Iterator[Arena]:
    """The same in the first of two data centres."""
    with tempfile.TemporaryDirectory() as name:
        cluster = start(Path(name))
        try:
            with own_place("chaos_two", cluster=cluster) as place:
                made = Arena(place, other=cluster.nodes["dc2"].pid or 0)
                try:
                    yield made
                finally:
                    made.close()
        finally:
            cluster.end()


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A disk that can be filled up; None where this user may not mount one."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0777", "tmpfs", name]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


@contextmanager
def own_place(purpose: str, disk: Path | None = None, cluster: TwoDataCentres | None = None) -> Iterator[Place]:
    """A keyspace, a database and a queue for this run, outside pytest; on that disk and in that cluster, if given."""
    known = {k.lower(): v for k, v in local.up(servers_folder()).env().items() if k.lower() in Settings.model_fields}
    name = f"{purpose}_{os.getpid()}"
    base = Settings(_env_file=None, **known)  # type: ignore[call-arg,arg-type]
    base = cluster.settings(base, "dc1") if cluster else base
    settings = base.model_copy(update={"astra_db_keyspace": name, "postgres_database": name})
    with (
        tempfile.TemporaryDirectory() as temporary,
        open_cassandra(base) as cassandra,
        connect(base, autocommit=True) as admin,
    ):
        valkey = local.ValkeyServer(Path(temporary) / "valkey")
        valkey.start()
        cassandra.session.execute(f"CREATE KEYSPACE {name} WITH replication = {BOTH if cluster else SIMPLE}", timeout=60)
        make_database(admin, name, disk)
        commands = Commands(Path(temporary), {**environment(settings), "REDIS_URL": valkey.url})
        try:
            yield Place(cassandra, settings, commands)
        finally:
            commands.zygote.end()
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            if disk:
                admin.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))
            cassandra.session.execute(f"DROP KEYSPACE {name}", timeout=60)
            valkey.remove()
            if not given():
                local.down(servers_folder())


def make_database(admin: Connection, name: str, disk: Path | None) -> None:
    """A database; in a tablespace on the disk, if there is one."""
    if disk is None:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return
    folder = disk / "tables"
    folder.mkdir()
    (data,) = admin.execute("SHOW data_directory").fetchone() or ("",)
    owner = Path(data).stat()
    shutil.chown(folder, owner.st_uid, owner.st_gid)
    location = sql.Literal(str(folder))
    admin.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(name), location))
    admin.execute(sql.SQL("CREATE DATABASE {} TABLESPACE {}").format(sql.Identifier(name), sql.Identifier(name)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
