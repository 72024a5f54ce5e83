"""Writes into the pages what commands print in a real run: a block below `<!-- block: NAME -->` is what the run printed.

    python docs/make_blocks.py                  # every story, on servers of its own (some minutes), and the pages are written
    python docs/make_blocks.py guide tutorial   # these stories only
    python docs/make_blocks.py --check          # writes nothing; ends with 1 where a page shows other lines than the run

Figures, times and ports are as they were in the run. A check compares everything else. SYNC_TEST_SERVERS=FOLDER uses servers
that run there (`sync local up`).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/guide.md", "docs/tutorial.md")
_BLOCK = re.compile(r"(<!-- block: ([\w-]+) -->\n```\w+\n)(.*?)(^```$)", re.DOTALL | re.MULTILINE)
_PROGRESS = re.compile(r"^[\d-]+ [\d:]+ (\w+): (\d+)/(\d+) ranges, .* left")
_WIDEST = 130
Blocks = dict[str, str]
Told = Iterator[tuple[str, str]]
"""A story: its blocks one after the other, each as soon as it is there."""


@dataclass(frozen=True)
class Scene:
    """A keyspace, an empty database and a folder; commands run there as a user runs them."""

    session: Any
    keyspace: str
    folder: Path
    env: dict[str, str]

    def cql(self, *statements: str) -> None:
        """Run CQL in the keyspace: `KS.` stands for it."""
        for statement in statements:
            self.session.execute(statement.replace("KS.", f'"{self.keyspace}".'), timeout=60)

    def fill(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows."""
        marks = ", ".join("?" * len(columns.split(",")))
        insert = self.session.prepare(f'INSERT INTO "{self.keyspace}".{table} ({columns}) VALUES ({marks})')
        for future in [self.session.execute_async(insert, row) for row in rows]:
            future.result()

    def configure(self, toml: str) -> None:
        """Write sync.toml."""
        (self.folder / "sync.toml").write_text(toml, encoding="utf-8")

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start a program of this Python's, both outputs in one; Ctrl-C reaches it wherever this script runs."""
        return subprocess.Popen(
            [sys.executable, *command], cwd=self.folder, env={**os.environ, **self.env, **env}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )  # fmt: skip

    def run(self, *arguments: str, code: int = 0, seconds: float = 240) -> str:
        """What a command prints. Raises AssertionError where it ends with another exit code."""
        process = self.start("-m", "sync", *arguments)
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException:
            self.ended(process)  # it ends what it has started
            raise
        assert process.returncode == code, f"sync {' '.join(arguments)}: {process.returncode}\n{said}"
        return self._clean(said)

    def shown(self, *arguments: str, code: int = 0) -> str:
        """The same below its command line."""
        return f"$ sync {' '.join(arguments)}\n{self.run(*arguments, code=code)}"

    def ended(self, process: subprocess.Popen[str]) -> str:
        """Ctrl-C to a program, and what it has printed."""
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
        return self._clean(said)

    @contextmanager
    def worker(self, count: int = 1) -> Iterator[None]:
        """`sync worker`, for the time of a `with` block."""
        process = self.start("-m", "sync", "worker", "-n", str(count))
        try:
            yield
        finally:
            self.ended(process)

    def _clean(self, text: str) -> str:
        """The names of this run's places, host and user as a reader's own, and of progress the last state alone."""
        for name in ("ASTRA_DB_KEYSPACE", "POSTGRES_DATABASE"):
            text = text.replace(self.env[name], "music")
        text = text.replace(f"user {self.env['POSTGRES_USER']},", "user migrator,")
        host = socket.gethostname()
        text = re.sub(rf"\b\w+@{re.escape(host)}:", "ops@admin1:", text)
        if f"{host}:" in text:  # a writer's name: its column's header keeps its width
            text = re.sub("^writer( +)", lambda m: "writer".ljust(len(m[0]) + len("app1") - len(host)), text, flags=re.M)
            text = text.replace(f"{host}:", "app1:")
        lines, seen = [], set()
        for line in reversed(text.splitlines()):
            match = _PROGRESS.match(line)
            if not match or match[1] not in seen:
                lines.append(line)
            seen |= {match[1]} if match else set()
        return "\n".join(reversed(lines)) + "\n"


def short(text: str) -> str:
    """Long lines cut: they hold a table's whole definition."""
    return "".join(line if len(line) <= _WIDEST else f"{line[:_WIDEST]} …\n" for line in text.splitlines(keepends=True))


def until(true: Callable[[], Any], what: str) -> None:
    """Wait for it. Raises AssertionError after two minutes."""
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def lines_of(text: str, *parts: str) -> str:
    """The lines that hold one of these."""
    return "".join(line for line in text.splitlines(keepends=True) if any(part in line for part in parts))


def after(text: str, start: str) -> str:
    """From the line that begins so to the end."""
    return text[text.index(f"\n{start}") + 1 :] if not text.startswith(start) else text


EXAMPLE = (
    "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, artist text, album text, genre text, year int, duration double, "
    "created_at timestamp, updated_at timestamp)",
    "CREATE TABLE KS.metadata (song_id uuid PRIMARY KEY, data map<text, text>)",
    "CREATE TABLE KS.genres (name text PRIMARY KEY, description text, song_count int)",
    "CREATE TABLE KS.embeddings (song_id uuid PRIMARY KEY, model text, embedding vector<float, 8>, created_at timestamp)",
    "CREATE CUSTOM INDEX ON KS.embeddings (embedding) USING 'StorageAttachedIndex' "
    "WITH OPTIONS = {'similarity_function': 'cosine'}",
)
NUL = UUID(int=1)
"""The song whose title Postgres cannot hold."""


def key(i: int) -> UUID:
    """The i-th song's."""
    return UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4)


def vector(i: int) -> list[float]:
    """A direction of its own."""
    return [((i * 7919 * (n + 3)) % 1000 - 500) / 500 or 0.1 for n in range(8)]


def example(scene: Scene, songs: int) -> None:
    """The example's tables and so many songs, and one more."""
    scene.cql(*EXAMPLE)
    keys = [key(i) for i in range(1, songs + 1)]
    titles = [*((k, f"Tune No. {i}", "Anon.", 1700 + i % 300) for i, k in enumerate(keys, 1)), (NUL, "a\0b", "Anon.", 1900)]
    scene.fill("songs", "id, title, artist, year", titles)
    scene.fill("metadata", "song_id, data", [(k, {"no": str(i), "key": "D"}) for i, k in enumerate(keys)])
    scene.fill("embeddings", "song_id, model, embedding", [(k, "letters", vector(i)) for i, k in enumerate(keys)])
    scene.fill("genres", "name, song_count", [(name, 600) for name in ("jig", "reel", "hornpipe", "polka", "waltz")])


def tell_guide(scene: Scene, songs: int = 3000) -> Told:
    """docs/guide.md's steps 1 to 5: the plain copy and its proof."""
    example(scene, songs)
    yield "guide-preflight", short(scene.run("preflight", code=1))
    yield "guide-schema", scene.run("schema", "apply", "--example")
    yield "guide-schema-again", scene.run("schema", "apply", "--example")
    mapping = after(scene.run("preflight"), "embeddings →").split("\n\n")
    yield "guide-mapping", f"{mapping[0]}\n\n{mapping[2]}\n…\n{mapping[-1].splitlines()[-1]}\n"
    yield "guide-plan", scene.run("backfill", "--dry-run")
    yield "guide-backfill", scene.run("backfill")
    yield "guide-status", scene.run("status")
    yield "guide-rejects", scene.run("rejects")
    yield "guide-migrate", after(scene.run("migrate"), "Rows, by digest")


def tell_stopping(scene: Scene) -> Told:
    """docs/guide.md: a copy that is stopped, and workers on other hosts."""
    example(scene, 3000)
    scene.run("schema", "apply", "--example")
    tables = ("--table", "songs", "--table", "metadata")
    copy = scene.start("-m", "sync", "backfill", *tables, "--workers", "1", "--rate", "100")
    until(lambda: re.search(r"^songs +[1-9]", scene.run("status"), re.MULTILINE), "the backfill has copied nothing")
    time.sleep(6)  # progress is printed every five seconds
    yield "guide-stopped", scene.ended(copy)
    yield "guide-stopped-status", lines_of(scene.run("status"), "ranges done", "songs ", "metadata ", "next:")
    with scene.worker(3):
        until(lambda: "RQ workers: 3" in scene.run("status"), "three workers have not started")
        yield "guide-workers", lines_of(scene.run("status"), "RQ workers")


def tell_again(scene: Scene) -> Told:
    """docs/guide.md: what becomes of a reject, and a copy that is run again."""
    example(scene, 3000)
    songs = ("--table", "songs")
    scene.run("schema", "apply", "--example")
    scene.run("backfill", *songs)
    scene.configure('[tables.songs.on_reject]\ntitle = "strip-nul"\n')
    yield "guide-strip", after(scene.run("backfill", *songs), "table ")
    yield "guide-strip-rejects", scene.run("rejects")
    scene.cql(f"UPDATE KS.songs SET title = 'changed' WHERE id = {key(2)}", f"DELETE FROM KS.songs WHERE id = {key(3)}")
    said = scene.run("migrate", *songs, code=2)
    yield "guide-again", f"{after(said, 'Rows, by digest').split(chr(10) * 2)[0]}\n…\n{said.splitlines()[-1]}\n"
    yield "guide-again-intents", scene.run("intents")
    with scene.worker():
        until(lambda: "intents: 0 open" in scene.run("status"), "an intent stays open")
    said = scene.run("migrate", *songs, code=2)
    yield "guide-again-worker", after(said, "Rows, by digest").split("\n\n")[0] + "\n"


def tell_tables(scene: Scene) -> Told:
    """docs/guide.md: any other table; and what preflight says of TTL, static columns and counters."""
    scene.cql(
        'CREATE TABLE KS."Order" (region text, "when" timestamp, id timeuuid, "select" text, amount decimal, '
        'lines list<frozen<tuple<text, int>>>, tags set<text>, place inet, took duration, PRIMARY KEY ((region, id), "when"))'
    )
    order = 'target = "orders"\nrename = { when = "placed_at", select = "choice" }\nignore = ["took"]\n'
    scene.configure(f"[tables.Order]\n{order}")
    scene.run("schema", "apply")
    said = after(scene.run("preflight"), "Order →").split("\n\n")
    yield "guide-order", f"{said[0]}\n\n{said[2].strip()}\n"
    scene.cql(
        "CREATE TABLE KS.sessions (id uuid PRIMARY KEY, user text) WITH default_time_to_live = 86400",
        "CREATE TABLE KS.albums (artist text, title text, shelf text static, PRIMARY KEY (artist, title))",
        "CREATE TABLE KS.plays (song uuid PRIMARY KEY, times counter)",
    )
    scene.configure('exclude = ["Order"]\n')
    said = lines_of(scene.run("preflight", code=1), "error  ", "blocks  ", "warning  ")
    yield "guide-special", "".join(line for line in said.splitlines(keepends=True) if "has no table" not in line)


DUAL = {"STORAGE_BACKEND": "astra", "SYNC_DUAL_WRITE": "true"}
ALONE = {"STORAGE_BACKEND": "postgres", "SYNC_DUAL_WRITE": "false", "SYNC_ALLOW_ONE_SIDED": "true"}


def tell_tutorial(scene: Scene) -> Told:
    """docs/tutorial.md: a live migration from start to end, there, back and there again."""
    source, _ = scene.start(str(ROOT / "docs" / "tutorial_source.py")).communicate(timeout=240)
    assert "20,000 tunes" in source, source
    yield "tutorial-preflight", short(scene.shown("preflight", code=1))
    yield "tutorial-schema", scene.shown("schema", "apply")
    with scene.worker():
        with playing(scene, **DUAL) as application:
            yield "tutorial-writers", scene.shown("writers")
            yield "tutorial-backfill", scene.shown("backfill", "--writers", "1")
            yield "tutorial-drift", scene.shown("drift-report") + scene.shown("drift-report")
            yield "tutorial-gates", scene.shown("cutover", "--writers", "1", "--dry-run")
            yield "tutorial-cutover", switched(scene, "cutover")
            yield "tutorial-status", scene.shown("status")
            prove(scene)
            yield "tutorial-rollback", switched(scene, "rollback")
            prove(scene)
            yield "tutorial-again", switched(scene, "cutover")
            yield "tutorial-application", scene.ended(application)
        with playing(scene, **ALONE) as application:
            yield "tutorial-finish", scene.shown("finish", "--yes")
            yield "tutorial-alone", scene.ended(application)


def prove(scene: Scene) -> None:
    """Two clean passes, as the cut-over requires."""
    for _ in range(2):
        scene.run("drift-report")


@contextmanager
def playing(scene: Scene, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The tutorial's application, running."""
    process = scene.start(str(ROOT / "docs" / "tutorial_app.py"), **env)
    try:
        assert process.stdout
        while "is running" not in (line := process.stdout.readline()):
            assert line, "the application has not started"
        yield process
    finally:
        process.kill()
        process.wait()


def switched(scene: Scene, command: str) -> str:
    """A cut-over or rollback, below its gates; the application has three seconds before the next command."""
    said = scene.run(command, "--writers", "1", "--yes")
    time.sleep(3)
    return f"$ sync {command} --writers 1 --yes\n…\n" + said.split("\n\n")[-1]


def tell_demo(scene: Scene) -> Told:
    """README.md: what the demo prints, shortened, on a part of its tunes; it has servers of its own."""
    said = scene.run("demo", "--limit", "3000", seconds=1200)
    story, _, tables = said[said.index("inserted") :].partition("\nTunes most like")
    lines = story.partition("Rows, by digest")[0].splitlines()
    steps = "\n".join(line for line in lines if not line.startswith(("epoch ", "a migration is")))  # the application's log
    first = ("\nTunes most like" + tables).split("\n\n")[0].strip("\n").splitlines()[:4]
    yield "demo", steps.rstrip() + "\n…\n" + "\n".join(first) + "\n…\n" + "\n".join(said.splitlines()[-2:]) + "\n"


STORIES: dict[str, Callable[[Scene], Told]] = {
    "guide": tell_guide,
    "stopping": tell_stopping,
    "again": tell_again,
    "tables": tell_tables,
    "tutorial": tell_tutorial,
    "demo": tell_demo,
}


def shape(text: str) -> list[str]:
    """A block's lines without what changes from run to run: figures, times, the width of columns, an application's log."""
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b\d[\w.,:+-]*|(?<= )-(?= |$)", "0", text, flags=re.MULTILINE)
    text = re.sub(r"\b0 (gate|intent|key|range|reject|row|table|worker|write|writer)s\b", r"0 \1", text)
    text = re.sub(r", the oldest 0(?: s| old)?", "", text)  # of intents, where there are some
    return [" ".join(line.split()) for line in text.splitlines() if not re.match(r"epoch 0 \w+ is primary now$", line)]


def blocks_of(page: Path) -> Blocks:
    """The blocks of a page by their names."""
    return {name: text for _, name, text, _ in _BLOCK.findall(page.read_text(encoding="utf-8"))}


def differing(told: Blocks) -> list[str]:
    """The blocks whose page shows other lines than these, each with its first such line."""
    shown = {name: text for page in PAGES for name, text in blocks_of(ROOT / page).items()}
    found = []
    for name, text in told.items():
        pairs = zip([*shape(shown.get(name, "")), "(end)"], [*shape(text), "(end)"], strict=False)
        found += [f"{name}: the page has {a!r}, the run {b!r}" for a, b in pairs if a != b][:1]
    return found


def copied() -> Blocks:
    """Blocks that are files, not a run."""
    return {"tutorial-app": (ROOT / "docs" / "tutorial_app.py").read_text(encoding="utf-8")}


def write(told: Blocks) -> None:
    """Put the blocks into their pages."""
    for page in (ROOT / name for name in PAGES):
        text = page.read_text(encoding="utf-8")
        page.write_text(_BLOCK.sub(lambda m: m[1] + told.get(m[2], m[3]) + m[4], text), encoding="utf-8")


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """The embedded servers' settings; they end with the block unless they were given."""
    from sync import local

    given = os.environ.get("SYNC_TEST_SERVERS")
    folder = Path(given or ROOT / ".local-docs").resolve()
    try:
        yield local.up(folder, lambda text: None).env()
    finally:
        if not given:
            local.down(folder)


@contextmanager
def scene_of(env: dict[str, str], name: str) -> Iterator[Scene]:
    """A new keyspace and database, dropped at the end."""
    import psycopg

    from sync.adapters.cassandra.connection.connect import open_cassandra
    from sync.settings import Settings

    place = f"docs_{name}_{os.getpid()}"
    settings = Settings(_env_file=None, **{k.lower(): v for k, v in env.items() if k.lower() in Settings.model_fields})
    names = {"host": "HOST", "port": "PORT", "dbname": "DATABASE", "user": "USER", "password": "PASSWORD"}
    address = {option: env[f"POSTGRES_{name}"] for option, name in names.items()}
    with (
        open_cassandra(settings) as cassandra,
        psycopg.connect(**address, sslmode="disable", autocommit=True) as admin,
        tempfile.TemporaryDirectory() as folder,
    ):
        cassandra.session.execute(
            f"CREATE KEYSPACE {place} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        admin.execute(f"CREATE DATABASE {place}".encode())
        try:
            own = {"ASTRA_DB_KEYSPACE": place, "POSTGRES_DATABASE": place}
            own["REDIS_URL"] = re.sub(r"/\d*$", f"/{1 + list(STORIES).index(name)}", env["REDIS_URL"])
            yield Scene(cassandra.session, place, Path(folder), {**env, **own})
        finally:
            admin.execute(f"DROP DATABASE {place} WITH (FORCE)".encode())
            cassandra.session.execute(f"DROP KEYSPACE {place}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run stories; write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stories", nargs="*", metavar="STORY", help=f"of {', '.join(STORIES)} (all)")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has started and made goes with it
    told = copied()
    with servers() as env:
        for name in args.stories or STORIES:
            with scene_of(env, name) as scene:
                for block, text in STORIES[name](scene):
                    told[block] = text
                    if not args.check:
                        write(told)
                    sys.stdout.write(f"{block}\n")
                    sys.stdout.flush()
    wrong = differing(told) if args.check else []
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
