"""`sync schema apply` and the migrations themselves."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.places import NewPlace, Place

from sync.adapters.postgres.connection.connect import connect, connection_string
from sync.adapters.postgres.schema import migrations
from sync.local.postgres import PostgresServer

pytest_plugins = ("support.fixtures",)

EXAMPLE = Path(__file__).parents[2] / "migrations" / migrations.EXAMPLE
NOTHING = "nothing to do: the schema is up to date\n"
BOTH = ["applied 002_postgres_schema.sql", "applied 003_sync_state.sql"]
GUIDE = {"songs", "metadata", "genres", "embeddings"}
WATCHED = [f"{table}: triggers for SQL writers" for table in sorted(GUIDE)]
UNWATCH = r"""DO $$ DECLARE t record; BEGIN
    FOR t IN SELECT tgname, tgrelid::regclass AS of FROM pg_trigger WHERE tgname LIKE '\_sync%' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.of);
    END LOOP;
    FOR t IN SELECT oid::regprocedure AS name FROM pg_proc WHERE proname ~ '^sql_.*ed_' LOOP
        EXECUTE format('DROP FUNCTION %s', t.name);
    END LOOP;
END $$"""


@pytest.fixture(scope="module", autouse=True)
def source(place: Place) -> Iterator[None]:
    """The example's tables in the source, with vectors of 8 dimensions: `schema apply --source` makes them."""
    done = place.commands.run("schema", "apply", "--source", "--dimension", "8", "--json")
    assert done.code == 0, done
    made = [line for line in done.json["done"] if line.startswith("source: ")]
    assert len(made) == 5
    yield


def program(name: str) -> str:
    return str(PostgresServer(Path("/nowhere")).program_path(name))


def dump(place: Place) -> list[str]:
    """The database's whole schema, without the record of migrations."""
    command = [program("pg_dump"), "--schema-only", "--exclude-table=sync.migration", connection_string(place.settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "restrict" not in line]  # a random word a run


def without_orders(schema: list[str]) -> list[str]:
    """A dump without what only the source tells: how Cassandra orders the rows of a key."""
    at = [n for n, line in enumerate(schema) if line.startswith("COMMENT ON CONSTRAINT ") and "Cassandra key: " in line]
    # Four lines before each belong to it, and two after it.
    return [line for n, line in enumerate(schema) if not any(m - 4 <= n <= m + 2 for m in at)]


def psql(place: Place, text: str, options: str = "") -> str:
    """Run a file's text as `psql < file` does; return its stderr."""
    command = [program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", connection_string(place.settings)]
    env = {**os.environ, "PGOPTIONS": options}
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, env=env).stderr


def vector_of(place: Place) -> tuple[str, str | None]:
    """The type of embeddings.embedding and its index."""
    ((kind,),) = place.sql(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'embeddings'::regclass AND attname = 'embedding'"
    )
    found = place.sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'embeddings_embedding_idx'")
    return str(kind), str(found[0][0]) if found else None


def test_the_second_time_there_is_nothing_to_do(fresh: Place) -> None:
    """An `apply` that repeated finished work would take locks, or fail, at each deployment."""
    first = fresh.commands.run("schema", "apply", "--example", "--json")
    assert first.json == {"dry_run": False, "done": BOTH + WATCHED}
    assert fresh.commands.run("schema", "apply", "--example", "--json").json == {"dry_run": False, "done": []}
    again = fresh.commands.run("schema", "apply", "--example", "--source")
    assert (again.code, again.out, again.err) == (0, NOTHING, "")
    assert fresh.sql("SELECT name FROM sync.migration ORDER BY name") == [(n.split()[1],) for n in BOTH]


def test_several_at_once(fresh: Place) -> None:
    """Two deployments at the same moment must neither fail nor apply anything twice."""
    running = [fresh.commands.start("schema", "apply", "--example") for _ in range(3)]
    ended = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], ended
    assert sorted(out for out, _ in ended) == sorted(["\n".join(BOTH + WATCHED) + "\n", NOTHING, NOTHING])


def test_a_fresh_schema_is_all_migrations_in_turn(fresh: Place, new_place: NewPlace) -> None:
    """Applying file by file, again, or with psql must give exactly the schema that a newcomer gets."""
    assert fresh.commands.run("schema", "apply", "--example").code == 0
    with new_place() as other:
        for text in migrations.texts(example=True).values():
            psql(other, text, "-c sync.dimension=8")
        with closing(connect(other.settings, autocommit=True)) as connection:
            for name, text in migrations.texts(example=True).items():
                assert migrations.apply(connection, name, text, 8)
                assert not migrations.apply(connection, name, text, 8)
                assert migrations.apply(connection, name, f"{text}-- changed\n", 8)
        fresh.sql(UNWATCH)
        assert dump(other) == without_orders(dump(fresh))


def test_a_state_of_an_older_version_is_said(fresh: Place) -> None:
    """Would break: on an older state, applications and commands fail with Postgres's error about a missing column."""
    assert fresh.commands.run("schema", "apply").code == 0
    fresh.sql("ALTER TABLE sync.ahead DROP COLUMN source_key")  # as in a state from before it
    for command in (("cutover", "--dry-run"), ("drift-report",), ("backfill",)):
        done = fresh.commands.run(*command)
        assert done.code == 1 and "of an older version: run `sync schema apply`" in done.err, done
    fresh.sql("DELETE FROM sync.migration WHERE name = '003_sync_state.sql'")  # whose text was another one
    assert fresh.commands.run("schema", "apply").code == 0
    assert fresh.commands.run("cutover", "--dry-run").code == 2


def test_the_applications_tables_are_not_among_the_states(fresh: Place) -> None:
    """A role named like the state's schema has it first in its search path: `sync finish` would drop the application."""
    assert fresh.settings.postgres_user == "sync"
    assert fresh.commands.run("schema", "apply", "--example").code == 0
    homes = fresh.sql("SELECT schemaname FROM pg_tables WHERE tablename IN ('songs', 'metadata', 'genres', 'embeddings')")
    assert homes == [("public",)] * 4
    home = "SELECT nspname FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'vector'"
    assert fresh.sql(home) == [("public",)]
    with closing(connect(fresh.settings)) as connection:
        assert connection.execute("SELECT to_regclass('run'), current_setting('search_path')").fetchone() == (None, "public")
        connection.rollback()
        assert connection.execute("SHOW search_path").fetchone() == ("public",)


@pytest.mark.parametrize(
    ("options", "kind", "index"),
    [
        ("", "vector(1536)", "USING hnsw (embedding vector_cosine_ops)"),
        ("-c sync.dimension=3", "vector(3)", "USING hnsw (embedding vector_cosine_ops)"),
        ("-c sync.dimension=3000", "vector(3000)", "USING hnsw (((embedding)::halfvec(3000)) halfvec_cosine_ops)"),
        ("-c sync.dimension=5000", "vector(5000)", None),
    ],
)
def test_the_guides_schema_alone_through_psql(fresh: Place, options: str, kind: str, index: str | None) -> None:
    """`psql < 002` must work alone, twice, for every dimension; where no index is possible it says so and goes on."""
    said = psql(fresh, EXAMPLE.read_text(), options) + psql(fresh, EXAMPLE.read_text(), options)
    found, definition = vector_of(fresh)
    assert found == kind
    assert definition is None if index is None else definition and definition.endswith(index)
    assert ("embeddings.embedding has 5000 dimensions: pgvector indexes up to 4,000" in said) == (index is None)
    assert {name for (name,) in fresh.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")} == GUIDE
    methods = fresh.sql("SELECT tablename || ' ' || indexdef FROM pg_indexes WHERE indexname = 'metadata_data_idx'")
    assert "USING gin (data)" in methods[0][0]
    dimension = re.findall(r"\d+", kind)[0]
    fresh.sql(
        f"INSERT INTO embeddings (song_id, embedding) VALUES (gen_random_uuid(), array_fill(0.5, ARRAY[{dimension}])::vector)"
    )
    near = f"SELECT song_id FROM embeddings ORDER BY embedding <=> array_fill(0.25, ARRAY[{dimension}])::vector LIMIT 1"
    assert len(fresh.sql(near)) == 1


def test_the_dimension_is_the_sources(fresh: Place) -> None:
    """A target of 1,536 dimensions takes no row of a source with 8; a contradicting --dimension is refused."""
    assert fresh.commands.run("schema", "apply", "--example").code == 0
    assert vector_of(fresh)[0] == "vector(8)"
    line = fresh.commands.line("schema", "apply", "--example", "--dimension", "9")
    assert line == "--dimension 9, but the source's embeddings have 8: leave it out"


def test_a_dimension_without_an_index_is_said(new_place: NewPlace) -> None:
    """A search that is slow for want of an index must not come as a surprise."""
    with new_place() as made:
        made.cql("CREATE TABLE KS.genres (name text PRIMARY KEY)")
        done = made.commands.run("schema", "apply", "--example", "--dimension", "5000", "--json").json["done"]
    note = "note: embeddings.embedding has 5000 dimensions: pgvector indexes up to 4,000; searches will be exact"
    assert done == [*BOTH, WATCHED[1], note]


def test_the_sources_tables_and_their_vector_index(place: Place) -> None:
    """migrations/001 must give the guide's four tables, with an index that answers a search."""
    tables = place.cql(f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{place.keyspace}'")
    assert {row.table_name for row in tables} == GUIDE
    (index,) = place.cql(f"SELECT * FROM system_schema.indexes WHERE keyspace_name = '{place.keyspace}'")
    assert (index.table_name, index.kind, index.options["target"]) == ("embeddings", "CUSTOM", "embedding")
    assert index.options["class_name"].endswith("StorageAttachedIndex")
    place.cql("INSERT INTO KS.embeddings (song_id, embedding) VALUES (uuid(), [1, 0, 0, 0, 0, 0, 0, 0])")
    near = "SELECT song_id FROM KS.embeddings ORDER BY embedding ANN OF [1, 0, 0, 0, 0, 0, 0, 1] LIMIT 1"
    assert len(place.cql(near)) == 1


def test_a_dry_run_writes_nothing(fresh: Place, new_place: NewPlace) -> None:
    """A dry run must print exactly what would be done, and change nothing on either side."""
    before = dump(fresh)
    fresh.cql("ALTER TABLE KS.genres ADD extra int")
    try:
        done = fresh.commands.run("schema", "apply", "--example", "--dry-run", "--json").json
        assert done["dry_run"] is True
        orders = [text for text in done["done"] if text.startswith("COMMENT ON CONSTRAINT ")]
        assert [text.split()[3] for text in orders] == [f'"{table}_pkey"' for table in sorted(GUIDE)]
        triggers = [text for text in done["done"] if "TRIGGER" in text and not text.startswith("-- ")]
        assert len(triggers) == 5 * 2 * len(GUIDE)
        others = [text for text in done["done"] if text not in orders and text not in triggers]
        home, *scripts, extra = (text for text in others if not text.startswith("CREATE OR REPLACE FUNCTION sync.sql_"))
        assert home == "SET search_path TO public;"
        assert [script.splitlines()[0] for script in scripts] == [f"-- {line.split()[1]}" for line in BOTH]
        for name, script in zip(migrations.texts(example=True), scripts, strict=True):
            assert migrations.texts(example=True)[name].strip() in script
            assert f"INSERT INTO sync.migration (name, checksum) VALUES ('{name}', " in script
        assert "SELECT set_config('sync.dimension', '8', true);" in scripts[0]
        assert extra == f"{ADD_EXTRA};"
        assert dump(fresh) == before
        assert fresh.commands.run("schema", "apply", "--example", "--json").json["done"] == [
            *BOTH,
            WATCHED[0],
            ADD_EXTRA,
            *WATCHED[1:],
        ]
    finally:
        fresh.cql("ALTER TABLE KS.genres DROP extra")
    with new_place() as empty:
        done = empty.commands.run("schema", "apply", "--example", "--source", "--dry-run", "--json").json["done"]
        assert [text.startswith("-- source\nCREATE ") and text.endswith(";") for text in done] == [True] * 5 + [False]
        assert not empty.cql(f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{empty.keyspace}'")


ADD_EXTRA = 'ALTER TABLE "public"."genres" ADD COLUMN "extra" integer'


def test_what_the_target_lacks_is_made(fresh: Place) -> None:
    """A table or column that somebody dropped, or that the source got later, comes back with the next `apply`."""
    assert fresh.commands.run("schema", "apply", "--example").code == 0
    fresh.sql("ALTER TABLE songs DROP COLUMN year", "DROP TABLE genres")
    done = fresh.commands.run("schema", "apply", "--example", "--json").json["done"]
    assert done == [
        'CREATE TABLE "genres" ("name" text, "description" text, "song_count" integer, PRIMARY KEY ("name"))',
        "genres: triggers for SQL writers",
        'ALTER TABLE "public"."songs" ADD COLUMN "year" integer',
    ]
    assert fresh.commands.run("schema", "apply", "--example").out == NOTHING


def test_the_examples_schema_is_for_who_asks_for_it(fresh: Place, new_place: NewPlace) -> None:
    """Would break: an application with a table `songs` gets the example's columns, indexes and three other tables."""
    assert fresh.commands.run("schema", "apply", "--json").json["done"][:2] == [BOTH[1], "CREATE EXTENSION vector"]
    indexes = fresh.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    assert sorted(name for (name,) in indexes) == sorted(f"{table}_pkey" for table in GUIDE)
    with new_place() as made:
        made.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        done = made.commands.run("schema", "apply", "--json").json["done"]
        assert done == [BOTH[1], 'CREATE TABLE "songs" ("id" uuid, "title" text, PRIMARY KEY ("id"))', WATCHED[-1]]
        assert made.sql("SELECT extname FROM pg_extension WHERE extname = 'vector'") == []


def test_what_a_dry_run_prints_can_be_run(fresh: Place, new_place: NewPlace) -> None:
    """Would break: a dry run shows a DBA other statements than those that are run, or not all of them."""
    printed = fresh.commands.run("schema", "apply", "--dry-run").out
    with new_place() as other:
        psql(other, printed)
        assert fresh.commands.run("schema", "apply").code == 0
        assert dump(other) == dump(fresh)


def test_the_example_and_own_files_are_one_too_many(fresh: Place) -> None:
    """Would break: one of the two is applied, and nobody knows which."""
    fresh.configure('schema_files = ["own.sql"]\n')
    line = fresh.commands.line("schema", "apply", "--example")
    assert line == "--example makes the example's tables, and sync.toml has schema_files: leave one of them out"


def test_preflight_announces_what_would_be_made(fresh: Place) -> None:
    """Would break: preflight names other tables than `schema apply` makes, or omits the extension and the state."""
    told = fresh.commands.run("preflight", "--json").json["to_make"]
    assert told == [
        {"kind": "schema", "name": "sync, the state of the migration"},
        {"kind": "extension", "name": "vector"},
        *({"kind": "table", "name": name} for name in sorted(GUIDE)),
    ]
    assert (
        "schema     sync, the state of the migration\nextension  vector\ntable      " in fresh.commands.run("preflight").out
    )
    fresh.configure('schema_files = ["own.sql"]\n')
    assert fresh.commands.run("preflight", "--json").json["to_make"][0] == {
        "kind": "file",
        "name": "own.sql, as sync.toml says",
    }
    fresh.configure("")
    assert fresh.commands.run("schema", "apply").code == 0
    assert fresh.commands.run("preflight", "--json").json["to_make"] == []


def test_own_files_are_applied_first(fresh: Place) -> None:
    """An application's own schema is applied as it stands; what it lacks is added, pgvector and schemas included."""
    folder = fresh.commands.folder
    for name in ("one", "two"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "schema.sql").write_text(f"CREATE TABLE IF NOT EXISTS {name} (k int PRIMARY KEY)")
    tables = '[tables.songs]\ntarget = "Other One.songs"\n'
    (folder / "sync.toml").write_text(
        f'schema_files = ["one/schema.sql", "two/schema.sql"]\nonly = ["embeddings", "songs"]\n{tables}'
    )
    done = fresh.commands.run("schema", "apply", "--json").json["done"]
    assert done[:3] == ["applied one/schema.sql", "applied two/schema.sql", BOTH[1]]
    assert [line.split(" (")[0] for line in done[3:]] == [
        "CREATE EXTENSION vector",
        'CREATE TABLE "embeddings"',
        "embeddings: triggers for SQL writers",
        'CREATE SCHEMA "Other One"',
        'CREATE TABLE "Other One"."songs"',
        "Other One.songs: triggers for SQL writers",
    ]
    assert fresh.commands.run("schema", "apply").out == NOTHING
    (folder / "one" / "schema.sql").write_text("CREATE TABLE IF NOT EXISTS three (k int PRIMARY KEY)")
    assert fresh.commands.run("schema", "apply").out == "applied one/schema.sql\n"


@pytest.mark.parametrize(
    ("before", "second", "said"),
    [
        ((), "SELECT 1/0", "bad.sql: division by zero"),
        ((), "CREATE TABLE half (k nonsense)", 'bad.sql: type "nonsense" does not exist'),
        ((), "SELEC", 'bad.sql: syntax error at or near "SELEC"'),
        (
            ("CREATE VIEW public.songs AS SELECT 1",),
            "SELECT 1",
            "songs: songs is a view in Postgres, not a table; rename it",
        ),
    ],
)
def test_a_failure_leaves_nothing_half_done(fresh: Place, before: tuple[str, ...], second: str, said: str) -> None:
    """Half a schema cannot be told from a whole one at the next attempt."""
    folder = fresh.commands.folder
    (folder / "bad.sql").write_text(f"CREATE TABLE half (k int);\nCREATE SCHEMA half;\n{second};\n")
    (folder / "sync.toml").write_text('schema_files = ["bad.sql"]\n')
    fresh.sql("SELECT 1", *before)
    schema = dump(fresh)
    assert fresh.commands.line("schema", "apply").startswith(said)
    assert dump(fresh) == schema


@pytest.mark.parametrize(
    "text", ["BEGIN;\nCREATE TABLE half (k int);\nCOMMIT;", "CREATE TABLE half (k int); rollback work ;"]
)
def test_an_own_file_with_a_transaction_of_its_own_is_refused(fresh: Place, text: str) -> None:
    """Its COMMIT would commit everything before it, and a failure after it would leave things half done."""
    (fresh.commands.folder / "own.sql").write_text(text)
    fresh.configure('schema_files = ["own.sql"]\n')
    line = fresh.commands.line("schema", "apply")
    assert (
        line == "sync.toml: schema_files: remove BEGIN, COMMIT and ROLLBACK from own.sql: the whole file is one transaction"
    )
    block = "DO $$ BEGIN\n PERFORM 1; END; $$; -- commit;\nDO $x$\nBEGIN PERFORM 2;\nEND;\n$x$;"
    (fresh.commands.folder / "own.sql").write_text(block)
    assert fresh.commands.run("schema", "apply").code == 0


def test_a_missing_own_file_is_named(fresh: Place) -> None:
    """A typo in sync.toml must not lead to another schema."""
    (fresh.commands.folder / "sync.toml").write_text('schema_files = ["gone.sql"]\n')
    assert "gone.sql" in fresh.commands.line("schema", "apply")
