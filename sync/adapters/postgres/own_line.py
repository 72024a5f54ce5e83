"""A connection beside a pool's, for what must not wait until another one is free."""

from __future__ import annotations

from sync.adapters.postgres.pool import Pool


def of_one(pool: Pool) -> Pool:
    """A pool of one connection, made as those of `pool` are and with its time limit. The caller closes it."""
    return Pool(
        pool.conninfo,
        connection_class=pool.connection_class,
        kwargs=pool.kwargs,
        configure=pool._configure,
        check=pool._check,
        min_size=1,
        max_size=1,
        num_workers=1,
        timeout=pool.timeout,
        open=True,
    )
