"""CQL types as values, read from the driver's type strings (`frozen<map<text, list<int>>>`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

COLLECTIONS = frozenset({"list", "set", "map"})
_ALIASES = {"varchar": "text"}
_TOKEN = re.compile(r'\s*("(?:[^"]|"")*"|[<>,]|[^\s<>,"]+)')


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
    """The type a driver's type string names; `udts` resolves user types. Raises ValueError for what is not a type."""
    tokens = [m.group(1) for m in _TOKEN.finditer(text)]
    stream = iter([*tokens, ""])
    parsed, following = _parse(stream, udts or {})
    if following:
        raise ValueError(f"unexpected {following!r} in the type {text!r}")
    return parsed


def _parse(stream: Iterator[str], udts: UdtFields) -> tuple[CqlType, str]:
    name = next(stream)
    following = next(stream)
    if following != "<":
        return _plain(name, udts), following
    if name == "vector":
        element, _comma = _parse(stream, udts)
        dimension = int(next(stream))
        next(stream)
        return CqlType("vector", (element,), dimension=dimension), next(stream)
    args = []
    separator = ","
    while separator == ",":
        arg, separator = _parse(stream, udts)
        args.append(arg)
    if separator != ">":
        raise ValueError(f"the type {name}<… does not end")
    if name == "frozen":
        return _frozen(args[0]), next(stream)
    return CqlType(name, tuple(args)), next(stream)


def _plain(name: str, udts: UdtFields) -> CqlType:
    bare = name[1:-1].replace('""', '"') if name.startswith('"') else name
    if bare in udts:
        fields = udts[bare]
        return CqlType("udt", tuple(parse_type(t, udts) for _, t in fields), fields=tuple(f for f, _ in fields))
    return CqlType(_ALIASES.get(name, name))


def _frozen(inner: CqlType) -> CqlType:
    return CqlType(inner.name, inner.args, inner.dimension, inner.fields, frozen=True)
