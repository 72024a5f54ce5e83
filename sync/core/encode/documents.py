"""Documents of a Data API collection → jsonb and columns: keys by their type, texts as jsonb prints them.

The fast way lets the C parser and printer of `json` do the work, with the keys of each object put into jsonb's order. What it
cannot do exactly (numbers that are not printed as they were read, NUL, lone surrogates) goes the careful way, token by token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any

from sync.core.encode.base import Encode, Reject
from sync.core.encode.json_text import quote
from sync.core.encode.jsonb import VERSION, plain_number
from sync.core.encode.scalars import encode_text
from sync.core.encode.zeros import Budget

VECTOR_FIELD = "$vector"
# An unescaped quote after a brace or a comma begins a name: within a text it would be escaped.
_VECTOR = re.compile(rb'(?<=[{,])"\$vector":(?:\[[^\]]*\]|\{"\$binary":"[^"]*"\})')
_NO_VECTOR = b'"$vector":null'
MAX_LEVELS = 128
_MARKS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_MAX_SHAPES = 4096
_PLAIN_FLOAT = re.compile(r"-?\d+\.\d+\Z")


class _Number:
    """A number as it was written; not a type that the printer knows, so that it is never printed as something else."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def document(has_vector: bool, strip_nul: bool = False) -> Encode:
    """The encode function of a whole document into jsonb: without its `$vector`, if that is a column of its own."""
    parsed = without_vector if has_vector else whole

    def encode(cell: bytes) -> bytes:
        if cell[:1] == VERSION:  # its fields are already taken out
            return cell
        return VERSION + (careful_json(cell, has_vector, strip_nul) if strip_nul else canonical(parsed(cell)))

    return encode


def without_vector(cell: bytes) -> Any:
    """The document of a `doc_json` cell without `$vector`, keys in jsonb's order. Raises Reject.

    The vector's numbers are cut out before the text is parsed: they would be most of the work.
    """
    text, cut = _VECTOR.subn(_NO_VECTOR, cell)
    found = whole(text)
    if cut and not (cut == 1 and isinstance(found, dict) and VECTOR_FIELD in found):
        found = whole(cell)  # it is also, or only, a field's name further inside
    if isinstance(found, dict):
        found.pop(VECTOR_FIELD, None)
    return found


def canonical(value: Any) -> bytes:
    """What jsonb prints of a value that `without_vector` or `whole` gave, or of a part of it. Raises Reject."""
    try:
        text = _ENCODER.encode(value).encode()
    except (TypeError, UnicodeEncodeError):  # a number that was kept as text; a lone surrogate
        return _rendered(value, Budget())
    return _rendered(value, Budget()) if b"\\u0000" in text else text


def whole(text: bytes) -> Any:
    """The document of a `doc_json` cell, keys in jsonb's order. Raises Reject."""
    check_depth(text)
    try:
        return _FAST.decode(text.decode())
    except UnicodeDecodeError as error:
        raise Reject(f"text that is not UTF-8 at byte {error.start}") from None
    except (_Careful, ValueError, RecursionError):
        return _kept(text.decode(errors="surrogatepass"))


def check_depth(text: bytes) -> None:
    """Raise Reject for nesting deeper than MAX_LEVELS, which every reader on its way can take, wherever it is called from."""
    if text.count(b"[") + text.count(b"{") <= MAX_LEVELS:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        char = mark[0][:1]
        depth += (char in b"[{") - (char in b"]}")
        if depth > MAX_LEVELS:
            raise Reject(f"a document that nests deeper than {MAX_LEVELS} levels")


def _kept(text: str) -> Any:
    """The parsed text by the careful way: numbers stay as they are written."""
    try:
        return _CAREFUL.decode(text)
    except (ValueError, RecursionError) as error:
        raise Reject(f"a document that is not JSON: {type(error).__name__}") from None


def careful_json(cell: bytes, has_vector: bool = True, strip_nul: bool = False) -> bytes:
    """What jsonb prints of a JSON text by the careful way alone, without a `$vector` that has a column. Raises Reject."""
    check_depth(cell)
    found = _kept(cell.decode(errors="surrogatepass"))
    if has_vector and isinstance(found, dict):
        found.pop(VECTOR_FIELD, None)
    return _rendered(found, Budget(), strip_nul)


class _Careful(Exception):
    """The fast way cannot do this one."""


def _float(text: str) -> float:
    value = float(text)
    # numeric prints digits as they were given, and no negative zero.
    if repr(value) != text or not value or not _PLAIN_FLOAT.match(text):
        raise _Careful
    return value


def _constant(text: str) -> Any:
    raise _Careful(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)


_orders: dict[tuple[str, ...], Callable[[Sequence[Any]], Any] | None] = {}


def _ordered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with its keys in jsonb's order: by length, then by bytes. Objects mostly share a few sets of keys."""
    if len(pairs) < 2:
        return dict(pairs)
    names = tuple([name for name, _ in pairs])
    if names not in _orders:
        if len(_orders) >= _MAX_SHAPES:
            _orders.clear()
        _orders[names] = _order(names)
    order = _orders[names]
    return dict(order(pairs) if order else sorted(dict(pairs).items(), key=_rank))


def _order(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any] | None:
    if len(set(names)) < len(names):
        return None
    return itemgetter(*sorted(range(len(names)), key=lambda i: _rank((names[i], None))))


def _rank(pair: tuple[str, Any]) -> tuple[int, bytes]:
    name = pair[0].encode(errors="surrogatepass")
    return len(name), name


_FAST = json.JSONDecoder(object_pairs_hook=_ordered, parse_float=_float, parse_constant=_constant)
_CAREFUL = json.JSONDecoder(object_pairs_hook=_ordered, parse_float=_Number, parse_int=_Number, parse_constant=_refuse)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": "), check_circular=False)


def _rendered(value: Any, budget: Budget, strip_nul: bool = False) -> bytes:
    """The careful way of `canonical`."""
    if isinstance(value, dict):
        members = {name.replace("\0", "") if strip_nul else name: member for name, member in value.items()}
        if len(members) < len(value):
            raise Reject("two names of an object that become one without their NUL")
        pairs = [
            _text(name, False) + b": " + _rendered(member, budget, strip_nul)
            for name, member in sorted(members.items(), key=_rank)
        ]
        return b"{" + b", ".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b", ".join([_rendered(v, budget, strip_nul) for v in value]) + b"]"
    if isinstance(value, _Number):
        return plain_number(budget.spend(Decimal(value.text)))
    if isinstance(value, str):
        return _text(value, strip_nul)
    return _ENCODER.encode(value).encode()


def _text(value: str, strip_nul: bool) -> bytes:
    try:
        text = value.encode()
    except UnicodeEncodeError:
        raise Reject("text with half of a surrogate pair, which Postgres cannot hold") from None
    return quote(encode_text(text.replace(b"\x00", b"") if strip_nul else text))
