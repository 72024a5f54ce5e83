"""Triggers on the migrated tables: what anybody writes there by SQL is announced, or refused (rules 44 and 45).

They are statement triggers, of the table and of each of its partitions: a statement fires those of the relation that it
names. Each key that it has changed is recorded in the writer's own transaction; a worker makes a recheck of it (rule 50).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.schema.catalogue import regclass
from sync.adapters.postgres.schema.row_digest_sql import canonical
from sync.core.cql import CqlType
from sync.core.key_forms import has_one_form
from sync.core.reads.key_order import KeyOrder, target_key_order
from sync.core.ring import UNKNOWN_TOKEN
from sync.core.rows import ColumnPair, SourceColumn, TableMap, TargetTable
from sync.core.schema.static_rows import static_name

Mode = Literal["refuse", "allow"]
_SQL = queries("schema/sql_writers")
_KINDS = {"inserted": 4, "updated": 16, "deleted": 8}
_EVENTS = {4: "INSERT", 16: "UPDATE", 8: "DELETE"}
_OLD, _NEW = "_sync_old", "_sync_new"
_BEGINS, _TRUNCATES = "sql_writer_begins", "sql_writer_truncates"
TRIGGERS = ("_sync_begins", "_sync_truncates", *(f"_sync_{kind}" for kind in _KINDS))
"""The names of the triggers."""


@dataclass(frozen=True, slots=True)
class _Trigger:
    """One trigger, as the catalogue has it."""

    name: str
    type: int
    function: str
    old: str = ""
    new: str = ""
    given: str = ""

    def statements(self, relation: str) -> Iterator[str]:
        """What makes it on a relation."""
        tables = [f"OLD TABLE AS {_OLD}"] if self.old else []
        tables += [f"NEW TABLE AS {_NEW}"] if self.new else []
        yield _SQL["trigger"].format(
            trigger=self.name, relation=relation, function=self.function, when=_SQL["when"] + " ",
            moment=_moment(self.type), referencing=f"REFERENCING {' '.join(tables)} " if tables else "",
            given=f"'{self.given}'" if self.given else "",
        )  # fmt: skip
        yield _SQL["always"].format(relation=relation, trigger=self.name)


def _moment(kind: int) -> str:
    if kind in _EVENTS:
        return f"AFTER {_EVENTS[kind]}"
    return "BEFORE TRUNCATE" if kind == 34 else "BEFORE INSERT OR UPDATE OR DELETE"


class SqlWriters:
    """The triggers of one table, `name` in the source; `order` is its key. Raises psycopg's errors.

    `mode` is what becomes of SQL while Astra is primary. Raises ValueError if a key column is not there.
    """

    def __init__(self, name: str, target: TargetTable, order: KeyOrder, mode: Mode) -> None:
        self._name, self.table = name, regclass(f"{target.schema}.{target.name}")
        found = [(key, target.column(key.name)) for key in order.columns]
        if lacking := [key.name for key, column in found if column is None]:
            raise ValueError(f"{name}: the target has no column {lacking[0]}")
        keys = tuple(ColumnPair(SourceColumn(k.name, CqlType(k.type), "clustering"), c) for k, c in found if c)
        self._key = canonical(keys, "t").as_string()
        # Where a value has one form the key itself says its token; a row's own is another key's once SQL has changed the key.
        self._token = "NULL::bigint" if all(has_one_form(pair.source.type) for pair in keys) else "t._sync_token"
        self.number = _number(name)
        self._functions = {f"sql_{kind}_{self.number}": self._body(kind) for kind in _KINDS}
        after = zip(_KINDS.items(), self._functions, strict=True)
        self._triggers = [
            _Trigger("_sync_begins", 30, _BEGINS, given=mode),
            _Trigger("_sync_truncates", 34, _TRUNCATES),
            *(
                _Trigger(f"_sync_{kind}", bit, function, "" if bit == 4 else _OLD, "" if bit == 8 else _NEW)
                for (kind, bit), function in after
            ),
        ]

    @property
    def functions(self) -> Collection[str]:
        """The names of its functions."""
        return self._functions.keys()

    def _body(self, kind: str) -> str:
        rows = _SQL[kind].format(key=self._key, token=self._token)
        shown = self.table.replace("*/", "* /")
        name = sql.Literal(self._name).as_string()
        return f"\n{_SQL['body'].format(table=shown, what=kind, name=name, rows=rows, unknown=UNKNOWN_TOKEN)}\n"

    def statements(self, there: Watched) -> list[str]:
        """What makes them whole; empty if they are."""
        made = [
            _SQL["function"].format(name=name, body=body)
            for name, body in self._functions.items()
            if (name, body) not in there.functions
        ]
        for relation, trigger in self._lacking(there):
            made += trigger.statements(relation)
        return made

    def faults(self, there: Watched) -> list[str]:
        """What is wrong with them, in words."""
        stale = [name for name, body in self._functions.items() if (name, body) not in there.functions]
        found = [f"{self._name}: the functions of its triggers are missing or of another form"] if stale else []
        lacking: dict[str, list[str]] = {}
        for relation, trigger in self._lacking(there):
            lacking.setdefault(relation, []).append(trigger.name)
        found += [f"{relation} lacks {', '.join(names)}" for relation, names in lacking.items()]
        for _, relation, is_foreign, is_subscribed in there.relations[self.table]:
            if is_foreign:
                found.append(f"{relation} is on another server, where nothing announces what is written")
            if is_subscribed:
                found.append(f"{relation} is written by a subscription, which fires no triggers of statements")
        return found

    def _lacking(self, there: Watched) -> Iterator[tuple[str, _Trigger]]:
        for oid, name, is_foreign, _ in there.relations[self.table]:
            for t in self._triggers:
                if not is_foreign and (oid, t.name, t.type, t.function, t.old, t.new, t.given) not in there.triggers:
                    yield name, t


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is of some tables' triggers.

    `relations`: by table, its partitions and itself: number, name, whether it is foreign, whether a subscription writes it.
    """

    relations: Mapping[str, list[tuple[int, str, bool, bool]]]
    functions: Collection[tuple[object, ...]]
    triggers: Collection[tuple[object, ...]]


def writers_of(table: TableMap, mode: Mode) -> SqlWriters:
    """The triggers of a mapped table. Raises as SqlWriters."""
    return SqlWriters(table.name, table.target, target_key_order(table), mode)


def watched(connection: Connection, made: Sequence[SqlWriters]) -> Watched:
    """What there is of these tables, by three queries however many they are."""
    relations: dict[str, list[tuple[int, str, bool, bool]]] = {writers.table: [] for writers in made}
    for table, *relation in connection.execute(_SQL["relations"], {"tables": list(relations)}).fetchall():
        relations[table].append(tuple(relation))
    names = [name for writers in made for name in writers.functions]
    functions = connection.execute(_SQL["functions"], {"names": names}).fetchall()
    numbers = [oid for found in relations.values() for oid, *_ in found]
    return Watched(relations, set(functions), set(connection.execute(_SQL["triggers"], {"relations": numbers}).fetchall()))


def _number(name: str) -> str:
    """Stands for a source table's name in the names of its functions."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def left_behind(connection: Connection, made: Sequence[SqlWriters], there: Watched, excluded: Collection[str]) -> list[str]:
    """Relations whose triggers tell of a table that is excluded, or that has another target now: schema-qualified names.

    What SQL does there would be sent to the source, which may hold rows that are in use.
    """
    chosen = {writers.number: {oid for oid, *_ in there.relations[writers.table]} for writers in made}
    gone = {_number(each) for name in excluded for each in (name, static_name(name))}
    found = connection.execute(_SQL["left_behind"]).fetchall()
    return sorted({
        name for oid, name, number in found if number in gone or (number in chosen and oid not in chosen[number])
    })  # fmt: skip


def unwatch(relation: str) -> list[str]:
    """What drops a relation's triggers."""
    return [f"DROP TRIGGER IF EXISTS {name} ON {relation}" for name in TRIGGERS]
