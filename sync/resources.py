"""Files that come with the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def migration(name: str) -> str:
    """The text of a file of `migrations/`: in a wheel it stands inside the package, in a checkout beside it.

    It is never looked for by import: the folder that a command is run in may have migrations of its own.
    """
    folders = (_PACKAGE / "migrations", _PACKAGE.parent / "migrations")
    folder = next(f for f in folders if (f / name).is_file())
    return (folder / name).read_text(encoding="utf-8")
