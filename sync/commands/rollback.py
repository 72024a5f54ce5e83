"""`sync rollback`: the cut-over the other way."""

from __future__ import annotations

from sync.commands.cutover import run

__all__ = ["run"]
