"""A follower in a process of its own, which a test kills: its ledger is a file, written whole or not at all.

`python -m support.follower SETTINGS` follows until it is ended. SETTINGS is JSON: port, host, keyspace, raw, own, ledger.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.settings import Config, Settings
from sync.wiring.capture.commitlog import Followed, open_feed


def load(ledger: Path) -> dict[str, object]:
    """What was recorded: position, told_until, keys, gaps."""
    try:
        found: dict[str, object] = json.loads(ledger.read_text())
    except FileNotFoundError:
        return {"position": None, "told_until": 0.0, "keys": [], "gaps": []}
    return found


def main(asked: dict[str, str]) -> None:
    ledger = Path(asked["ledger"])
    state = load(ledger)
    settings = Settings(
        _env_file=None,
        cassandra_contact_points=asked["host"],
        cassandra_port=asked["port"],
        astra_db_keyspace=asked["keyspace"],
    )
    with open_cassandra(settings) as cassandra:
        names = sorted(read_tables(cassandra.session, asked["keyspace"]))
    with open_feed(settings, Config(), Followed(Path(asked["raw"]), Path(asked["own"]), asked["host"]), names) as feed:
        for batch in feed.batches(state["position"]):  # type: ignore[arg-type]
            keys = {tuple(one) for one in state["keys"]}  # type: ignore[attr-defined]
            for change in batch.changes:
                row = None if change.clustering is None else "/".join(cell.hex() for cell in change.clustering)
                keys.add((change.table, "/".join(cell.hex() for cell in change.partition), row))
            state = {
                "position": batch.position,
                "told_until": batch.told_until,
                "keys": [list(one) for one in keys],
                "gaps": [*state["gaps"], *(gap.why for gap in batch.gaps)],  # type: ignore[misc]
            }
            new = ledger.with_suffix(".new")
            new.write_text(json.dumps(state))
            new.replace(ledger)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
