"""CQL types as values, read from the driver's type strings (`frozen<map<text, list<int>>>`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

COLLECTIONS = frozenset({"list", "set", "map"})
DOCUMENT, DOCUMENT_ID, FIELD = "document", "document id", "field"
"""Types of a Data API collection's columns: they hold more than their CQL types (text, tuple, none) say."""
EXPIRY = "expiry"
"""The type of the moment at which a row expires (`core.expiry`)."""
_ALIASES = {"varchar": "text"}
_TOKEN = re.compile(r"""\s*("(?:[^"]|"")*"|'[^']*'|[<>,"]|[^\s<>,"]+)""")  # 'in.single.quotes(…)': a custom Java type
_PUNCTUATION = frozenset({"", "<", ">", ",", '"'})
_ARITY = {"frozen": 1, "list": 1, "set": 1, "map": 2, "vector": 1}


@dataclass(frozen=True, slots=True)
class CqlType:
    """A CQL type: its lower-case name, its element types; a vector's dimension; a UDT's field names."""

    name: str
    args: tuple[CqlType, ...] = ()
    dimension: int | None = None
    fields: tuple[str, ...] = ()
    frozen: bool = False

    def __str__(self) -> str:
        inner = ", ".join(str(a) for a in self.args)
        if self.name == "udt":
            text = "udt<" + ", ".join(f"{f}: {a}" for f, a in zip(self.fields, self.args, strict=True)) + ">"
        elif self.name == "vector":
            text = f"vector<{inner}, {self.dimension}>"
        else:
            text = f"{self.name}<{inner}>" if inner else self.name
        return f"frozen<{text}>" if self.frozen else text


UdtFields = Mapping[str, tuple[tuple[str, str], ...]]
"""UDT name → its (field name, type string) pairs, in order."""


def parse_type(text: str, udts: UdtFields | None = None) -> CqlType:
    """The type a driver's type string names; `udts` resolves user types. Raises ValueError for anything else."""
    stream = (m.group(1) for m in _TOKEN.finditer(text))
    parsed, following = _parse(stream, udts or {})
    if following:
        raise ValueError(f"unexpected {following!r} in the type {text!r}")
    return parsed


def _parse(stream: Iterator[str], udts: UdtFields) -> tuple[CqlType, str]:
    """A type and the token after it; the token is empty at the end."""
    name = next(stream, "")
    if name in _PUNCTUATION:
        raise ValueError(f"a type is missing before {name!r}")
    following = next(stream, "")
    if following != "<":
        return _plain(name, udts), following
    args, dimension = _arguments(name, stream, udts)
    return _frozen(args[0]) if name == "frozen" else CqlType(name, args, dimension), next(stream, "")


def _arguments(name: str, stream: Iterator[str], udts: UdtFields) -> tuple[tuple[CqlType, ...], int | None]:
    """What is within the brackets: types, and a vector's dimension."""
    args: list[CqlType] = []
    separator, dimension = ",", None
    while separator == ",":
        if name == "vector" and args:
            dimension, separator = int(next(stream, "")), next(stream, "")
            break
        arg, separator = _parse(stream, udts)
        args.append(arg)
    if separator != ">":
        raise ValueError(f"the type {name}<… does not end")
    if len(args) != _ARITY.get(name, len(args)) or (name == "vector" and (dimension or 0) < 1):
        raise ValueError(f"the type {name}<… has not the arguments of a {name}")
    return tuple(args), dimension


def _plain(name: str, udts: UdtFields) -> CqlType:
    bare = name[1:-1].replace('""', '"') if name.startswith('"') else name
    if bare in udts:
        fields = udts[bare]
        return CqlType("udt", tuple(parse_type(t, udts) for _, t in fields), fields=tuple(f for f, _ in fields))
    return CqlType(_ALIASES.get(name, name))


def _frozen(inner: CqlType) -> CqlType:
    return CqlType(inner.name, inner.args, inner.dimension, inner.fields, frozen=True)
