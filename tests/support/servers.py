"""The embedded servers as tests start them."""

from __future__ import annotations

from pathlib import Path

from sync import local
from sync.local.stack import Stack

QUICK = local.PostgresOptions(settings={"fsync": "off", "full_page_writes": "off"})
"""A process that is killed loses nothing by it, only a machine that stops does; a database is dropped in a tenth of the time."""


def up(folder: Path) -> local.Endpoints:
    """What `sync local up` starts, with a quick Postgres."""
    stack = Stack(folder)
    local.claim(stack.folder)
    stack.postgres.options = QUICK
    stack.postgres.start()
    return local.up(folder)
