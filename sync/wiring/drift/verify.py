"""Verification at the end of `sync migrate`: digests of every range, vector searches and lookups of sampled rows."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from math import isfinite
from statistics import mean
from threading import local

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.rows import search as source_search
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.drift import search as target_search
from sync.adapters.postgres.drift.target_digests import TargetDigests, count_strays
from sync.core.drift.search import overlap, recall
from sync.core.encode.rows import RowEncoder
from sync.core.ring import TokenRange
from sync.core.rows import TableMap
from sync.flows.verify import Checker, RangeCheck, TableVerdict
from sync.settings import Config, Settings
from sync.wiring.visibility import check_source, check_visibility

_MB = 1 << 20
_STREAMS = 3
TOP, SEED, SHOWN = 5, 20, 20
ENOUGH_RECALL = 0.9


def _mean(values: list[float]) -> float | None:
    return mean(values) if values else None


@dataclass(slots=True)
class SearchVerdict:
    """Searches on both sides: their number, the overlap of the answers, and each side's recall of the exact answer."""

    table: str
    column: str
    searches: int = 0
    overlaps: list[float] = field(default_factory=list)
    source_recalls: list[float] = field(default_factory=list)
    target_recalls: list[float] = field(default_factory=list)
    note: str = ""

    def figures(self) -> dict[str, object]:
        """The means; None if nothing was searched."""
        return {
            "table": self.table,
            "column": self.column,
            "searches": self.searches,
            "overlap": _mean(self.overlaps),
            "source_recall": _mean(self.source_recalls),
            "target_recall": _mean(self.target_recalls),
            "note": self.note,
        }

    @property
    def ok(self) -> bool:
        """Whether the target finds enough of the exact answer; an approximate index may miss a little."""
        return not self.target_recalls or mean(self.target_recalls) >= ENOUGH_RECALL


@dataclass(slots=True)
class Retrieval:
    """Sampled source rows looked up in the target: by key, and by the content of their maps."""

    table: str
    asked: int = 0
    by_key: int = 0
    by_content_asked: int = 0
    by_content: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything was found."""
        return self.asked == self.by_key and self.by_content_asked == self.by_content


@dataclass(slots=True)
class Verification:
    """Everything that was compared."""

    tables: dict[str, TableVerdict] = field(default_factory=dict)
    searches: list[SearchVerdict] = field(default_factory=list)
    retrievals: list[Retrieval] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is equal."""
        checks = [*self.tables.values()]
        return all(t.clean for t in checks) and all(s.ok for s in self.searches) and all(r.ok for r in self.retrievals)


def verify(
    settings: Settings,
    config: Config,
    tables: list[TableMap],
    ranges: dict[str, list[TokenRange]],
    sample: int,
    show: Callable[[str, TableVerdict], None],
) -> Verification:
    """Compare both sides: nothing is written."""
    found = Verification()
    with open_cassandra(settings, config.backfill.request_timeout_seconds) as cassandra:
        check_source(cassandra, tables)
        for table in tables:
            found.tables[table.name] = _table(settings, config, cassandra, table, ranges[table.name], show)
        with closing(connect(settings, autocommit=True)) as connection:
            for table in tables:
                encoder = RowEncoder(table, 0)
                rows = source_search.sample_rows(cassandra.raw, table.source, encoder.columns, sample, SEED)
                found.retrievals.append(_retrieve(connection, table, encoder, rows))
                found.searches += compare_searches(cassandra, connection, table, rows[: max(1, sample // 10)])
            check_visibility(cassandra, connection, tables)
    return found


def _table(
    settings: Settings,
    config: Config,
    cassandra: Cassandra,
    table: TableMap,
    ranges: list[TokenRange],
    show: Callable[[str, TableVerdict], None],
) -> TableVerdict:
    """The digests of all ranges, several at once: reading, hashing and Postgres's part overlap."""
    verdict = TableVerdict()
    encoder = RowEncoder(table, 0)
    own = local()
    opened: list[Connection] = []

    def check(tokens: TokenRange) -> RangeCheck:
        if not hasattr(own, "checker"):
            opened.append(connect(settings, autocommit=True))
            digests = TargetDigests(opened[-1], table, encoder)
            reader = RangeReader(cassandra.raw, table.source, encoder.columns, int(config.backfill.page_mb * _MB))
            own.checker = Checker(reader, digests, encoder, digests.refused(), table.keeps)
        found: RangeCheck = own.checker.check(tokens)
        return found

    try:
        with ThreadPoolExecutor(_STREAMS) as pool:
            for result in pool.map(check, ranges):
                verdict.add(result)
                show(table.name, verdict)
        with closing(connect(settings, autocommit=True)) as connection:
            digests = TargetDigests(connection, table, encoder)
            verdict.strays = count_strays(connection, table)
            verdict.shown = [(f.kind, digests.show_key(f.key)) for f in verdict.rows.findings[:SHOWN]]
    finally:
        for connection in opened:
            connection.close()
    return verdict


def _retrieve(connection: Connection, table: TableMap, encoder: RowEncoder, rows: list[source_search.Cells]) -> Retrieval:
    """Look up each sampled row that the target can hold, by its encoder, unless Postgres is on record as refusing it."""
    maps = [p.source.name for p in table.pairs if p.target.type.name == "jsonb" and str(p.source.type) == "map<text, text>"]
    found, keys = Retrieval(table.name), cells_of(table.source, encoder)
    target = target_search.Retrieval(connection, table, encoder)
    refused = TargetDigests(connection, table, encoder).refused()
    for row in rows:
        made, issues = encoder.check_cells(row)
        cells = tuple(row[name] for name in encoder.columns[: encoder.key_count])
        if any(issue.action == "reject" for issue in issues) or cells in refused:
            continue  # the digests count these one by one
        key = keys.key_of(tuple(cell or b"" for cell in cells))
        found.asked += 1
        found.by_key += target.by_key(key)
        for content, name in ((made[name], name) for name in maps):
            if content is not None:
                found.by_content_asked += 1
                found.by_content += target.by_content(key, name, content)
    return found


def compare_searches(
    cassandra: Cassandra, connection: Connection, table: TableMap, rows: list[source_search.Cells]
) -> list[SearchVerdict]:
    """Search both sides for the vectors of these rows, for each vector column."""
    columns = [p.source.name for p in table.pairs if p.target.type.name in ("vector", "halfvec")]
    return [_search_column(cassandra, connection, table, column, rows) for column in columns]


def _search_column(
    cassandra: Cassandra, connection: Connection, table: TableMap, column: str, rows: list[source_search.Cells]
) -> SearchVerdict:
    verdict = SearchVerdict(table.name, column)
    similarity = source_search.vector_similarity(cassandra.session, table.source, column)
    if similarity is None:
        verdict.note = "the source has no vector index: only the target was searched"
    for row in rows:
        cell = row[column] or b""
        vector = struct.unpack(f">{len(cell) // 4}f", cell)
        if not any(vector) or not all(map(isfinite, vector)):
            continue
        _compare_search(cassandra, connection, table, verdict, vector, similarity)
    return verdict


def _compare_search(
    cassandra: Cassandra,
    connection: Connection,
    table: TableMap,
    verdict: SearchVerdict,
    vector: tuple[float, ...],
    similarity: str | None,
) -> None:
    metric = similarity or "cosine"
    exact = target_search.nearest(connection, table, verdict.column, vector, TOP, metric, exact=True)
    there = target_search.nearest(connection, table, verdict.column, vector, TOP, metric, exact=False)
    verdict.searches += 1
    verdict.target_recalls.append(recall(there, exact))
    if similarity is not None:
        here = source_search.nearest(cassandra.raw, table.source, verdict.column, vector, TOP, similarity)
        verdict.source_recalls.append(recall(here, exact))
        verdict.overlaps.append(overlap(here, there))
