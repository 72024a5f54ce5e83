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
from sync.adapters.postgres.connection.epoch_lock import changing_epoch
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.words import counted
from sync.errors import GateRefused, StillOpen, TargetBusy
from sync.failpoints import failpoint
from sync.ports import Epoch, NotReady, SwitchKind

_SQL = {name: text.encode() for name, text in queries("cutover/epochs").items()}


def read_epoch(connection: Connection) -> Epoch:
    """The current epoch. Raises TargetUnavailable."""
    with target_errors():
        row = connection.execute(_SQL["current"]).fetchone()
    assert row is not None, "sync.epoch is empty"
    return Epoch(row[0], row[1], row[2], row[3], row[4], row[5])


def reopen_late(connection: Connection, epoch: int) -> bool:
    """Open an epoch again whose closing took longer than it was given; whether this call did."""
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
    """A switch that has not ended, and whose it is."""

    kind: str
    who: str


class Authority:
    """Switches over one autocommit connection. Every method raises TargetUnavailable where that breaks."""

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
        """Announce a switch; its number. Raises GateRefused while another is under way, or where that store is primary.

        `judged` is the epoch of the gates: there and back again, the store is the same, and what was proved is of the past.
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
        """Undo what a command left that died: its switch is abandoned, its epoch open again."""
        with target_errors(), self.connection.transaction():
            row = self._row("abandon_expired")
            if row:
                switch, epoch, kind, owner = row
                failpoint("switch.recovered")
                self._row("reopen", epoch=epoch)
                self.audit(f"{kind} abandoned", {"switch": switch, "epoch": epoch, "of": owner})

    def renew(self, switch: int) -> None:
        """Prolong the switch. Raises GateRefused where another command took it back."""
        if not self._row("renew", switch=switch, lease=self._lease):
            raise GateRefused("another command undid this switch, which seemed dead; run it again")

    def not_ready(self, switch: int) -> list[NotReady]:
        """Writers that have not promised to wait for this switch, or still hold writes that are not recorded (rule 30)."""
        with target_errors():
            return [NotReady(*row) for row in self.connection.execute(_SQL["not_ready"], {"switch": switch}).fetchall()]

    def close(self, switch: int, pause: float) -> int:
        """No new write begins, for `pause` seconds at most; the epoch."""
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

    def open_intents(self) -> int:
        """How many intents are not settled."""
        row = self._row("open_intents")
        return int(row[0]) if row else 0

    def switch_primary(
        self, switch: int, figures: dict[str, Any], unproved: Callable[[], str] = lambda: ""
    ) -> tuple[Epoch, float]:
        """The other store is primary, in one exclusive transaction; its epoch, and for how long the old one was closed (s).

        `unproved` is asked within it: what was settled since the gates were judged may have invalidated the proof (rule 17).
        Raises GateRefused, having changed nothing, where an intent or a writer came in between, or the epoch is open again.
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
        return Epoch(epoch, primary, "open", floor, since), seconds  # its own, whatever another command has done since

    def _check_nothing_open(self, switch: int) -> None:
        intents, backfills = self._row("unfinished") or (0, 0)
        if backfills:  # which takes long: writers are not to wait for it
            raise GateRefused(
                f"{counted(backfills, 'backfill')} under way: nothing has changed; run it again when that has ended"
            )
        if intents:
            raise StillOpen(f"{counted(intents, 'open intent')}")
        for writer in self.not_ready(switch):
            raise StillOpen(f"{writer.writer} {writer.why}")

    def abandon(self, switch: int, reason: str) -> None:
        """End a switch without a cut-over: the same epoch is open."""
        with target_errors(), self.connection.transaction():
            row = self._row("abandon", switch=switch, reason=reason)
            if row:
                # Both or neither: of a switch that has ended, nobody would open the epoch again where no writer waits.
                failpoint("switch.abandoned")
                self._row("reopen", epoch=row[0])

    def waits(self, switch: int) -> dict[str, list[float]]:
        """How long writes waited for a switch, in milliseconds, by the writers that have told."""
        with target_errors():
            return dict(self.connection.execute(_SQL["waits"], {"switch": switch}).fetchall())

    def clear(self, begun: datetime, window_seconds: float, skew_us: int) -> list[str]:
        """Clear unclean writers after a full pass with repair that began then; those that were fenced long enough before."""
        values = {"begun": begun, "window": window_seconds, "skew": skew_us}
        if self._row("unclean") != (True,):
            return []
        try:
            with target_errors(), changing_epoch(self.connection):
                return [str(row[0]) for row in self.connection.execute(_SQL["clear"], values).fetchall()]
        except TargetBusy:
            return []  # the next pass may

    def audit(self, what: str, detail: dict[str, Any]) -> None:
        """Record a step."""
        audit(self.connection, what, detail)

    def _row(self, query: str, **values: Any) -> tuple[Any, ...] | None:
        with target_errors():
            cursor = self.connection.execute(_SQL[query], values)
            return cursor.fetchone() if cursor.description else None


def audit(connection: Connection, what: str, detail: dict[str, Any]) -> None:
    """Record who did what, with which figures."""
    with target_errors():
        connection.execute(_SQL["audit"], {"who": audit_actor(), "what": what, "detail": Jsonb(detail)})


def audits(connection: Connection) -> list[dict[str, Any]]:
    """The audit, the oldest first."""
    with target_errors():
        rows = connection.execute(_SQL["audits"]).fetchall()
    return [{"at": at.isoformat(), "who": by, "what": what, "detail": detail} for at, by, what, detail in rows]
