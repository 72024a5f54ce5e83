"""A row that is changed on one side alone and read by the application makes the gate `shadow reads` red, until a clean pass."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from support.dual import Table
from support.places import NewPlace
from support.running_commands import until

from switches.scene import TOML, Scene, scene
from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


def gates(home: Scene) -> dict[str, dict[str, Any]]:
    found = home.run("cutover", "--dry-run", "--no-writers", "--json").json["gates"]
    return {gate["name"]: gate for gate in found}


def test_a_difference_is_a_blocker_until_a_clean_pass(new_place: NewPlace) -> None:
    """Would break: somebody writes one side past the store, the application reads it, and the older proof allows a cut-over."""
    with new_place() as place, scene(place, rows=3) as home:
        home.prove()
        assert gates(home)["shadow reads"]["figure"] == "none compared (shadow_reads in sync.toml)"
        place.configure(TOML.replace("[dual_write]", "[dual_write]\nshadow_reads = 1.0"))
        config = load_config(place.commands.folder / "sync.toml")
        ((key,),) = place.sql("SELECT id FROM pairs LIMIT 1")
        with DualWriteStore(place.settings, config) as store:
            store.get("pairs", {"id": key})
            until(lambda: shown(home)["compared"] == 1, 30, "it is compared")
            assert gates(home)["shadow reads"]["figure"] == "1 answer compared, no difference since the last clean pass"
            place.sql(f"UPDATE pairs SET a = 'planted' WHERE id = '{key}'")
            store.get("pairs", {"id": key})
            until(lambda: shown(home)["differing"] == 1, 30, "the difference is found")
        reconcile(home, key)
        red = {name for name, gate in gates(home).items() if not gate["green"]}
        assert red == {"shadow reads"}, "the proof is older, and the key is equal again"
        assert gates(home)["shadow reads"]["figure"] == "2 answers compared; since the last clean pass: pairs 1 key"
        assert "gate shadow reads: 2 answers compared; since the last clean pass: pairs 1 key" in home.run("status").out
        refused = home.run("cutover", "--yes", "--no-writers", "--json")
        assert (refused.code, refused.json["switched"]) == (2, False)
        place.sql(
            "INSERT INTO sync.shadow_difference (table_name, key, source_key, token, kind, shown, columns, epoch, writer) "
            "SELECT 'left out', key, source_key, token, kind, shown, columns, epoch, writer FROM sync.shadow_difference"
        )
        assert home.run("drift-report", "--workers", "1").code == 0
        assert not [name for name, gate in gates(home).items() if not gate["green"]]
        assert home.run("cutover", "--yes", "--no-writers", "--json").json["switched"] is True


def shown(home: Scene) -> dict[str, Any]:
    found: dict[str, Any] = home.run("status", "--json").json["shadow_reads"]
    return found


def reconcile(home: Scene, key: UUID) -> None:
    """What a worker does with the recheck that was left."""
    with closing(Table(home.place.cassandra, home.place.settings, home.config, "pairs")) as table:
        source = table.settled(table.key(id=key))
        assert source is not None and source["a"] != "planted"
