"""The authority: which store is primary (invariant 6), and the switch from one epoch to the next (rules 20, 21 and 30)."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import changing_epoch, share_epoch
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.words import counted
from sync.errors import EpochChanged, GateRefused, StillOpen, TargetBusy
from sync.failpoints import failpoint
from sync.ports import Epoch, NotReady, Primary, SwitchKind

_SQL = {name: text.encode() for name, text in queries("cutover/epochs").items()}


def read_epoch(connection: Connection) -> Epoch:
    """The current epoch. Raises TargetUnavailable."""
    with target_errors():
        row = connection.execute(_SQL["current"]).fetchone()
    assert row is not None, "sync.epoch is empty"
    return Epoch(row[0], row[1], row[2], row[3], row[4], row[5])


def primary_of_registered(connection: Connection) -> Primary:
    """The primary, for a process that has just registered: any switch that did not see it as a writer has ended.

    It shares the epoch (rule 20), so it waits for a switch that has looked at the writers before. Raises TargetUnavailable.
    """
    try:
        with target_errors(), connection.transaction():
            share_epoch(connection)
            return read_epoch(connection).primary
    except EpochChanged:
        raise TargetBusy("the primary is being changed at this moment: start again") from None


def reopen_late(connection: Connection, epoch: int) -> bool:
    """Reopen an epoch whose closing has passed its time limit; returns whether this call did."""
    with target_errors():
        return connection.execute(_SQL["reopen_late"], {"epoch": epoch}).fetchone() is not None


def audit_actor() -> str:
    """How the audit names whoever runs this command."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class SwitchInProgress:
    """A switch that has not ended, and who began it."""

    kind: str
    who: str


class Authority:
    """Switches over one autocommit connection. Every method raises TargetUnavailable if that breaks."""

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self.connection, self._lease = connection, lease_seconds

    def current(self) -> Epoch:
        """The current epoch."""
        return read_epoch(self.connection)

    def in_progress(self) -> SwitchInProgress | None:
        """The switch that has not ended, if there is one."""
        row = self._row("in_progress")
        return SwitchInProgress(*row) if row else None

    def begin(self, kind: SwitchKind, judged: int | None = None) -> int:
        """Announce a switch; returns its number. Raises GateRefused while another is under way, or if the epoch has changed.

        `judged` is the epoch of the gates: after a switch and one back the primary is the same, but the proof is outdated.
        """
        self.recover()
        primary = "astra" if kind == "cutover" else "postgres"
        row = self._row("begin", kind=kind, who=audit_actor(), lease=self._lease, primary=primary, judged=judged)
        if row:
            return int(row[0])
        other = self.in_progress()
        if other:
            raise GateRefused(f"a {other.kind} by {other.who} is under way")
        raise GateRefused(f"epoch {self.current().epoch} has changed in the meantime: see `sync status`")

    def recover(self) -> None:
        """Undo what a dead command left: abandon its switch, and reopen its epoch."""
        with target_errors(), self.connection.transaction():
            row = self._row("abandon_expired")
            if row:
                switch, epoch, kind, owner = row
                failpoint("switch.recovered")
                self._row("reopen", epoch=epoch)
                self.audit(f"{kind} abandoned", {"switch": switch, "epoch": epoch, "of": owner})

    def renew(self, switch: int) -> None:
        """Prolong the switch. Raises GateRefused if another command undid it."""
        if not self._row("renew", switch=switch, lease=self._lease):
            raise GateRefused("another command undid this switch, which seemed dead; run it again")

    def not_ready(self, switch: int) -> list[NotReady]:
        """Writers that have not promised to wait for this switch, or have unrecorded writes, or are unclean (rule 30)."""
        with target_errors():
            return [NotReady(*row) for row in self.connection.execute(_SQL["not_ready"], {"switch": switch}).fetchall()]

    def close(self, switch: int, pause: float) -> int:
        """Close the epoch: no new write begins, for `pause` seconds at most; returns its number. Raises GateRefused."""
        try:
            with target_errors(), changing_epoch(self.connection, pause):
                row = self._row("close", switch=switch, pause=pause)
        except TargetBusy as busy:
            raise GateRefused(str(busy)) from None
        if not row:
            raise GateRefused("the epoch could not be closed: another command undid this switch")
        failpoint("switch.closed")
        self._row("closed", switch=switch)
        return int(row[0])

    def feeds_behind(self, switch: int, write_timeout: float) -> str:
        """Which feeds have not told what the switch must know of, in words; empty: all have (rule 42)."""
        with target_errors():
            values = {"switch": switch, "write_timeout": write_timeout}
            rows = self.connection.execute(_SQL["feeds_behind"], values).fetchall()
        missing = [(name, "has told nothing yet" if left is None else f"is {left:.1f} s behind") for name, left in rows]
        return "; ".join(f"feed {name} {how}" for name, how in missing)

    def open_intents(self) -> int:
        """How many intents are left, counted up to 100,000."""
        row = self._row("open_intents")
        return int(row[0]) if row else 0

    def switch_primary(
        self, switch: int, figures: dict[str, Any], unproved: Callable[[], str] = lambda: ""
    ) -> tuple[Epoch, float]:
        """Make the other store primary, in one exclusive transaction; returns its epoch, and how long the old was closed (s).

        `unproved` is asked within it: reconciles since the gates were judged may have invalidated the proof (rule 17).
        Raises GateRefused, with nothing changed, if an intent or a writer came in between, or the epoch is open again.
        """
        with target_errors(), changing_epoch(self.connection):
            held = self._row("hold", switch=switch)
            if not held:
                raise GateRefused("it took too long: the epoch was opened again, nothing has changed")
            self._check_nothing_open(switch)
            if why := unproved():
                raise GateRefused(f"{why}: nothing has changed")
            failpoint("switch.before_commit")
            self._row("end_epoch", epoch=held[0])
            epoch, primary, floor, since = self._row("new_epoch", epoch=held[0]) or ()
            kind, seconds = self._row("finish", switch=switch) or ()
            self.audit(
                f"{kind} done", {**figures, "switch": switch, "epoch": epoch, "primary": primary, "closed_seconds": seconds}
            )
        failpoint("switch.committed")
        return Epoch(epoch, primary, "open", floor, since), seconds  # this switch's, whatever another command has done since

    def _check_nothing_open(self, switch: int) -> None:
        intents, backfills = self._row("unfinished") or (0, 0)
        if backfills:  # which takes long: writers must not wait for it
            raise GateRefused(
                f"{counted(backfills, 'backfill')} under way: nothing has changed; run it again when that has ended"
            )
        if intents:
            raise StillOpen(f"{counted(intents, 'open intent')}")
        if behind := self.feeds_behind(switch, 0.0):
            raise StillOpen(behind)
        for writer in self.not_ready(switch):
            raise StillOpen(f"{writer.writer} {writer.why}")

    def abandon(self, switch: int, reason: str) -> None:
        """End a switch without a cut-over, and reopen the same epoch."""
        with target_errors(), self.connection.transaction():
            row = self._row("abandon", switch=switch, reason=reason)
            if row:
                # Both or neither: once the switch has ended, only a writer that waits would reopen the epoch.
                failpoint("switch.abandoned")
                self._row("reopen", epoch=row[0])

    def waits(self, switch: int) -> dict[str, list[float]]:
        """How long writes waited for a switch, in milliseconds, by the writers that have reported it."""
        with target_errors():
            return dict(self.connection.execute(_SQL["waits"], {"switch": switch}).fetchall())

    def clear(self, begun: datetime, window_seconds: float, skew_us: int) -> list[str]:
        """Clear the unclean writers that were fenced long enough before `begun`, when a full pass with repair began."""
        values = {"begun": begun, "window": window_seconds, "skew": skew_us}
        if self._row("unclean") != (True,):
            return []
        try:
            with target_errors(), changing_epoch(self.connection):
                return [str(row[0]) for row in self.connection.execute(_SQL["clear"], values).fetchall()]
        except TargetBusy:
            return []  # the next pass may

    def audit(self, what: str, detail: dict[str, Any]) -> None:
        """Record a step in the audit."""
        audit(self.connection, what, detail)

    def _row(self, query: str, **values: Any) -> tuple[Any, ...] | None:
        with target_errors():
            cursor = self.connection.execute(_SQL[query], values)
            return cursor.fetchone() if cursor.description else None


def audit(connection: Connection, what: str, detail: dict[str, Any]) -> None:
    """Record in the audit who did what, with which figures."""
    with target_errors():
        connection.execute(_SQL["audit"], {"who": audit_actor(), "what": what, "detail": Jsonb(detail)})


def audits(connection: Connection) -> list[dict[str, Any]]:
    """The audit, the oldest first."""
    with target_errors():
        rows = connection.execute(_SQL["audits"]).fetchall()
    return [{"at": at.isoformat(), "who": by, "what": what, "detail": detail} for at, by, what, detail in rows]
