"""The gates of a cut-over and a rollback, with the facts behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sync.adapters.cassandra.connect import Cassandra, open_cassandra
from sync.adapters.postgres import ahead
from sync.adapters.postgres.catalogue import regclass
from sync.adapters.postgres.connect import Connection, connect
from sync.adapters.postgres.data_centres import check_data_center
from sync.adapters.postgres.ending import end_dead
from sync.adapters.postgres.epochs import Authority
from sync.adapters.postgres.gates import GateFacts
from sync.adapters.postgres.migrations import check_version, state_exists
from sync.adapters.postgres.rejects import count_rejects
from sync.core import gates
from sync.core.gates import Gate
from sync.core.rows import TableMap
from sync.errors import PreflightError
from sync.ports import Epoch, SwitchKind
from sync.settings import Config, Settings
from sync.wiring.canary import fly
from sync.wiring.copying import map_tables
from sync.wiring.preflight import chosen_tables
from sync.wiring.shapes import shapes_now

_LEASE_MARGIN_SECONDS = 10.0
"""A switch is taken back when its command has been silent for the longest pause and so much more."""


_PATIENCE = "SELECT set_config('idle_in_transaction_session_timeout', %s, false)"


@dataclass(frozen=True, slots=True)
class Site:
    """What the commands of the flip work with."""

    settings: Settings
    config: Config
    cassandra: Cassandra
    connection: Connection
    authority: Authority
    tables: Sequence[TableMap]


@contextmanager
def open_authority(settings: Settings, config: Config) -> Iterator[Authority]:
    """The authority. Raises PreflightError where there is no migration."""
    with closing(connect(settings, autocommit=True)) as connection:
        if not state_exists(connection):
            raise PreflightError("the target has no schema `sync`: nothing has begun, or it is finished")
        check_version(connection)
        # A command whose host hangs within the flip holds the epoch, and every write waits for it: Postgres ends it.
        connection.execute(_PATIENCE, (f"{config.cutover.most_pause_seconds:g}s",))
        yield Authority(connection, config.cutover.most_pause_seconds + _LEASE_MARGIN_SECONDS)


@contextmanager
def open_site(settings: Settings, config: Config) -> Iterator[Site]:
    """Both sides, and the tables of the migration. Raises PreflightError where none has begun."""
    with (
        open_authority(settings, config) as authority,
        open_cassandra(settings, config.dual_write.primary_timeout_seconds) as cassandra,
    ):
        check_data_center(authority.connection, cassandra.data_center)
        names = [source.name for source in chosen_tables(cassandra, settings, config, None)]
        tables = map_tables(cassandra, authority.connection, settings, config, names)
        yield Site(settings, config, cassandra, authority.connection, authority, list(tables.values()))


def judge(site: Site, kind: SwitchKind, epoch: Epoch, dry: bool, writers: int | None = None) -> list[Gate]:
    """Every gate of a cut-over or rollback, in the order in which they are turned green.

    `writers` is how many there must be; None: one at least. The last gate is the canary, which flies only where the others
    are green and the run is not `dry`: a refusal has sent nothing.
    """
    end_dead(site.connection, site.config.dual_write.writers_folder)
    facts = GateFacts(site.connection)
    counters = [t.name for t in site.tables if any(c.type.name == "counter" for c in t.source.columns)]
    found = [gates.reversible_gate(counters)]
    if kind == "cutover":
        found += _copy_gates(site, facts)
    found += [
        gates.writers_gate(facts.writers(), epoch.epoch, site.config.dual_write.writer_lease_seconds, writers),
        gates.intents_gate(facts.intents(), site.config.cutover.most_intents),
        _proof(site, facts, epoch, _digest(site)),
    ]
    why = "--dry-run" if dry else "" if all(gate.green for gate in found) else "other gates are red"
    tables = [t for t in site.tables if t.name not in counters]
    return [*found, gates.canary_gate(fly(site.cassandra, site.connection, tables, site.config, not why), why)]


def _copy_gates(site: Site, facts: GateFacts) -> list[Gate]:
    names = [regclass(f"{t.target.schema}.{t.target.name}") for t in site.tables]
    return [
        gates.backfill_gate(facts.copied([t.name for t in site.tables])),
        _write_times(site),
        gates.rejects_gate(count_rejects(site.connection)),
        gates.indexes_gate(facts.bad_indexes(names)),
    ]


def _write_times(site: Site) -> Gate:
    tables = [t.name for t in site.tables if not t.source.is_collection]  # whose writes have no timestamps of ours
    return gates.write_times_gate(ahead.unseen(site.connection, tables), ahead.facts(site.connection, tables))


def unproved(site: Site, epoch: Epoch) -> Callable[[], str]:
    """What says why both sides are not proved equal any more, or nothing; the tables are those of this moment.

    It is asked within the flip, while every write waits, and asks Postgres alone.
    """
    digest = _digest(site)

    def why() -> str:
        gate = _proof(site, GateFacts(site.connection), epoch, digest)
        return "" if gate.green else f"the proof was disturbed meanwhile: {gate.figure}"

    return why


def _digest(site: Site) -> str:
    return gates.schema_digest(shapes_now(site.cassandra, site.connection, site.tables).values())


def _proof(site: Site, facts: GateFacts, epoch: Epoch, digest: str) -> Gate:
    names = [t.name for t in site.tables]
    disturbed, why = epoch.since, "this epoch"
    late = facts.disturbed()
    if late is not None and late[0] > disturbed:
        disturbed, why = late
    return gates.proof_gate(facts.passes(), names, epoch.epoch, digest, disturbed, why, site.cassandra.data_center)
