"""Writers and reconciles where Postgres is primary, and the switch of epochs, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from support.dual import LEASE, Actor, Row, Table, clock
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.epochs import Authority
from sync.adapters.postgres.dual_write.journal import Writer
from sync.adapters.postgres.dual_write.reverse import ResendSteps, ReverseJournal
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.core.decode.rows import RowDecoder
from sync.core.mutations import Key, Kind, Mutation
from sync.ports import Intent, PendingResend


def be_primary(table: Table, primary: str) -> None:
    """A new epoch with this primary, whatever is open: what the commands do after checks."""
    ((epoch, was),) = table.sql('SELECT epoch, "primary" FROM sync.epoch ORDER BY epoch DESC LIMIT 1')
    if was != primary:
        with closing(connect(table.settings, autocommit=True)) as connection:
            while expand(connection):  # what SQL has changed has its rechecks before a switch ends
                pass
        table.sql(  # at once, as the commands do it: between two statements whoever waits would go on in the old epoch
            "WITH was AS (UPDATE sync.epoch SET state = 'closed' WHERE epoch = %s RETURNING epoch, floor) "
            'INSERT INTO sync.epoch (epoch, "primary", floor) SELECT epoch + 1, %s, '
            "greatest(floor + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) FROM was",
            (epoch, primary),
        )
        epoch += 1
    table.epoch = epoch


@contextmanager
def authority(table: Table, lease: float = 15) -> Iterator[Authority]:
    """The authority over a connection of its own."""
    with closing(connect(table.settings, autocommit=True)) as connection:
        yield Authority(connection, lease)


@dataclass
class ReverseWriter:
    """A writer while Postgres is primary."""

    table: Table
    actor: Actor
    journal: ReverseJournal

    def mutation(self, kind: Kind, key: Key, **values: Any) -> Mutation:
        return self.actor.mutation(kind, key, **values)

    def begin(self, kind: Kind, key: Key, at: int | None = None, **values: Any) -> ReverseStep:
        """The first step: row and intent are committed; `at` is the time on the writer's host."""
        mutation = self.mutation(kind, key, **values)
        with clock(at):
            return ReverseStep(self, mutation, self.journal.write(mutation))


@dataclass
class ReverseStep:
    """A write that Postgres has."""

    writer: ReverseWriter
    mutation: Mutation
    intent: Intent | None

    @property
    def version(self) -> int:
        assert self.intent is not None
        return self.intent.version

    def source(self) -> ReverseStep:
        """The source acknowledges it."""
        assert self.writer.table.rows.write(self.mutation, self.version) == ("written", "")
        return self

    def remove(self) -> None:
        """Its intent is removed."""
        assert self.intent is not None
        self.writer.actor.journal.remove([self.intent])

    def done(self) -> ReverseStep:
        self.source()
        self.remove()
        return self


@dataclass
class Resender:
    """A reconcile towards the source that the test moves step by step."""

    table: Table
    resend_steps: ResendSteps
    picked: PendingResend | None = None

    def pick(self, key: Key) -> Resender:
        self.key = key
        self.picked = self.resend_steps.pick([key]).get(key)
        assert self.picked is not None, "there is nothing to send"
        return self

    def send(self) -> Resender:
        assert self.picked is not None
        if self.picked.row is None:
            mutation = Mutation("delete", self.key, {})
        else:
            decoder = RowDecoder(self.table.mapped, self.table.encoder.pairs)
            mutation = Mutation("put", self.key, decoder.others(self.picked.row))
        assert self.table.rows.write(mutation, self.picked.version) == ("written", "")
        return self

    def remove(self) -> None:
        assert self.picked is not None
        self.resend_steps.remove(self.picked.intents)


def reverse_writer(table: Table, *, alive: bool = True, skew: float = 60) -> ReverseWriter:
    """A writer with a slot of its own."""
    actor = table.writer(alive=alive, skew=skew)
    made = Writer(actor.name, table._slots, int(skew * 1e6), LEASE)
    return ReverseWriter(table, actor, ReverseJournal(table.pool, table.mapped, table.encoder, made))


def resender(table: Table) -> Resender:
    """A reconcile towards the source."""
    return Resender(table, ResendSteps(table.pool, table.mapped, table.encoder, LEASE, table.epoch))


def write_time(table: Table, key: Key, column: str) -> int | None:
    """The timestamp of a column in the source."""
    name = f'"{table.mapped.source.keyspace}"."{table.name}"'
    values = table.cells.values(dict(zip(table.cells.key_names, key.cells, strict=True)))
    rows = table.cassandra.session.execute(f"SELECT WRITETIME({column}) FROM {name} WHERE id = %s", (values["id"],))
    return next((row[0] for row in rows), None)


def both(table: Table, key: Key) -> tuple[Row | None, Row | None]:
    """The row in the source and in the target."""
    return table.source(key), table.target(key)
