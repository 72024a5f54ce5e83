"""What a write raises when Postgres, which is primary, has not done it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sync.core.mutations import Key, Mutation
from sync.errors import AnswerLost, TargetBusy, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.flows.reverse_write import ReverseWrite

KEY = Key("songs", (b"\x01",), b"\x01", 7)


class Failing:
    """The primary's side, which raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, mutation: Mutation) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            TargetBusy("lock timeout"),
            WriteRefusedNow,
            "songs: Postgres is primary and locked by another transaction .lock timeout.; nothing was written",
        ),
        (
            TargetUnavailable("gone"),
            WriteRefusedNow,
            "songs: Postgres is primary and unreachable .gone.; nothing was written",
        ),
        (AnswerLost("gone"), WriteUnsure, "songs: gone; it may have been written, and will be reconciled"),
        (ValueError("too long"), WriteRefused, "songs: too long"),
    ],
)
def test_the_answer_names_what_kept_the_write_from_postgres(error: Exception, kind: type[Exception], message: str) -> None:
    """Would break: somebody looks for a network fault, while a transaction has locked the row."""
    flow = ReverseWrite(*cast(Any, (Failing(error), None, None, None, frozenset())))
    with pytest.raises(kind, match=message) as raised:
        flow.write(Mutation("delete", KEY, {}))
    assert type(raised.value) is kind
