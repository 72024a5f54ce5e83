"""Changes of a document's fields, as the Data API's `$set` makes them (its PathMatchLocator and SetOperation)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

from sync.core.documents.collections import segments
from sync.core.encode.documents import VECTOR_FIELD

_INDEX = re.compile(r"0|[1-9][0-9]*")
_ESCAPED = re.compile("&[.&]")
_TEXT_OF_VECTOR = "$vectorize"


def changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document with these fields set, by path; what is missing on the way is created. Raises ValueError."""
    paths = {path: _checked(path) for path in changes}
    if not paths:
        raise ValueError("an update without columns")
    for first, second in pairwise(sorted(paths.values())):
        if second[: len(first)] == first:
            raise ValueError(f"an update of {'.'.join(first)} and of a part of it")
    made = deepcopy(dict(document))
    for path, names in paths.items():
        _set(made, names, changes[path], path)
    if VECTOR_FIELD in changes:
        made.pop(_TEXT_OF_VECTOR, None)  # the text from which the old vector was made
    return made


def _checked(path: str) -> tuple[str, ...]:
    names = segments(path)
    if path == "_id":
        raise ValueError("_id is part of the key and cannot be updated")
    if path == _TEXT_OF_VECTOR:
        raise ValueError(f"{path} asks Astra to compute a vector: give {VECTOR_FIELD}")
    if "" in names or "&" in _ESCAPED.sub("", path):
        raise ValueError(f"{path!r} is not a path in a document")
    if path.startswith("$") and path != VECTOR_FIELD:
        raise ValueError(f"{path} is not a field name: it begins with $")
    return names


def _set(document: dict[str, Any], names: Sequence[str], value: Any, path: str) -> None:
    within: Any = document
    for name in names[:-1]:
        within = _entered(within, name, path)
    if isinstance(within, dict):
        within[names[-1]] = value
    else:
        index = _index(within, names[-1], path)
        _reach(within, index)
        within[index] = value


def _entered(within: Any, name: str, path: str) -> Any:
    """What is at this name; a new object if nothing is."""
    if isinstance(within, dict):
        return within.setdefault(name, {})
    index = _index(within, name, path)
    if index >= len(within):
        _reach(within, index)
        within[index] = {}
    return within[index]


def _index(within: Any, name: str, path: str) -> int:
    if not isinstance(within, list) or not _INDEX.fullmatch(name):
        raise ValueError(f"{path}: {name!r} cannot be set in a {type(within).__name__}; only objects have fields")
    return int(name)


def _reach(array: list[Any], index: int) -> None:
    array += [None] * (index + 1 - len(array))
