"""Connections after what went wrong: dead ones cost a write none of its time, and one on which a statement failed is as good."""

from __future__ import annotations

from contextlib import ExitStack, closing

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from support.places import NewPlace

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.epoch_lock import one_transaction
from sync.adapters.postgres.connection.pool import open_pool

pytest_plugins = ("support.fixtures",)


def test_a_pool_full_of_dead_connections_gives_a_live_one_at_once(new_place: NewPlace) -> None:
    """Would break: writes are refused when Postgres is back, since looking through dead connections takes all of their time."""
    with new_place() as place, closing(open_pool(place.settings, 8, timeout=1.5)) as pool:
        with ExitStack() as stack:
            held = [stack.enter_context(pool.connection()) for _ in range(8)]
            ids = [connection.info.backend_pid for connection in held]
        (ended,) = place.sql(
            f"SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 5000)) FROM unnest(ARRAY{ids}) AS t (pid)"
        )
        assert ended == (8,)
        with ExitStack() as stack:
            fresh = {stack.enter_context(pool.connection()).info.backend_pid for _ in range(8)}
        assert len(fresh) == 8 and not fresh & set(ids)


def test_a_check_that_is_broken_off_costs_the_pool_no_connection(
    new_place: NewPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a Ctrl-C or a job's time limit during the check makes the pool one connection smaller for good."""

    def interrupted(connection: object) -> None:
        raise KeyboardInterrupt

    with new_place() as place, closing(open_pool(place.settings, 1, timeout=1.5)) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(ConnectionPool, "check_connection", staticmethod(interrupted))
            with pytest.raises(KeyboardInterrupt):
                pool.getconn()
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_could_not_be_prepared_behind_a_failure_is_prepared_later(new_place: NewPlace) -> None:
    """Would break: the driver takes it for prepared, and each write by this connection is refused: the statement does not exist."""
    query = "SELECT %s::int + 1"
    with new_place() as place, closing(connect(place.settings, autocommit=True)) as connection:
        for _ in range(connection.prepare_threshold or 0):
            connection.execute(query, (1,))
        with pytest.raises(psycopg.errors.DivisionByZero), one_transaction(connection):
            connection.execute("SELECT 1 / 0")
            connection.execute(query, (1,))
        assert connection.execute(query, (2,)).fetchone() == (3,)
