"""The `_id` of a Data API document: its `key` cell, its text form, and what a target's column makes of it.

A collection's key is a type and a text: 1 text (also uuid and objectId, which only the document distinguishes), 2 number,
3 boolean, 4 null, 5 date. The text form is the text itself, and for all others JSON that names the type: `{"$number": 42}`.
A text that looks like one of these is written as `{"$text": …}`, so that no two keys have the same form.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sync.core.encode.base import Encode, Reject, UnsupportedPair, elements_of_tuple, with_length
from sync.core.encode.scalars import encode_text
from sync.core.rows import PgType

TEXT, NUMBER, BOOLEAN, NULL_ID, DATE = 1, 2, 3, 4, 5
_TAGS = {NUMBER: "$number", BOOLEAN: "$boolean", NULL_ID: "$null", DATE: "$date"}
_KINDS = {tag: kind for kind, tag in _TAGS.items()}
_FORM = re.compile(r'\{"(\$\w+)": (.*)\}', re.DOTALL)
_WHOLE = re.compile(rb"0|-?[1-9]\d*")
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDTHS = {"int2": 2, "int4": 4, "int8": 8}


def document_id(pg: PgType) -> Encode:
    """The encode function of a `key` cell. Raises UnsupportedPair."""
    if pg.name in ("text", "varchar") and pg.typmod == -1:
        return lambda cell: encode_text(id_form(cell).encode())
    if pg.name == "uuid":
        return _uuid
    if pg.name in _WIDTHS:
        width = _WIDTHS[pg.name]
        return lambda cell: _integer(cell, width)
    raise UnsupportedPair(
        f"the _id of a document does not go into {pg}; it goes into text, or uuid or bigint where all are such"
    )


def id_cell(kind: int, text: str) -> bytes:
    """The `key` cell."""
    return with_length(bytes((kind,))) + with_length(text.encode())


def id_parts(cell: bytes) -> tuple[int, bytes]:
    """Type and text of a `key` cell. Raises Reject."""
    found = elements_of_tuple(cell)
    if len(found) != 2 or found[0] is None or found[1] is None or len(found[0]) != 1:
        raise Reject("a key that is not the type and text of an _id")
    return found[0][0], found[1]


def id_form(cell: bytes) -> str:
    """The text form of a `key` cell."""
    kind, raw = id_parts(cell)
    text = raw.decode()
    if kind == TEXT:
        return f'{{"$text": {json.dumps(text, ensure_ascii=False)}}}' if text.startswith('{"$') else text
    if kind not in _TAGS:
        raise Reject(f"an _id of type {kind}, which is not known")
    return f'{{"{_TAGS[kind]}": {text}}}'


def cell_of(value: Any) -> bytes:
    """The `key` cell of what a target holds for it: its text form, a uuid or a whole number. Raises ValueError."""
    if isinstance(value, UUID):
        return id_cell(TEXT, str(value))
    if isinstance(value, int):
        return id_cell(NUMBER, str(value))
    form = _FORM.fullmatch(value)
    if form is None:
        return id_cell(TEXT, value)
    if form[1] == "$text":
        return id_cell(TEXT, json.loads(form[2]))
    if form[1] not in _KINDS:
        raise ValueError(f"{form[1]} is not a type of an _id")
    return id_cell(_KINDS[form[1]], form[2])


def number_text(value: int | float | Decimal) -> str:
    """A number as the server writes it into a key: digits, or Java's exponent form, without trailing zeros."""
    if isinstance(value, int):
        return str(value)
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    # Java and Python write decimals alike (the General Decimal Arithmetic specification, "to-scientific-string").
    return "0" if not exact else str(exact.normalize())


def _uuid(cell: bytes) -> bytes:
    kind, text = id_parts(cell)
    if kind != TEXT or not _UUID.fullmatch(text):
        raise Reject("an _id that is not a uuid in its usual form")
    return bytes.fromhex(text.decode().replace("-", ""))


def _integer(cell: bytes, width: int) -> bytes:
    kind, text = id_parts(cell)
    if kind != NUMBER or not _WHOLE.fullmatch(text) or len(text) > 20:
        raise Reject("an _id that is not a whole number")
    try:
        return int(text).to_bytes(width, "big", signed=True)
    except OverflowError:
        raise Reject("an _id that is too large a number") from None


def id_of(value: Any) -> bytes:
    """The `key` cell of an application's `_id`, as the server makes it. Raises ValueError."""
    if isinstance(value, bool):
        return id_cell(BOOLEAN, str(value).lower())
    if value is None:
        return id_cell(NULL_ID, "null")
    if isinstance(value, str) and value:
        return id_cell(TEXT, value)
    if isinstance(value, int | float | Decimal):
        return id_cell(NUMBER, number_text(value))
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.astimezone()
        return id_cell(DATE, str((moment - _EPOCH) // timedelta(milliseconds=1)))
    # The key of a UUID or an ObjectId is its text; no other type is left.
    if isinstance(value, UUID) or type(value).__name__ == "ObjectId":
        return id_cell(TEXT, str(value).lower())
    raise ValueError(f"_id does not take a {type(value).__name__}")


def identifier_of(cell: bytes) -> Any:
    """The `_id` in the Data API's terms; a uuid or an objectId is given as its text."""
    kind, raw = id_parts(cell)
    text = raw.decode()
    if kind == NUMBER:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    if kind == DATE:
        return _EPOCH + timedelta(milliseconds=int(text))
    return {BOOLEAN: text == "true", NULL_ID: None}.get(kind, text)
