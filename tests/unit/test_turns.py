"""Threads of one writer stamp a key in turn, and other keys at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

import pytest

from sync.adapters.postgres.dual_write.journal import Writer
from sync.core.mutations import Key

KEYS = [Key("t", (b"%d" % n,), b"%d" % n, n) for n in range(128)]


def enter(writer: Writer, keys: list[Key]) -> None:
    with writer.turns.of(keys):
        pass


def test_batches_of_other_keys_do_not_wait_for_each_other() -> None:
    """Would break: of 1,024 locks two batches of 64 keys share one nearly always: their statements go one after the other."""
    writer = Writer("w", 1, 0, 30)
    with ThreadPoolExecutor(1) as pool, writer.turns.of(KEYS[:64]):
        pool.submit(enter, writer, KEYS[64:]).result(20)
    assert len(writer.turns) == 0


def test_a_key_is_stamped_in_turn() -> None:
    """Would break: two threads stamp one key with the same version (rule 2)."""
    writer = Writer("w", 1, 0, 30)
    with ThreadPoolExecutor(2) as pool:
        with writer.turns.of(KEYS[:64]):
            behind = [pool.submit(enter, writer, [KEYS[63], KEYS[64]]), pool.submit(enter, writer, [KEYS[0]])]
            for each in behind:
                with pytest.raises(NotYet):
                    each.result(0.2)
        for each in behind:
            each.result(20)
    assert len(writer.turns) == 0
