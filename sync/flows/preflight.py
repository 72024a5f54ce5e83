"""The report before anything is written: what maps to what, what cannot be migrated, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sync.core.ring import SizeEstimate
from sync.core.rows import TableMap
from sync.core.schema.mapping import Problem
from sync.ports import ServerFacts

FLOWS = ("copy", "proof", "dual writes", "reconcile", "cut-over and rollback")


@dataclass(slots=True)
class PreflightReport:
    """`servers` are lines on what was found; `tables` the mappings; `problems` blockers and warnings.

    `sizes` are the source's own estimates, `identities` say which tables these are, both by table; `small` are tables of few
    rows; `data_center` is the one of the source that is read, `replica_boundaries` the tokens after which other nodes have
    the rows; `to_make` is what `sync schema apply` would make, by kind and name; `flows` says of each flow why it is not
    possible; `indexed` are the columns that the source's indexes find, by table.
    """

    servers: list[str] = field(default_factory=list)
    tables: list[TableMap] = field(default_factory=list)
    sizes: dict[str, list[SizeEstimate]] = field(default_factory=dict)
    small: set[str] = field(default_factory=set)
    identities: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    data_center: str = ""
    replica_boundaries: list[int] = field(default_factory=list)
    to_make: list[tuple[str, str]] = field(default_factory=list)
    flows: dict[str, list[str]] = field(default_factory=lambda: {flow: [] for flow in FLOWS})
    indexed: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing blocks the migration."""
        return not any(p.level == "error" for p in self.problems)

    def error(self, where: str, text: str) -> None:
        """Note what forbids the migration."""
        self.problems.append(Problem("error", where, text))

    def impossible(self, flow: str, why: str) -> None:
        """Note why a flow is not possible."""
        if why not in self.flows[flow]:
            self.flows[flow].append(why)

    def impossible_all(self, why: str) -> None:
        """Note why no flow is possible."""
        for flow in FLOWS:
            self.impossible(flow, why)

    def add(self, part: PreflightReport) -> None:
        """Add what was found for one table."""
        self.problems += part.problems
        self.small |= part.small
        self.indexed |= part.indexed
        for flow, reasons in part.flows.items():
            for why in reasons:
                self.impossible(flow, why)

    def weigh(self) -> None:
        """Turn flows that are not possible into problems: an error for the copy or its proof, `blocks` for the cut-over, a
        warning for the others.
        """
        told = {f"{problem.table}: {problem.text}" for problem in self.problems}
        for flow, reasons in self.flows.items():
            for why in reasons:
                where, text = why.split(": ", 1)
                if flow in ("copy", "proof") and why not in told:
                    self.error(where, text)
                elif why not in told:
                    self.problems.append(self._later(where, text, [name for name in FLOWS if why in self.flows[name]]))
                told.add(why)

    @staticmethod
    def _later(where: str, text: str, flows: list[str]) -> Problem:
        """The problem that flows after the copy and its proof are not possible."""
        if FLOWS[-1] in flows:
            return Problem("blocks", where, f"this will block the cut-over: {text} (not possible: {', '.join(flows)})")
        return Problem("warning", where, f"{text} (not possible: {', '.join(flows)})")

    @property
    def blocked(self) -> bool:
        """Whether something will block the cut-over."""
        return any(p.level == "blocks" for p in self.problems)

    def to_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {
            "ok": self.ok,
            "servers": self.servers,
            "tables": [
                {"table": t.name, "target": f"{t.target.schema}.{t.target.name}", "columns": _columns(t)} for t in self.tables
            ],
            "to_make": [{"kind": kind, "name": name} for kind, name in self.to_make],
            "flows": {flow: {"possible": not why, "why": why} for flow, why in self.flows.items()},
            "problems": [{"level": p.level, "where": p.table, "text": p.text} for p in self.problems],
        }


def _columns(table: TableMap) -> list[dict[str, str]]:
    return [
        {
            "source": pair.source.name,
            "source_type": str(pair.source.type),
            "target": pair.target.name,
            "target_type": str(pair.target.type),
        }
        for pair in table.pairs
    ]


def check_target(facts: ServerFacts, needs_vector: bool) -> Iterator[Problem]:
    """What the target's server lacks."""
    if facts.encoding != "UTF8":
        yield Problem("error", "target", f"the database's encoding is {facts.encoding}; it must be UTF8")
    if not facts.may_create_schema:
        yield Problem("error", "target", f"{facts.user} may not create a schema: GRANT CREATE ON DATABASE … TO {facts.user}")
    if not facts.may_create_temporary:
        yield Problem(
            "error", "target", f"{facts.user} may not create temporary tables: GRANT TEMPORARY ON DATABASE … TO {facts.user}"
        )
    if needs_vector and facts.vector_version is None:
        yield from _vector(facts)


def _vector(facts: ServerFacts) -> Iterator[Problem]:
    if facts.vector_available is None:
        yield Problem("error", "target", "the server has no extension `vector`; install pgvector there")
    elif not (facts.superuser or (facts.vector_trusted and facts.may_create_schema)):
        yield Problem(
            "error", "target", f"{facts.user} may not CREATE EXTENSION vector; have an administrator run it in this database"
        )


def needs_vector(tables: Iterable[TableMap]) -> bool:
    """Whether a column of the source or the target is a vector."""
    return any(pair.source.type.name == "vector" for table in tables for pair in table.pairs)
