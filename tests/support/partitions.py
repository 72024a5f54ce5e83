"""Deletes of partitions that a test takes step by step, on a table with partitions of several rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from support.dual import LEASE, NEVER_OPEN, Actor, Row, Table, Write, clock, prepare
from support.places import NewPlace, Place
from support.reverse import ReverseStep, reverse_writer
from sync.adapters.cassandra.rows.partitions import delete_of
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import Writer
from sync.adapters.postgres.dual_write.partitions import PartitionJournal, PartitionReverse
from sync.core.mutations import Mutation
from sync.settings import Config

CONFIG = Config(schema_files=())
TABLE = (
    "CREATE TABLE KS.plays (room text, day int, song text, a text, b text, PRIMARY KEY (room, day, song)) "
    "WITH CLUSTERING ORDER BY (day DESC, song ASC)"
)


@contextmanager
def plays(new_place: NewPlace) -> Iterator[tuple[Place, Table]]:
    """The table, on both sides."""
    with new_place() as place:
        place.cql(TABLE)
        prepare(place.settings, CONFIG, "plays")
        with closing(Table(place.cassandra, place.settings, CONFIG, "plays")) as opened:
            yield place, opened


def delete_where(table: Table, **where: Any) -> Mutation:
    """The delete of these rows."""
    return delete_of(table.cells, table.mapped.source, where)


def journal(actor: Actor) -> PartitionJournal:
    """The journal of an actor's deletes."""
    table = actor.table
    made = Writer(actor.name, int(actor.name.rpartition(":")[2]), 60_000_000, LEASE)
    return PartitionJournal(table.pool, table.mapped, table.encoder, made, Breaker(NEVER_OPEN))


def begin(actor: Actor, at: int | None = None, **where: Any) -> Write:
    """The first step of a delete: its intent is committed; `at` is the time on the writer's host."""
    deletes = Actor(actor.table, actor.name, journal(actor))
    mutation = delete_where(actor.table, **where)
    with clock(at):
        return Write(deletes, mutation, deletes.journal.open(mutation))


def begin_reverse(table: Table, at: int | None = None, **where: Any) -> ReverseStep:
    """The same with Postgres as primary: rows are gone, tombstone and intent are committed."""
    writer = reverse_writer(table)
    made = Writer(writer.actor.name, table._slots, 60_000_000, LEASE)
    writer.journal = PartitionReverse(table.pool, table.mapped, table.encoder, made)
    mutation = delete_where(table, **where)
    with clock(at):
        return ReverseStep(writer, mutation, writer.journal.write(mutation))


def rows(table: Table, room: str) -> tuple[dict[Any, Row], dict[Any, Row]]:
    """The rows of a partition in the source and in the target, by day and song."""

    def of(found: dict[tuple[Any, ...], Row]) -> dict[Any, Row]:
        return {(row["day"], row["song"]): {"a": row["a"], "b": row["b"]} for row in found.values() if row["room"] == room}

    return of(table._all_source()), of(table._all_target())


def settled(table: Table, room: str) -> dict[Any, Row]:
    """Drain everything; the rows of a partition, the same on both sides."""
    table.drained()
    source, target = rows(table, room)
    assert target == source, f"the sides differ: source {source}, target {target}"
    return source


def tombstone(table: Table, room: str) -> int | None:
    """The version of the partition's tombstone."""
    token = table.cells.first_columns({"room": room}).token
    found = table.sql(
        "SELECT version FROM sync.partition_tombstone WHERE table_name = %s AND token = %s", (table.name, token)
    )
    return found[0][0] if found else None
