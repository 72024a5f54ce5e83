"""Reads that applications make and that the next primary cannot answer, judged by the code that would refuse them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sync.adapters.cassandra.schema.read_indexes import read_indexes
from sync.adapters.postgres.cutover.read_shapes import made_reads
from sync.adapters.postgres.schema.key_order import read_facts
from sync.adapters.postgres.schema.read_plans import ReadPlans
from sync.core.cutover.gates import Gate, reads_gate
from sync.core.reads.key_order import source_key_order
from sync.core.reads.names import Names, other_names
from sync.core.reads.query import Index, filters, query
from sync.core.reads.shapes import Shape, Unanswerable, missing_indexes
from sync.core.rows import SourceTable, TableMap
from sync.errors import QueryNotSupported
from sync.ports import SwitchKind
from sync.wiring.indexes import create_index, create_source_index

if TYPE_CHECKING:
    from sync.wiring.cutover.gates import Site

_DOCUMENTS = "in Postgres, documents are read by their _id, and searched without conditions"
Refusal = Callable[[Mapping[str, Index]], str]


def judged_reads(site: Site, kind: SwitchKind) -> Gate:
    """The gate: every read that applications have made in the last week can be answered after the switch."""
    made = made_reads(site.connection)
    return reads_gate(len(made), unanswerable(site, kind, made))


def unanswerable(site: Site, kind: SwitchKind, made: list[tuple[str, Shape]] | None = None) -> list[Unanswerable]:
    """Which reads the next primary cannot answer, with the indexes that it lacks."""
    tables = {table.name: table for table in site.tables}
    found = []
    judge = _by_postgres if kind == "cutover" else _by_source
    for name, shape in made_reads(site.connection) if made is None else made:
        if name in tables and (fault := judge(site, tables[name], shape)):
            found.append(fault)
    return found


def _by_postgres(site: Site, table: TableMap, shape: Shape) -> Unanswerable | None:
    if table.source.is_collection:
        return Unanswerable(table.name, shape, _DOCUMENTS) if shape.kind != "search" or shape.where else None
    names = other_names(table.name, site.config.options(table.name)) or Names(table.target.name, {})
    target, facts = table.target.without_expiry, read_facts(site.connection, table.target)

    def refusal(indexes: Mapping[str, Index]) -> str:
        plans = ReadPlans(target, replace(facts, indexes=dict(indexes)))
        return _refused(lambda: _plan(plans, names, shape))

    columns = [names.column(name) for name, _ in shape.where]
    return _fault(table.name, shape, refusal, facts.indexes, columns, lambda column: create_index(target, column))


def _plan(plans: ReadPlans, names: Names, shape: Shape) -> None:
    """Raise QueryNotSupported as the store would."""
    where = names.to_target(shape.conditions())
    if shape.kind == "find":
        plans.query(
            where, [(names.column(name), "desc" if direction == "desc" else "asc") for name, direction in shape.order], None
        )
    elif shape.kind == "search":
        plans.filters(where)
    else:
        plans.order(with_partition=True)


def _by_source(site: Site, table: TableMap, shape: Shape) -> Unanswerable | None:
    source = table.source
    if source.is_collection:
        return None  # the Data API refuses and answers the same whichever is primary
    there = read_indexes(site.cassandra.session, source)

    def refusal(indexes: Mapping[str, Index]) -> str:
        return _refused(lambda: _ask(source, indexes, shape))

    return _fault(
        table.name, shape, refusal, there, [name for name, _ in shape.where], lambda c: create_source_index(source, c)
    )


def _ask(source: SourceTable, indexes: Mapping[str, Index], shape: Shape) -> None:
    if shape.kind == "find":
        query(source.name, source_key_order(source), indexes, shape.conditions(), shape.order, None)
    elif shape.kind == "search":
        filters(source.name, indexes, shape.conditions())


def _fault(
    table: str,
    shape: Shape,
    refusal: Refusal,
    there: Mapping[str, Index],
    columns: list[str],
    statement: Callable[[str], str],
) -> Unanswerable | None:
    why = refusal(there)
    if not why:
        return None
    return Unanswerable(table, shape, why, tuple(statement(column) for column in missing_indexes(refusal, there, columns)))


def _refused(plan: Callable[[], None]) -> str:
    try:
        plan()
    except QueryNotSupported as error:
        return str(error)
    return ""
