"""Postgres in a store of both sides: this process is registered there as a writer, or will be when Postgres answers.

Only a registered writer may write (rule 28). Reads do not wait for that while Astra is primary (invariant 8): by the epoch
or, until that could be read, by STORAGE_BACKEND.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.connect import target_name
from sync.adapters.postgres.connection.refusals import error_text, is_server_wide
from sync.adapters.postgres.cutover.epochs import primary_of_registered, read_epoch
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.adapters.postgres.dual_write.registration import Registration
from sync.adapters.postgres.schema.migrations import usable_state
from sync.errors import PreflightError, SyncError, TargetUnavailable, Unreachable
from sync.ports import Primary
from sync.settings import DualWriteTuning, Settings
from sync.stores.both_sides.expected_backend import check_backend, check_wraps
from sync.stores.one_side.postgres import PostgresStore

log = logging.getLogger(__name__)
_FIRST_SECONDS, _MAX_SECONDS = 0.25, 5.0
_LAST_SECONDS = 1.0
# What libpq's errors say if waiting does not help; they have no SQLSTATE.
_MISTAKE = re.compile(
    r"password|authentication|pg_hba|role .* (does not exist|is not permitted)|database .* does not exist|permission denied|"
    r"SSL|TLS|certificate",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Registered:
    """The open pool, and this process as a writer."""

    store: PostgresStore
    registration: Registration


class TargetSide:
    """The target. Raises what is wrong with it; if it is unreachable and Astra is primary, it is retried until it answers."""

    def __init__(
        self,
        settings: Settings,
        tuning: DualWriteTuning,
        notify: Callable[[str], object],
        told: Mapping[str, Any],
        wraps: Primary | None = None,
    ) -> None:
        self._settings, self._tuning, self._notify, self._wraps = settings, tuning, notify, wraps
        self._told = {**told, "wraps": wraps} if wraps else told
        if settings.expected_backend:
            check_wraps(wraps, settings.expected_backend)
        self._ended, self._handing = Event(), Lock()
        self._thread: Thread | None = None
        self._registered: Registered | None = None
        self._wrong: SyncError | None = None
        self._primary = settings.expected_backend
        self._away = ""
        try:
            self._registered = self._register()
        except (Unreachable, TargetUnavailable) as error:
            if not is_away(error):
                raise
            self._say(error)
            self._check_start()
            log.warning("%s; reads go on, and writes are refused until this process is registered there", self._away)

    def _say(self, error: Exception) -> None:
        text, name = error_text(error), target_name(self._settings)
        self._away = text if text.startswith(name) else f"{name}: {text}"

    def _check_start(self) -> None:
        if self._primary == "postgres":
            raise Unreachable(f"{self._away}; Postgres is primary")
        if self._primary is None:
            advice = "set STORAGE_BACKEND=astra, if Astra is, to start without it"
            raise Unreachable(f"{self._away}; only Postgres knows which store is primary: {advice}")

    def _register(self, then: Callable[[Registration], None] | None = None) -> Registered:
        settings, tuning = self._settings, self._tuning
        with ExitStack() as undo:
            store = undo.enter_context(PostgresStore(settings, tuning.connections, tuning.secondary_timeout_seconds))
            with connection_of(store.pool) as connection:
                if not usable_state(connection):
                    raise PreflightError("Postgres has no state of a migration yet: run `sync schema apply`")
                epoch = read_epoch(connection)
            check_backend(settings.expected_backend, epoch)
            check_wraps(self._wraps, epoch.primary)
            self._primary = epoch.primary
            registration = Registration(store.pool, tuning, self._notify, self._told)
            undo.callback(registration.end)
            if self._wraps:
                with connection_of(store.pool) as connection:
                    check_wraps(self._wraps, primary_of_registered(connection))
            check_backend(settings.expected_backend, registration.epoch)  # the epoch may have changed by now
            if then:
                then(registration)
            undo.pop_all()
        return Registered(store, registration)

    def reconnect_later(self, then: Callable[[Registration], None]) -> None:
        """If Postgres is unreachable: try to register from now on, and call `then` before anything is written.

        Every call raises the error with which a start would have been refused (`then` included), until the cause is fixed.
        """
        if self._registered is None:
            self._thread = Thread(target=self._try, args=(then,), name="sync-target", daemon=True)
            self._thread.start()

    def _try(self, then: Callable[[Registration], None]) -> None:
        wait = _FIRST_SECONDS
        while not self._ended.wait(wait):
            wait = min(_MAX_SECONDS, 2 * wait)
            try:
                registered = self._register(then)
            except (SyncError, psycopg.Error, PoolTimeout) as error:
                self._heard(error)
                continue
            except Exception:  # nobody else would try again
                log.exception("this process is not registered in Postgres")
                continue
            if self._hand_over(registered):
                return

    def _heard(self, error: Exception) -> None:
        self._say(error)
        told, self._wrong = self._wrong, None if is_away(error) or not isinstance(error, SyncError) else error
        if self._wrong and str(told) != str(self._wrong):
            log.error("%s; until then every call is refused", self._wrong)

    def _hand_over(self, registered: Registered) -> bool:
        """Whether it is used: not if the store was closed meanwhile."""
        with self._handing:
            self._wrong = None
            if not self._ended.is_set():
                self._registered = registered
                log.warning("Postgres answers: this process writes to both sides as %s", registered.registration.writer.id)
                return True
        registered.registration.end()
        registered.store.close()
        return False

    @property
    def is_registered(self) -> bool:
        """Whether this process may write."""
        return self._registered is not None

    @property
    def primary(self) -> Primary:
        """The primary as this process knows it. Raises what a start would have raised."""
        if self._registered:
            return self._registered.registration.primary
        self._check()
        return self._primary or "astra"

    @property
    def primary_for_reads(self) -> Primary:
        """The store that a read goes to. Raises as `primary` does."""
        return self._registered.registration.primary_for_reads if self._registered else self.primary

    def _check(self) -> None:
        wrong = self._wrong
        if wrong:
            raise type(wrong)(str(wrong))

    @property
    def store(self) -> PostgresStore:
        """The store over Postgres alone. Raises TargetUnavailable while unreachable, or what a start would have raised."""
        return self._there().store

    @property
    def registration(self) -> Registration:
        """This process as a writer. Raises as `store` does."""
        return self._there().registration

    def _there(self) -> Registered:
        if self._registered is None:
            self._check()
            raise TargetUnavailable(f"{self._away}; this process is not registered there yet, and keeps retrying")
        return self._registered

    def end(self, sign_off: bool = True) -> None:
        """End the heartbeat and sign off, or give up registering."""
        with self._handing:
            self._ended.set()
        if self._thread:
            self._thread.join(_LAST_SECONDS)  # it may be waiting for Postgres: it then ends its own registration
        if self._registered:
            self._registered.registration.end(sign_off=sign_off)

    def close(self) -> None:
        """Close the connections."""
        if self._registered:
            self._registered.store.close()


def is_away(error: BaseException) -> bool:
    """Whether an error of Postgres is temporary: no answer, or nothing accepted for now. Wrong settings are not temporary."""
    cause = error.__context__
    if isinstance(cause, PoolTimeout):
        return True
    if not isinstance(error, Unreachable | TargetUnavailable) or not isinstance(cause, psycopg.Error):
        return False
    return is_server_wide(cause) and not (cause.sqlstate is None and _MISTAKE.search(str(cause)))
