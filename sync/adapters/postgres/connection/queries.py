"""Named SQL: statements in `sql/*.sql`, each below a line `-- name: purpose`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADER = re.compile(r"^-- (\w+): .*$", re.MULTILINE)


@cache
def queries(file: str) -> dict[str, str]:
    """The statements of `<room>/sql/<name>.sql`, by name; `file` is `room/name`."""
    room, _, name = file.partition("/")
    text = (files("sync.adapters.postgres") / room / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    parts = _HEADER.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
