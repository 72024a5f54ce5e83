"""What hides a target's rows or changes their writes: policies, children, rules, views; privileges that a flow lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.places import NewPlace, Place

from sync.errors import PreflightError
from sync.settings import load_config
from sync.stores.both_sides.dual import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    """A place whose role owns its table and is no superuser, to whom policies do not apply."""
    with new_place() as made:
        made.configure("schema_files = []\n")
        made.cql("CREATE TABLE KS.notes (id int PRIMARY KEY, v text)", "INSERT INTO KS.notes (id, v) VALUES (1, 'a')")
        role = made.keyspace.lower()
        made.sql(
            f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2'",
            f'GRANT CREATE, TEMPORARY ON DATABASE "{made.keyspace}" TO {role}',
            f"GRANT USAGE, CREATE ON SCHEMA public TO {role}",
        )
        try:
            yield Place(made.cassandra, made.settings, made.commands.but(POSTGRES_USER=role, POSTGRES_PASSWORD="hunter2"))
        finally:
            made.sql(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def run(place: Place, command: str, code: int = 0) -> str:
    found = place.commands.run(*command.split(), timeout=120)
    assert found.code == code, found
    return found.out + found.err


def migrated(place: Place) -> None:
    run(place, "migrate")
    run(place, "drift-report --workers 1")


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (
            ("ALTER TABLE notes ENABLE ROW LEVEL SECURITY", "ALTER TABLE notes FORCE ROW LEVEL SECURITY",
             "CREATE POLICY few ON notes USING (id < 0)"),
            "row-level security decides which rows of public.notes this role sees",
        ),
        (("CREATE TABLE child () INHERITS (notes)", "INSERT INTO child VALUES (2, 'b')"), "public.notes has children (child)"),
        (("CREATE RULE away AS ON INSERT TO notes DO INSTEAD NOTHING",), "public.notes has rules (away)"),
    ],
)  # fmt: skip
def test_what_hides_rows_is_said_before_each_proof(place: Place, statements: tuple[str, ...], said: str) -> None:
    """Would break: a digest of only the rows that a policy shows equals the source's, and the others go unnoticed."""
    migrated(place)
    place.sql(*statements)
    for command in ("preflight", "drift-report --workers 1", "cutover --dry-run", "backfill --workers 1"):
        assert said in run(place, command, 1), command


def test_a_policy_that_is_not_in_force_is_none(place: Place) -> None:
    """It does not apply to the table's owner, from whom nothing is hidden."""
    migrated(place)
    place.sql("ALTER TABLE notes ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON notes USING (id < 0)")
    run(place, "drift-report --workers 1")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("CREATE VIEW notes AS SELECT 1 AS id", "a view"),
        ("CREATE MATERIALIZED VIEW notes AS SELECT 1 AS id", "a materialized view"),
        ("CREATE SEQUENCE notes", "a sequence"),
        ("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE notes (id int) SERVER s",
         "a foreign table"),
        ("CREATE TYPE notes AS (id int)", "a type"),
        ("CREATE TYPE notes AS ENUM ('a')", "a type"),
        ("CREATE DOMAIN notes AS int", "a type"),
        ("CREATE TABLE other (id int); CREATE INDEX notes ON other (id)", "an index"),
    ],
)  # fmt: skip
def test_what_has_a_tables_name_and_is_none(place: Place, statement: str, kind: str) -> None:
    """Would break: preflight does not object, and `schema apply` ends with Postgres's own error."""
    place.sql(*statement.split("; "))
    said = f"notes is {kind} in Postgres, not a table; rename it, or give the table another target"
    assert said in run(place, "preflight", 1)
    assert place.commands.line("schema", "apply") == f"notes: {said}"


def test_a_trigger_is_said(place: Place) -> None:
    migrated(place)
    place.sql(
        "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER touches BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION public.touch()",
    )
    assert "triggers touches fire for every row that is copied" in run(place, "preflight")


def test_flows_that_the_targets_role_cannot_do(place: Place) -> None:
    """Would break: the copy succeeds, and the first dual write fails for a missing right."""
    migrated(place)
    role = place.commands.env["POSTGRES_USER"]
    place.sql(f"REVOKE DELETE ON notes FROM {role}", f"REVOKE UPDATE ON sync.intent FROM {role}")
    found = place.commands.run("preflight", "--json").json["flows"]
    assert "notes: this role lacks DELETE on notes" in found["dual writes"]["why"]
    assert "notes: this role lacks DELETE on notes" not in found["copy"]["why"]
    assert "target: this role lacks UPDATE on sync.intent" in found["reconcile"]["why"]
    place.sql(f"GRANT DELETE ON notes TO {role}", f"GRANT UPDATE ON sync.intent TO {role}")
    place.sql(f"ALTER ROLE {role} SET default_transaction_read_only = on")  # which each session of ours sets for itself
    found = place.commands.run("preflight", "--json").json["flows"]
    assert found["dual writes"]["why"] == []


def test_a_store_does_not_write_past_a_policy(place: Place) -> None:
    """A row that a policy hides looks absent: the store refuses the table by name."""
    migrated(place)
    place.sql("ALTER TABLE notes ENABLE ROW LEVEL SECURITY", "ALTER TABLE notes FORCE ROW LEVEL SECURITY")
    env = place.commands.env
    changes = {"postgres_user": env["POSTGRES_USER"], "postgres_password": env["POSTGRES_PASSWORD"]}
    settings = type(place.settings)(_env_file=None, **{**place.settings.model_dump(exclude_none=True), **changes})
    with (
        DualWriteStore(settings, load_config(place.commands.folder / "sync.toml")) as store,
        pytest.raises(PreflightError, match=r"row-level security decides which rows of public.notes"),
    ):
        store.put("notes", {"id": 1, "v": "b"})
