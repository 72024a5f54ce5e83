"""JSON texts as Postgres prints them, and the fast way of map<text, text> into a JSON object."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from operator import itemgetter

from sync.core.encode.base import INT32

Render = Callable[[bytes], bytes]
"""From a cell to the text of its JSON; raises Reject."""
Shape = tuple[bytes, Callable[[list[bytes]], object]]
_MAX_SHAPES = 4096
_ESCAPE = re.compile(rb'[\x00-\x1f"\\]')
_SHORT = {0x08: b"\\b", 0x09: b"\\t", 0x0A: b"\\n", 0x0C: b"\\f", 0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"}
_UNESCAPE = re.compile(rb"\\(u00..|.)")
_LONG = {v[1:]: bytes((k,)) for k, v in _SHORT.items()}


def quote(text: bytes) -> bytes:
    """A JSON string as Postgres's `escape_json` writes it: only `"`, `\\` and characters below the space are escaped."""
    return b'"' + _ESCAPE.sub(_escape, text) + b'"'


def _escape(match: re.Match[bytes]) -> bytes:
    code = match.group()[0]
    return _SHORT.get(code) or b"\\u%04x" % code


def unquote(quoted: bytes) -> bytes:
    """The text of a JSON string that `quote` wrote."""
    return _UNESCAPE.sub(lambda m: _LONG.get(m[1]) or bytes((int(m[1][1:], 16),)), quoted[1:-1])


def text_map(careful: Render) -> Render:
    """map<text, text>, the common case: rows mostly share a few sets of keys, so each set's JSON is made once, with gaps.

    What needs an escape, is refused, or is no such map at all goes the careful way.
    """
    shapes: dict[bytes, Shape | None] = {}

    def render(cell: bytes) -> bytes:
        try:
            keys, values = _split_text_map(cell)
        except (IndexError, struct.error):
            return careful(cell)
        if keys not in shapes:
            if len(shapes) >= _MAX_SHAPES:
                shapes.clear()
            shapes[keys] = _shape(keys)
        shape = shapes[keys]
        if shape is None or not _is_plain(values):
            return careful(cell)
        return shape[0] % shape[1](values) if values else b"{}"

    return render


def _split_text_map(cell: bytes) -> tuple[bytes, list[bytes]]:
    """The keys with their lengths, as one string, and the values. Raises IndexError for what is not a map of texts."""
    keys, at, end = b"", 4, len(cell)
    values: list[bytes] = []
    add = values.append
    while at < end:
        # Most lengths fit the last byte, which spares a call; the others include the negative length of a null.
        key_end = at + 4 + (_length(cell, at) if cell[at + 2] else cell[at + 3])
        keys += cell[at:key_end]
        at = key_end + 4 + (_length(cell, key_end) if cell[key_end + 2] else cell[key_end + 3])
        add(cell[key_end + 4 : at])
    if at != end or int.from_bytes(cell[:4], "big") != len(values):
        raise IndexError
    return keys, values


def _is_plain(texts: list[bytes]) -> bool:
    """Whether these texts are valid in JSON as they are: nothing to escape, and UTF-8 each."""
    joined = b"".join(texts)
    if _ESCAPE.search(joined):
        return False
    if not joined.isascii():
        try:
            for text in texts:
                text.decode()
        except UnicodeDecodeError:
            return False
    return True


def _length(cell: bytes, at: int) -> int:
    length: int = INT32.unpack_from(cell, at)[0]
    if length < 0:
        raise IndexError
    return length


def _shape(keys: bytes) -> Shape | None:
    """The JSON of these keys with gaps for their values, and what puts values into its order; None if keys need care."""
    names: list[bytes] = []
    at = 0
    while at < len(keys):
        length = _length(keys, at)
        names.append(keys[at + 4 : at + 4 + length])
        at += 4 + length
    if len(set(names)) < max(1, len(names)) or not _is_plain(names):
        return None
    order = sorted(range(len(names)), key=lambda i: (len(names[i]), names[i]))
    gaps = [b'"' + names[i].replace(b"%", b"%%") + b'": "%b"' for i in order]
    return b"{" + b", ".join(gaps) + b"}", itemgetter(*order)
