"""Passes of a drift report once all their ranges have a verdict: read, closed, recorded, listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.drift.report import CheckedRange
from sync.core.ring import TokenRange

_SQL = queries("drift/drift")


@dataclass(frozen=True, slots=True)
class ClosedRun:
    """One table's part of a pass, with those of its findings that are kept.

    It began with the check that gave the oldest verdict; `shape` is the table's shape then.
    """

    run: int
    table: str
    started_at: datetime
    shape: str | None
    seconds: float
    checking_seconds: float
    ranges: list[CheckedRange]
    findings: list[dict[str, Any]]


def lock_runs(connection: Connection, runs: list[int]) -> list[ClosedRun]:
    """What to report of these runs, locked until the transaction ends; empty if another report has closed one of them."""
    with target_errors():
        held = connection.execute(_SQL["lock_runs"], {"runs": runs}).fetchall()
        if len(held) < len(runs):
            return []
        return [
            ClosedRun(
                run, table, at, shape, seconds or 0.0, checking or 0.0, _ranges(connection, run), findings_of(connection, run)
            )
            for run, table, at, shape, seconds, checking in held
        ]


def _ranges(connection: Connection, run: int) -> list[CheckedRange]:
    found = connection.execute(_SQL["ranges"], {"run": run}).fetchall()
    return [CheckedRange(TokenRange(a, b), state, figures, error or "") for a, b, state, figures, error in found]


def findings_of(connection: Connection, run: int) -> list[dict[str, Any]]:
    """The findings of a run that are kept."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["findings"].encode(), {"run": run}).fetchall()


def close_runs(
    connection: Connection, runs: list[int], report: dict[str, Any], started_at: datetime, shapes: Mapping[str, str | None]
) -> tuple[int, datetime]:
    """Close the runs and record their pass, in the transaction that holds them; returns the pass's number and its end.

    `shapes`: each table's shape then.
    """
    repaired = sum(table["repaired"] for table in report["tables"])
    values: dict[str, Any] = {"runs": runs, "clean": report["clean"], "repaired": repaired, "started_at": started_at}
    values |= {"report": Jsonb(report), "proof": Jsonb([_proof(table, shapes) for table in report["tables"]])}
    with target_errors():
        for query in ("close_run", "drop_ranges"):
            connection.execute(_SQL[query], {"runs": runs})
        row = connection.execute(_SQL["record"], values).fetchone()
        connection.execute(_SQL["forget_disturbances"].encode())
    assert row is not None
    return int(row[0]), row[1]


def recorded(
    connection: Connection, runs: list[int]
) -> tuple[int, datetime, datetime, dict[str, Any], list[ClosedRun]] | None:
    """The pass with which another report closed these runs: number, begin, end, figures and runs; None if there is none."""
    with target_errors():
        row = connection.execute(_SQL["recorded"], {"runs": runs}).fetchone()
        if row is None:
            return None
        number, began, finished, report = row
        closed = [
            ClosedRun(table["run"], table["table"], began, None, 0.0, 0.0, [], findings_of(connection, table["run"]))
            for table in report["tables"]
        ]
    return int(number), began, finished, report, closed


def _proof(table: dict[str, Any], shapes: Mapping[str, str | None]) -> dict[str, Any]:
    """What the gates need of one table's part."""
    name, shape = table["table"], shapes.get(table["table"])
    return {"table_name": name, "clean": table["clean"], "repaired": table["repaired"], "shape": shape}


def history(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The last passes, the newest first; empty if there is none yet."""
    there = connection.execute("SELECT to_regclass('sync.drift_pass') IS NOT NULL").fetchone()
    if there != (True,):
        return []
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["history"].encode(), {"limit": limit}).fetchall()
