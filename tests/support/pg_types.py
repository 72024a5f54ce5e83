"""Postgres types as values, for tests that need no server; the numbers are those of pg_type."""

from __future__ import annotations

import re

from sync.core.rows import PgType

OIDS = {
    "bool": 16, "bytea": 17, "int8": 20, "int2": 21, "int4": 23, "text": 25, "float4": 700, "float8": 701, "inet": 869,
    "varchar": 1043, "date": 1082, "time": 1083, "timestamp": 1114, "timestamptz": 1184, "interval": 1186, "numeric": 1700,
    "uuid": 2950, "jsonb": 3802, "vector": 16_500, "halfvec": 16_501,
}  # fmt: skip


def pg_type(sql: str) -> PgType:
    """The type of that name: `varchar(5)`, `numeric(12,3)[]`, `vector(3)`."""
    found = re.fullmatch(r"(\w+)(?:\((\d+)(?:,\s*(-?\d+))?\))?(\[\])?", sql)
    assert found, sql
    name, array = found[1], found[4]
    typmod = _modifier(name, *(int(n) for n in found.groups()[1:3] if n is not None))
    if array:
        return PgType(f"_{name}", 0, typmod, PgType(name, OIDS[name]), sql)
    return PgType(name, OIDS[name], typmod, sql=sql)


def _modifier(name: str, *numbers: int) -> int:
    if not numbers:
        return -1
    if name == "numeric":
        precision, scale = (*numbers, 0)[:2]
        return (precision << 16 | scale & 0x7FF) + 4
    return numbers[0] + 4 if name == "varchar" else numbers[0]
