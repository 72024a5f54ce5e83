"""Which reads applications make, by their shapes: recorded while they run, judged before a switch."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.reads.shapes import Shape, from_json

_SQL = queries("cutover/reads")
MAX_SHAPES = 1000
"""So many are kept, those made last."""
_LONGEST = 2000  # characters: an index entry holds a third of a page


def record(connection: Connection, made: Iterable[tuple[str, Shape]]) -> None:
    """Record reads by table, each in a transaction of its own. Raises TargetUnavailable."""
    shown = sorted((table, json.dumps(shape.to_json(), ensure_ascii=False)) for table, shape in made)
    with target_errors():
        for table, shape in shown:
            if len(shape) <= _LONGEST:
                connection.execute(_SQL["note"].encode(), {"table": table, "shape": shape})
        connection.execute(_SQL["forget"].encode(), {"most": MAX_SHAPES})


def made_reads(connection: Connection) -> list[tuple[str, Shape]]:
    """The reads of the last week, with their tables. Raises TargetUnavailable."""
    with target_errors():
        return [(str(t), from_json(json.loads(s))) for t, s in connection.execute(_SQL["made"].encode()).fetchall()]
