"""A table whose rows expire goes to Postgres and back by an operator's commands, with their proof and their canary."""

from __future__ import annotations

import pytest
from support.places import NewPlace

from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TOML = """
schema_files = []
[drift]
grace_seconds = 0.1
[tables.songs]
ttl = "expire"
"""


def test_there_and_back(new_place: NewPlace) -> None:
    """Would break: a gate is red for rows that expire, or a switch loses the TTL of what either side wrote."""
    with new_place() as place:
        place.cql(
            "CREATE TABLE KS.songs (id int PRIMARY KEY, title text)",
            "INSERT INTO KS.songs (id, title) VALUES (1, 'copied') USING TTL 9000",
            "INSERT INTO KS.songs (id, title) VALUES (2, 'for good')",
        )
        place.configure(TOML)
        config = load_config(place.commands.folder / "sync.toml")

        def run(*argv: str) -> None:
            done = place.commands.run(*argv, timeout=120)
            assert done.code == 0, done

        run("schema", "apply")
        run("backfill", "--workers", "1")
        with DualWriteStore(place.settings, config) as store:
            store.put("songs", {"id": 3, "title": "before"}, ttl=8000)
        place.prove()
        run("cutover", "--yes", "--no-writers")
        with DualWriteStore(place.settings.model_copy(update={"storage_backend": "postgres"}), config) as store:
            store.put("songs", {"id": 4, "title": "after"}, ttl=7000)
            store.put("songs", {"id": 2, "title": "for good, again"})
            found = [store.get("songs", {"id": number}) for number in (1, 2, 3, 4)]
        assert [row and row["title"] for row in found] == ["copied", "for good, again", "before", "after"]
        place.prove()
        run("rollback", "--yes", "--no-writers")
        left = dict(place.cql("SELECT id, TTL(title) FROM KS.songs"))
        assert left.pop(2) is None
        assert {number: most - 1000 < left[number] <= most + 1 for number, most in ((1, 9000), (3, 8000), (4, 7000))} == {
            1: True, 3: True, 4: True,
        }  # fmt: skip
