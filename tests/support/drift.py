"""Checks of ranges between a lab's tables, and whole passes at a site without RQ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Semaphore
from typing import Any
from uuid import UUID

from support.backfills import NEVER, Site
from support.lab import Lab
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.key_rows import KeyRows
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.drift.target_digests import TargetDigests
from sync.adapters.postgres.schema import migrations
from sync.core.drift.results import KeyVerdict, RangeResult
from sync.core.encode.rows import RowEncoder
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, TokenRange
from sync.core.rows import TableMap
from sync.errors import WorkFailed
from sync.flows.check_ranges import CheckStream, Sides, check_ranges
from sync.flows.recheck import RecheckPolicy
from sync.ports import Lease
from sync.wiring.backfill.command import make_plan
from sync.wiring.drift.command import DriftRequest, Show, begin_pass, close_pass
from sync.wiring.drift.worker import BothKeys, check_job

SILENT = Show(lambda _: None, lambda _: None, lambda _: None)


def state_schema(lab: Lab) -> None:
    """The state of a migration in the lab's database."""
    lab.postgres.execute(migrations.texts()[migrations.STATE].encode())


@dataclass
class Leases:
    """A ledger in memory."""

    leases: list[Lease]
    done_with: list[RangeResult] = field(default_factory=list)

    def claim(self, _runs: list[int], _owner: str) -> Lease | None:
        return self.leases.pop(0) if self.leases else None

    def renew(self, lease: Lease) -> Lease:
        return lease

    def reclaim(self, _runs: list[int], _owner: str) -> None:
        pass

    def wait(self, lease: Lease, error: str) -> None:
        raise AssertionError(f"{lease} waits: {error}")

    def release_range(self, lease: Lease) -> None:
        raise AssertionError(f"{lease} was given back")

    def fail(self, lease: Lease, error: str) -> None:
        raise AssertionError(f"{lease} failed: {error}")

    def split(self, lease: Lease, middle: int, error: str) -> None:
        raise AssertionError(f"{lease} was split: {error}")

    def cut(self, lease: Lease, end: int) -> Lease:
        rest, whole = TokenRange(end, lease.whole.end), TokenRange(lease.whole.start, end)
        self.leases.insert(0, replace(lease, whole=rest, todo=rest))
        return replace(lease, whole=whole, todo=whole)

    def done(self, _lease: Lease, checked: RangeResult) -> None:
        self.done_with.append(checked)


class Checker:
    """Checks one table of a lab."""

    def __init__(self, lab: Lab, table: TableMap) -> None:
        self.lab, self.table, self.encoder = lab, table, RowEncoder(table, 0)
        columns = self.encoder.columns
        rows = KeyRows(lab.cassandra, table.source, columns, 30)
        cells = Cells(table.source, self.encoder)
        self.keys = BothKeys(cells, rows, TargetKeys(lab.postgres, table, self.encoder), None)
        digests = TargetDigests(lab.postgres, table, self.encoder)
        reader = RangeReader(lab.cassandra.raw, table.source, columns, 1 << 18)
        self.sides = Sides(reader, digests, lambda: self.keys, self.encoder)

    def check(self, ranges: Iterable[TokenRange], range_rows: int = 1000) -> list[RangeResult]:
        """The verdicts on these ranges."""
        leases = Leases([Lease(i, 1, self.table.name, r, r, 0, 1, None, "me") for i, r in enumerate(ranges)])
        stream = CheckStream(leases, lambda _: self.sides, lambda _: False, RecheckPolicy(2, 0.0), range_rows, Semaphore(1))
        check_ranges(stream, [1], "me", NEVER)
        for checked in leases.done_with:
            checked.rows.check()
        return leases.done_with

    def findings(self, ranges: Iterable[TokenRange]) -> dict[UUID, KeyVerdict]:
        """What these checks find, by key (one uuid); the verdicts on the ranges agree with it."""
        found = {}
        for checked in self.check(ranges):
            assert (checked.verdict == "same") == (not checked.kept), checked
            assert checked.rows.differing + checked.rows.unknown == len(checked.kept)
            found |= {UUID(bytes=judged.key.cells[0]): judged for judged in checked.kept}
        return found


def around(token: int) -> TokenRange:
    """A range that contains a token, and little else."""
    return TokenRange(max(MIN_TOKEN, token - 2), min(MAX_TOKEN, token + 2))


def drift(
    site: Site,
    tables: list[str] | None = None,
    *,
    asked: DriftRequest | None = None,
    ranges: list[TokenRange] | None = None,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """A whole pass in this process; the report."""
    plan = make_plan(site.settings, site.config, tables)
    if ranges:
        plan = replace(plan, ranges=dict.fromkeys(plan.ranges, ranges))
    wanted = asked or DriftRequest()
    runs = begin_pass(site.settings, site.config, plan, wanted, SILENT)
    between()
    for _ in range(10):
        check_job(site.settings, site.config, runs, NEVER)
        with closing(site.connect()) as connection:
            if not site.ledger(connection).work_left(runs):
                return close_pass(site.settings, site.config, plan, runs, wanted)
    raise WorkFailed("the pass does not end")


def table_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    """One table's part of a report, whose numbers add up."""
    (found,) = [t for t in report["tables"] if t["table"] == name]
    rows, ranges = found["rows"], found["ranges"]
    parts = ("same", "missing", "different", "in_flight", "rejected", "unknown")
    assert rows["source"] == sum(rows[part] for part in parts), rows
    assert ranges["total"] == ranges["same"] + ranges["different"] + ranges["unknown"] == len(found["ring"])
    assert (found["ring"][0]["start"], found["ring"][-1]["end"]) == (MIN_TOKEN, MAX_TOKEN)
    return found


def kinds(table: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """The findings' keys by kind."""
    found: dict[str, list[dict[str, str]]] = {}
    for finding in table["findings"]:
        found.setdefault(finding["kind"], []).append(finding["key"])
    return found
