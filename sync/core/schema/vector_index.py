"""What a vector index of the source accepts: anything else fails on its replicas, whose answer does not say why.

Cassandra 5.0 (`OnHeapGraph.validateIndexable`): numbers are finite and at most 1E17 in size; by cosine, not all are zero.
Tried by hand on 5.0.6; tests send only what it accepts.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from sys import byteorder

from sync.core.rows import SourceTable
from sync.errors import QueryNotSupported

LARGEST = struct.unpack(">f", struct.pack(">f", 1e17))[0]

OF_ZEROS = "its index uses cosine similarity, and does not take a vector of zeros"


def not_indexable(cell: bytes, similarity: str) -> str:
    """Why an index of this similarity function refuses the vector in this cell; empty where it takes it."""
    numbers = array("f", cell)
    if byteorder == "little":
        numbers.byteswap()
    if not all(-LARGEST <= number <= LARGEST for number in numbers):  # NaN compares with nothing
        return "its index takes only finite numbers, up to 1E17"
    if similarity == "cosine" and not any(numbers):
        return OF_ZEROS
    return ""


def check_vector(source: SourceTable, column: str, vector: Sequence[float]) -> None:
    """Raise QueryNotSupported unless rows can be near to this vector, in this column."""
    dimension = next((c.type.dimension for c in source.columns if c.name == column), None)
    if dimension is None:
        raise QueryNotSupported(f"{source.name}: {column} is not a vector column")
    if len(vector) != dimension:
        raise QueryNotSupported(f"{source.name}: {column} takes {dimension} numbers, not {len(vector)}")
    if not any(vector):
        raise QueryNotSupported(f"{source.name}: {column}: {OF_ZEROS}")
