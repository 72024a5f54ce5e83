"""Text that may hold anything, for a terminal: what that would interpret, or not show, is written as an escape.

Keys and server errors quote what an application's users typed. Printable is what Python's `repr` prints as it is: no control
character (C0 and C1), no direction override, no invisible character, no space but the usual one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MARKS = frozenset('",=[]{}\\')


def visible(text: str) -> str:
    r"""The text in one line, with `\x1b`, `\n`, `\u202e` for what is not printable."""
    return text if text.isprintable() else "".join([c if c.isprintable() else repr(c)[1:-1] for c in text])


def visible_lines(text: str) -> str:
    """The same, line by line."""
    return text if text.isprintable() else "\n".join(map(visible, text.split("\n")))


def visible_json(value: Any, ascii_only: bool = False) -> str:
    r"""A value as JSON in one line, what is not printable as `\u001b`."""
    text = json.dumps(value, default=str, ensure_ascii=ascii_only)
    return text if text.isprintable() else "".join([c if c.isprintable() else json.dumps(c)[1:-1] for c in text])


def key_text(key: Mapping[str, Any]) -> str:
    """A key in its JSON form for people: `id=7, title=Air`; texts that are not plain words are quoted."""
    return ", ".join(f"{visible(name)}={_value_text(value)}" for name, value in key.items())


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) and _is_plain(value) else visible_json(value)


def _is_plain(text: str) -> bool:
    """Whether the text cannot be mistaken for anything else without quotes."""
    if not text or not text.isprintable() or text != text.strip() or not _MARKS.isdisjoint(text):
        return False
    try:
        json.loads(text)
    except ValueError:
        return True
    return False
