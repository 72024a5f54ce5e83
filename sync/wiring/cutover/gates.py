"""The gates of a cut-over and a rollback, with the facts behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.connection.nodes import all_nodes
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.postgres.backfill import ahead
from sync.adapters.postgres.backfill.rejects import count_rejects
from sync.adapters.postgres.capture.feeds import read_feeds
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pooled import adjust
from sync.adapters.postgres.cutover.epochs import Authority
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.drift.target_digests import count_strays, without_tokens
from sync.adapters.postgres.dual_write.agreement import carrying, started_with, writers_settings
from sync.adapters.postgres.dual_write.data_centres import check_data_center
from sync.adapters.postgres.dual_write.dead_writers import sign_off_dead
from sync.adapters.postgres.schema.catalogue import regclass
from sync.adapters.postgres.schema.migrations import require_state
from sync.adapters.postgres.schema.sql_writers import left_behind, watched, writers_of
from sync.core.cutover import gates
from sync.core.cutover.agreement import differences, may_write
from sync.core.cutover.followers import Node, followers_gate
from sync.core.cutover.gates import Gate
from sync.core.cutover.proof import TableProof, proof_gate, undisturbed_gate
from sync.core.rows import TableMap, one_sided
from sync.ports import Epoch, SwitchKind
from sync.settings import Config, Settings
from sync.wiring.backfill.worker import map_tables
from sync.wiring.cutover.canary import run_canary
from sync.wiring.cutover.reads import judged_reads
from sync.wiring.preflight import chosen_tables
from sync.wiring.shapes import shapes_now

_LEASE_MARGIN_SECONDS = 10.0
"""A switch is undone when its command has been silent for the longest pause and this much longer."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the commands of the cut-over work with."""

    settings: Settings
    config: Config
    cassandra: Cassandra
    connection: Connection
    authority: Authority
    tables: Sequence[TableMap]


@contextmanager
def open_authority(settings: Settings, config: Config) -> Iterator[Authority]:
    """The authority. Raises PreflightError if there is no migration."""
    with closing(connect(settings, autocommit=True)) as connection:
        require_state(connection)
        # If a command's host hangs within the cut-over, it holds the epoch and every write waits: Postgres ends its session.
        adjust(connection, {"idle_in_transaction_session_timeout": f"{config.cutover.max_pause_seconds:g}s"})
        yield Authority(connection, config.cutover.max_pause_seconds + _LEASE_MARGIN_SECONDS)


@contextmanager
def open_site(settings: Settings, config: Config) -> Iterator[Site]:
    """Both sides, and the tables of the migration. Raises PreflightError if none has begun."""
    with (
        open_authority(settings, config) as authority,
        open_cassandra(settings, config.dual_write.primary_timeout_seconds) as cassandra,
    ):
        check_data_center(authority.connection, cassandra.data_center)
        names = [source.name for source in chosen_tables(cassandra, settings, config, None)]
        tables = map_tables(cassandra, authority.connection, settings, config, names)
        yield Site(settings, config, cassandra, authority.connection, authority, list(tables.values()))


def _left_out(site: Site) -> list[str]:
    """Tables that are not migrated, but that a store writes to both sides, or did (unless `exclude` gives them up)."""
    there = read_tables(site.cassandra.session, site.settings.astra_db_keyspace or "", site.config.kinds)
    chosen = {table.name for table in site.tables}
    left_out = [name for name in there if name not in chosen and not one_sided(there[name])]  # no store writes the one-sided
    targets = {regclass(site.config.options(name).target or name): name for name in left_out}
    started = started_with(site.connection)

    def written(table: str) -> bool:
        given_up = site.config.left_out_by(table) == "exclude"
        return any(may_write(settings, table) for alive, settings in started if alive or not given_up)

    return sorted(name for target in carrying(site.connection, targets) if written(name := targets[target]))


def _other_settings(site: Site, kind: SwitchKind, told: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """By writer, why it would not write the same rows as this host's workers, before the switch or after it."""
    found = {}
    for writer, settings in told.items():
        said = []
        if other := differences(site.config.agreed, settings):
            said.append(f"was started with a different {', '.join(other)} than here")
        if settings and kind == "cutover" and settings.get("wraps") == "astra":
            said.append("wraps a class for Astra, and none for Postgres (`new` is None)")
        if said:
            found[writer] = " and ".join(said)
    return found


def judge(
    site: Site, kind: SwitchKind, epoch: Epoch, dry: bool, writers: int | None = None, fast: bool = False
) -> list[Gate]:
    """Every gate of a cut-over or rollback, in the order in which they are turned green.

    `writers` is how many there must be; None: at least one. `fast`: an emergency, which does without the proof. The last gate
    is the canary, which sends only if the others are green and the run is not `dry`: a refusal has sent nothing.
    """
    sign_off_dead(site.connection, site.config.dual_write.writers_folder)
    found = [*judge_facts(site, kind, epoch, writers, fast), _undisturbed(site, epoch) if fast else _proof(site, epoch)]
    if fast:
        found.append(_by_hand(site))
    why = "--dry-run" if dry else "" if all(gate.green for gate in found) else "other gates are red"
    one_sided_ones = _one_sided(site)
    tables = [t for t in site.tables if t.name not in one_sided_ones]
    return [*found, gates.canary_gate(run_canary(site.cassandra, site.connection, tables, site.config, not why), why)]


def judge_facts(site: Site, kind: SwitchKind, epoch: Epoch, writers: int | None = None, fast: bool = False) -> list[Gate]:
    """The gates without the proof and the canary: no rows are read. In an emergency (`fast`) a read that will be refused is
    no reason to stay.
    """
    facts, told = GateFacts(site.connection), writers_settings(site.connection)
    found = [gates.reversible_gate(_one_sided(site), _left_out(site))]
    if kind == "cutover":
        found += _copy_gates(site, facts)
    if feeds := read_feeds(site.connection):
        found.append(followers_gate(feeds, nodes_to_follow(site, kind)))
    return [
        *found,
        gates.sql_writers_gate(_untold(site)),
        *([] if fast else [judged_reads(site, kind)]),
        gates.writers_gate(facts.writers(), epoch.epoch, site.config.dual_write.writer_lease_seconds, writers),
        gates.settings_gate(_other_settings(site, kind, told)),
        gates.intents_gate(facts.intents(), site.config.cutover.max_intents),
        gates.shadow_gate(facts.shadow([t.name for t in site.tables])),
    ]


def nodes_to_follow(site: Site, kind: SwitchKind) -> list[Node]:
    """The source's nodes; none before a rollback: what others write there meanwhile is overwritten."""
    return all_nodes(site.cassandra.session) if kind == "cutover" else []


def _one_sided(site: Site) -> list[str]:
    return [t.name for t in site.tables if one_sided(t.source)]


def _copy_gates(site: Site, facts: GateFacts) -> list[Gate]:
    names = [regclass(f"{t.target.schema}.{t.target.name}") for t in site.tables]
    return [
        gates.backfill_gate(facts.copied([t.name for t in site.tables])),
        _write_times(site),
        gates.rejects_gate(count_rejects(site.connection)),
        gates.indexes_gate(facts.bad_indexes(names)),
    ]


def _untold(site: Site) -> list[str]:
    """What SQL could write with Postgres as primary, and no trigger would tell of; or what one would tell of wrongly."""
    tables = [table for table in site.tables if not one_sided(table.source)]
    mode = site.config.cutover.sql_writers
    made = [writers_of(table, mode) for table in tables]
    there = watched(site.connection, made)
    faults = [fault for writers in made for fault in writers.faults(there)]
    left = left_behind(site.connection, made, there, site.config.exclude)
    return faults + [f"{relation} has triggers, and is not a table of the migration" for relation in left]


def _write_times(site: Site) -> Gate:
    tables = [t.name for t in site.tables if not t.source.is_collection]  # documents have no timestamps of ours
    return gates.write_times_gate(ahead.unseen(site.connection, tables), ahead.facts(site.connection, tables))


def unproved(site: Site, epoch: Epoch, fast: bool = False) -> Callable[[], str]:
    """A function that returns why both sides are no longer proved equal, or ""; the tables' shapes are read now.

    It is called within the cut-over, while every write waits, and asks Postgres alone.
    """
    shapes = {} if fast else table_shapes(site)

    def why() -> str:
        proof = _undisturbed(site, epoch) if fast else proof_gate(table_proofs(site, epoch, shapes))
        shadow = gates.shadow_gate(GateFacts(site.connection).shadow([t.name for t in site.tables]))
        red = [gate for gate in (proof, shadow) if not gate.green]
        return f"the proof was invalidated meanwhile: {red[0].figure}" if red else ""

    return why


def table_shapes(site: Site) -> dict[str, str]:
    """The tables' shapes now. Raises Unreachable."""
    return shapes_now(site.cassandra, site.connection, site.tables)


def table_proofs(site: Site, epoch: Epoch, shapes: Mapping[str, str]) -> list[TableProof]:
    """How each table is proved, given these shapes of the tables."""
    return GateFacts(site.connection).proofs(shapes, epoch, site.cassandra.data_center)


def _proof(site: Site, epoch: Epoch) -> Gate:
    return proof_gate(table_proofs(site, epoch, table_shapes(site)))


def _undisturbed(site: Site, epoch: Epoch) -> Gate:
    """Without gaps in feeds: what others write in Astra meanwhile is waived."""
    facts = GateFacts(site.connection)
    return undisturbed_gate(facts.passes(), [t.name for t in site.tables], facts.bounds(epoch, gaps=False))


def _by_hand(site: Site) -> Gate:
    """The gate that no row was inserted behind the triggers of SQL writers: nobody sends such rows to Astra."""
    suspects = without_tokens(site.connection, site.tables)
    found = {t.name: count for t in suspects if (count := count_strays(site.connection, t))}
    figure = ", ".join(f"{name} {count:,}" for name, count in found.items()) or "no row was inserted behind the triggers"
    return Gate("rows by hand", not found, figure, "`sync drift-report --repair` sends them, without --fast")
