"""Puts by many threads share batches, on doubles alone: who goes with whom, and that each has its own answer."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock, Thread, get_ident, main_thread
from types import SimpleNamespace
from typing import Any

import pytest
from support.running_commands import until

from sync.core.mutations import Key, Mutation
from sync.errors import EpochChanged, NotRegistered, WriteRefused, WriteUnsure
from sync.flows import gathering as gathering_module
from sync.flows import shared_puts
from sync.flows.dual_write_batch import Ends
from sync.flows.gathering import Gathering, Limit, Member
from sync.flows.shared_puts import AT_ONCE, SharedPuts
from sync.ports import MAX_LOCKS, Intent

REFUSED, UNSURE = WriteRefused("no"), WriteUnsure("perhaps")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_puts, "PATIENCE_SECONDS", 600.0)
    monkeypatch.setattr(shared_puts, "_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(shared_puts, "main_thread", lambda: SimpleNamespace(ident=None))  # a test's thread is as any other


def put(key: str, size: int = 1) -> Mutation:
    return Mutation("put", Key("t", (key.encode(),), key.encode(), 0), {"a": b"x" * size})


class Writes:
    """The flows. Keys in `held` wait within their write until it is set; `answers` are the batches' ends, or raised.

    Keys in `unsure` are, each by itself.
    """

    def __init__(self, *answers: Ends | BaseException, takes_rows: bool = True, is_away: bool = False) -> None:
        self.answers, self.held = list(answers), dict[str, Event]()
        self.alone: list[tuple[str, int]] = []
        self.unsure = set[str]()
        self.halves: list[tuple[str, int]] = []
        self.batches: list[list[str]] = []
        self.journal = SimpleNamespace(takes_rows=takes_rows, is_away=is_away)
        self.shared = SharedPuts(self, self, AT_ONCE)  # type: ignore[arg-type]

    def write(self, mutation: Mutation) -> bool:
        name = mutation.key.canonical.decode()
        self.alone.append((name, get_ident()))
        if name in self.held:
            assert self.held[name].wait(60)
        if name in self.unsure:
            raise UNSURE
        return True

    def second_half(self, mutation: Mutation, _: Intent) -> None:
        self.halves.append((mutation.key.canonical.decode(), get_ident()))

    def begin(self, puts: Sequence[Mutation], waits: bool) -> Ends:
        assert not waits
        self.batches.append([one.key.canonical.decode() for one in puts])
        answer = self.answers.pop(0) if self.answers else Ends()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.alone]

    @property
    def waiting(self) -> int:
        return len(self.shared._gathering)


class Callers:
    """Threads, each of which puts one row."""

    def __init__(self, writes: Writes, pool: ThreadPoolExecutor) -> None:
        self.writes, self.pool = writes, pool

    def put(self, *puts: Mutation) -> list[Future[Any]]:
        """They wait in this order."""
        begun = []
        for one in puts:
            before = self.writes.waiting
            begun.append(self.pool.submit(lambda one=one: (self.writes.shared.write(one), get_ident())))
            until(lambda before=before: self.writes.waiting == before + 1)
        return begun


@contextmanager
def busy(writes: Writes) -> Iterator[Callers]:
    """As many puts are under way as may be; the first ends with `free`, the others with the block."""
    with ThreadPoolExecutor(150) as pool:
        for number in range(AT_ONCE):
            writes.held[f"busy {number}"] = Event()
            pool.submit(writes.shared.write, put(f"busy {number}"))
            until(lambda number=number: len(writes.alone) == number + 1)
        try:
            yield Callers(writes, pool)
        finally:
            for event in writes.held.values():
                event.set()


def free(writes: Writes) -> None:
    writes.held["busy 0"].set()


def test_a_lone_put_goes_its_own_way() -> None:
    """Would break: a put without others waits for a leader, or is made in another thread."""
    writes = Writes()
    for name in "ab":
        assert writes.shared.write(put(name))
    assert (writes.alone, writes.batches) == ([("a", get_ident()), ("b", get_ident())], [])


@pytest.mark.parametrize("given", [{"takes_rows": False}, {"is_away": True}])
def test_what_cannot_go_together_goes_at_once(given: dict[str, bool]) -> None:
    """Would break: while Postgres is away, three puts at a time, though none waits for it."""
    writes = Writes(**given)
    with busy(writes):
        assert writes.shared.write(put("a"))
    assert writes.batches == []


def test_those_that_wait_go_together_and_each_has_its_own_answer() -> None:
    """Would break: one row's refusal is given to all; the leader's thread waits for a row that somebody has locked."""
    ends = Ends({1: REFUSED, 2: UNSURE}, [], {3: Intent(1, 1, 1)})
    writes = Writes(ends)
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("c"), put("d"), put("e"))
        free(writes)
        outcomes = [each.exception(60) or each.result()[0] for each in given]
        threads = [each.result()[1] for each in given if not each.exception()]
    assert outcomes == [True, REFUSED, UNSURE, True, True]
    assert writes.batches == [["a", "b", "c", "d", "e"]]
    assert writes.halves == [("d", threads[1])], "each by its own caller"
    assert sorted(writes.names) == ["busy 0", "busy 1", "busy 2"]


def test_what_could_not_begin_together_goes_alone_each_in_its_callers_thread() -> None:
    writes = Writes(Ends(alone=[0, 1, 2]))
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("c"))
        free(writes)
        ends = [each.result(60) for each in given]
    assert sorted(writes.alone[3:]) == [(name, thread) for name, (_, thread) in zip("abc", ends, strict=True)]


def test_no_two_of_a_key_go_together_and_theirs_is_the_order_in_which_they_came() -> None:
    """Would break: the older of two values is what stays."""
    writes = Writes()
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("a", 2), put("c"), put("a", 3), put("d"))
        free(writes)
        assert all(each.result(60) for each in given)
    assert writes.batches[0] == ["a", "b", "c", "d"]
    assert [name for batch in [*writes.batches[1:], writes.names[3:]] for name in batch] == ["a", "a"]


def test_batches_are_bounded_by_rows_and_by_bytes() -> None:
    """Would break: as many locks in one transaction as there are threads; some gigabytes in memory (invariant 7)."""
    writes = Writes()
    with busy(writes) as callers:
        large = [put("1", 3_000_000), put("2", 3_000_000), put("3", 3_000_000), put("4", 9_000_000)]
        given = callers.put(*large, *(put(f"s{n}") for n in range(100)))
        free(writes)
        assert all(each.result(60) for each in given)
    assert writes.batches[0][:3] == ["1", "2", "s0"]
    assert len(writes.batches[0]) == MAX_LOCKS
    assert writes.batches[1][0] == "3"
    assert "4" in writes.names or writes.batches[2][0] == "4"
    written = Counter(name for batch in writes.batches for name in batch) + Counter(writes.names)
    assert set(written.values()) == {1}


def test_a_put_of_a_key_never_passes_one_that_is_too_large() -> None:
    """Would break: the earlier put waits for the next batch, the later one goes with this one."""
    writes = Writes()
    with busy(writes) as callers:
        given = callers.put(put("a", 5_000_000), put("b", 5_000_000), put("c"), put("b"))
        free(writes)
        assert all(each.result(60) for each in given)
    assert writes.batches[0] == ["a", "c"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a fault")])
def test_a_leader_that_ends_leaves_nobody_waiting(error: BaseException) -> None:
    """Would break: those that it led wait for ever, or are told that their rows were written; or nobody leads the next."""
    writes = Writes(error)
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("a"))
        free(writes)
        assert given[0].exception(60) is error
        failed = given[1].exception(60)
        assert isinstance(failed, WriteUnsure)
        assert "interrupted" in str(failed)
        assert given[2].result(60)[0] is True
    assert writes.names[3:] == ["a"]


def test_a_leader_that_is_interrupted_while_it_tells_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a second Ctrl-C, and those that it had not told wait for ever."""
    tell, interrupted = shared_puts._tell, list[int]()

    def once(led: Any, rests: Any) -> None:
        tell(led[:2], rests)
        if not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        tell(led, rests)

    monkeypatch.setattr(shared_puts, "_tell", once)
    writes = Writes()
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("c"))
        free(writes)
        assert isinstance(given[0].exception(60), KeyboardInterrupt)
        assert [each.result(60)[0] for each in given[1:]] == [True, True]


@pytest.mark.parametrize("changed", [EpochChanged(2, "postgres", "open"), NotRegistered(1, "astra", "closing")])
def test_a_switch_is_every_put_s_own_answer(changed: EpochChanged) -> None:
    """Would break: a batch's rows wait for the switch one after the other, or get an error of the leader's."""
    writes = Writes(changed)
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("b"))
        free(writes)
        assert all(each.result(60)[0] for each in given)
    assert sorted(writes.names[3:]) == ["a", "b", "b"]


def test_after_a_row_that_is_unsure_nobody_waits_for_another_s() -> None:
    """Would break: a node that is away holds up all rows, not only its own."""
    writes = Writes(Ends({0: UNSURE}))
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"), put("a"))
        free(writes)
        assert given[0].exception(60) is UNSURE
        assert [each.result(60)[0] for each in given[1:]] == [True, True]
        writes.held["more"] = Event()
        callers.pool.submit(writes.shared.write, put("more"))
        until(lambda: "more" in writes.names)
        late = [callers.pool.submit(writes.shared.write, put(name)) for name in "cd"]
        assert [each.result(20) for each in late] == [True, True], "though as many are under way as may be"
    assert sorted(writes.names[3:]) == ["a", "c", "d", "more"]


def test_who_has_waited_long_leads_though_all_places_are_taken() -> None:
    """Would break: three rows that somebody has locked hold up all others."""
    writes = Writes()
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"))
        rest = callers.put(put("a", 2), put("a", 3), put("b", 2))
        writes.shared._gathering.patience = 0.01
        late = callers.pool.submit(writes.shared.write, put("c"))
        assert late.result(20)
        assert [each.result(60)[0] for each in given] == [True, True]
        assert [each.result(20)[0] for each in rest] == [True] * 3, "nor do those wait that did not go with it"
        assert writes.shared.write(put("d")), "nor who comes then"
    assert writes.batches == [["c", "a", "b"], ["a", "b"]]


def test_who_has_waited_long_waits_on_while_places_become_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: on a machine that is too slow for a thousand threads, most of them hear that they were interrupted."""
    has_waited, asked = Gathering.has_waited, list[bool]()

    def noted(gathering: Gathering[Any], one: Any) -> bool:
        asked.append(has_waited(gathering, one))
        return asked[-1]

    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: 0.0))  # no place is stuck
    monkeypatch.setattr(Gathering, "has_waited", noted)
    writes = Writes()
    writes.shared._gathering.patience = 0.01
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"))
        until(lambda: len(asked) > 10)
        free(writes)
        assert [each.result(60)[0] for each in given] == [True, True]
    assert (writes.batches, set(asked)) == ([["a", "b"]], {False})


def test_places_that_are_stuck_count_no_more_until_they_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: while three wait for locked rows, one batch each quarter of a second; or, later, more than three for good."""
    now = [0.0]
    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    gathering = Gathering[Member](Limit(2, 2), 1.0)
    stuck, others = [Member(f"stuck {n}") for n in range(2)], [Member(n) for n in range(8)]
    assert all(gathering.enter(each) for each in stuck)
    now[0] = 0.9
    assert not any(gathering.enter(each) for each in others[:4])
    now[0] = 1.5
    assert gathering.has_waited(others[0])
    assert not gathering.has_waited(others[0]), "once"
    now[0] = 1.6
    assert gathering.leave(others[0], has_written=True) is others[1]
    assert gathering.leave(others[1], has_written=True) is others[2]
    assert gathering.leave(stuck[0], has_written=True) is others[3]
    assert gathering.leave(others[2], has_written=True) is None
    assert gathering.enter(others[4])
    assert not gathering.enter(others[5]), "two are under way that are not stuck"


def test_where_all_are_slow_none_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a machine is too slow, so that each batch takes longer than anybody is to wait, and ever more are under way."""
    now = [0.0]
    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    gathering = Gathering[Member](Limit(1, 1), 0.25)
    first, second, third = (Member(name) for name in "abc")
    assert gathering.enter(first)
    now[0] = 0.4
    assert gathering.leave(first, has_written=True) is None
    assert gathering.enter(second)
    assert not gathering.enter(third)
    now[0] = 1.9
    assert not gathering.has_waited(third)
    now[0] = 2.1
    assert gathering.has_waited(third), "four times as long as usual"


def test_who_is_disbanded_and_not_told_finds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: Ctrl-C between two that are to go by themselves, and the second one waits for ever."""

    def interrupted(shared: SharedPuts) -> None:
        shared._gathering.disband()
        raise KeyboardInterrupt

    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: 0.0))  # no place is stuck
    monkeypatch.setattr(Gathering, "has_waited", lambda *_: False)
    writes = Writes(Ends({0: UNSURE}))
    writes.shared._gathering.patience = 0.01
    with busy(writes) as callers:
        monkeypatch.setattr(SharedPuts, "_disband", interrupted)
        given = callers.put(put("a"), put("b"), put("a", 2))
        free(writes)
        assert isinstance(given[0].exception(60), KeyboardInterrupt)
        assert isinstance(given[1].exception(60), WriteUnsure)
        assert given[2].result(20)[0] is True
    assert writes.names[3:] == ["a"]


def test_a_lone_put_that_is_unsure_keeps_others_from_waiting_too() -> None:
    """Would break: a node is away, three of its rows are waited for, one by one, and all other rows with them."""
    writes = Writes()
    writes.unsure = {"busy 0", "late"}
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"))
        free(writes)
        assert [each.result(60)[0] for each in given] == [True, True]
        assert writes.batches == [], "each by itself"
        assert writes.shared.is_apart


def test_the_pause_is_longer_each_time_that_the_side_is_slow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a node is away for an hour, and every second a batch waits for its timeout."""
    now = [100.0]
    monkeypatch.setattr(shared_puts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(shared_puts, "_PAUSE_SECONDS", 1.0)
    writes = Writes()
    writes.unsure = {"a"}

    def pause() -> float:
        for _ in range(3):  # several at once are one
            with pytest.raises(WriteUnsure):
                writes.shared.write(put("a"))
        begun = now[0]
        while writes.shared.is_apart:
            now[0] += 0.5
        return now[0] - begun

    assert [pause() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    now[0] += 60.0
    assert pause() == 1.0, "it was well for a minute"


def test_what_went_with_a_locked_row_goes_alone_for_a_while() -> None:
    """Would break: a row that somebody holds takes a tenth of a second of every batch, or a place."""
    writes = Writes(Ends(halves={1: Intent(1, 1, 1)}))
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"))
        free(writes)
        assert all(each.result(60)[0] for each in given)
        writes.held["more"] = Event()
        callers.pool.submit(writes.shared.write, put("more"))
        until(lambda: "more" in writes.names)
        assert writes.shared.write(put("b", 2)), "though as many are under way as may be"
        callers.put(put("a", 2))
    assert writes.names[3:5] == ["more", "b"]


def test_held_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: every key that was ever locked stays in memory (invariant 7)."""
    now = [100.0]
    monkeypatch.setattr(shared_puts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(shared_puts, "_PAUSE_SECONDS", 1.0)
    writes = Writes(*(Ends(halves={0: Intent(1, 1, 1)}) for _ in range(3)))
    for key in "ab":
        writes.shared.together([put(key), put("z")])
    assert (
        writes.shared.goes_alone(put("a")) and writes.shared.goes_alone(put("b")) and not writes.shared.goes_alone(put("z"))
    )
    now[0] += 1.0
    assert not writes.shared.goes_alone(put("a"))
    writes.shared.together([put("c"), put("z")])
    assert list(writes.shared._held) == [b"c"]


def test_one_that_is_interrupted_while_it_waits_is_not_written() -> None:
    """Would break: Ctrl-C, and the row is written all the same; or the others wait for one that is gone."""
    writes = Writes()

    def interrupt(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with busy(writes) as callers:

            def when_waiting() -> None:
                until(lambda: writes.waiting == 1)
                assert main_thread().ident
                signal.pthread_kill(main_thread().ident or 0, signal.SIGUSR1)

            thread = Thread(target=when_waiting)
            thread.start()
            with pytest.raises(InterruptedError):
                writes.shared.write(put("gone"))
            thread.join()
            given = callers.put(put("a"), put("b"))
            free(writes)
            assert all(each.result(60) for each in given)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (writes.batches, "gone" in writes.names) == ([["a", "b"]], False)


def test_the_main_thread_leads_nobody_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a handler of a signal raises within a semaphore that all batches need, which is never released."""
    monkeypatch.setattr(shared_puts, "main_thread", main_thread)
    writes = Writes()
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"))
        assert writes.shared.write(put("c"))
        free(writes)
        assert all(each.result(60) for each in given)
    assert (writes.batches, writes.alone[AT_ONCE]) == ([["a", "b"]], ("c", main_thread().ident))


def test_what_is_too_slow_together_goes_alone_for_a_while() -> None:
    """Would break: rows of large indexes, and every batch takes a second for nothing before its rows go by themselves."""
    writes = Writes(Ends(halves={0: Intent(1, 1, 1), 1: Intent(2, 1, 1)}, is_slow=True))
    with busy(writes) as callers:
        given = callers.put(put("a"), put("b"))
        free(writes)
        assert all(each.result(60) for each in given)
        assert writes.shared.is_apart
    assert sorted(name for name, _ in writes.halves) == ["a", "b"]


def test_one_that_was_called_to_lead_and_is_interrupted_calls_the_next() -> None:
    gathering = Gathering[Member](Limit(1, 1), 600.0)
    first, second, third = (Member(name) for name in "abc")
    assert [gathering.enter(each) for each in (first, second, third)] == [True, False, False]
    assert gathering.leave(first, has_written=True) is second
    assert gathering.leave(second, has_written=True) is third
    assert gathering.leave(second, has_written=True) is None, "it has left"
    assert gathering.leave(third, has_written=True) is None
    assert gathering.enter(Member("d"))


def test_a_place_that_an_interruption_left_taken_is_its_owners() -> None:
    """Would break: the process has one place less for good, in the end none."""
    gathering = Gathering[Member](Limit(1, 1), 600.0)
    assert gathering.enter(Member("a"))
    assert gathering.enter(Member("a"))
    assert not gathering.enter(Member("b"))


def test_what_was_put_back_comes_before_what_came_later() -> None:
    gathering = Gathering[Member](Limit(1, 1), 600.0)
    members = [Member(n) for n in range(5)]
    for each in members[:4]:
        gathering.enter(each)
    led = [members[0]]
    gathering.take(led, 3, lambda _: True)
    assert led == members[:3]
    gathering.put_back(members[1:3])
    gathering.enter(members[4])
    assert gathering.leave(members[0], has_written=True) is members[1]
    led = [members[1]]
    gathering.take(led, 9, lambda _: True)
    assert led == members[1:]


def test_many_threads_and_few_keys() -> None:
    """Would break: a put that is made twice, or not; two of a key at once; a thread's later put before its earlier one."""
    guard, written = Lock(), list[tuple[str, int]]()

    def made(puts: Sequence[Mutation]) -> None:
        names = [one.key.canonical.decode() for one in puts]
        assert len(set(names)) == len(names)
        with guard:
            written.extend((name, len(one.cells["a"] or b"")) for name, one in zip(names, puts, strict=True))

    writes = SimpleNamespace(
        journal=SimpleNamespace(takes_rows=True, is_away=False),
        write=lambda one: bool(made([one]) or True),
        begin=lambda puts, waits: made(puts) or Ends(),
    )
    shared = SharedPuts(writes, writes, 2)  # type: ignore[arg-type]

    def work(thread: int) -> bool:
        return all(shared.write(put(f"{thread % 4}", 1000 * thread + n)) for n in range(1, 200))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    assert Counter(written) == Counter((f"{t % 4}", 1000 * t + n) for t in range(16) for n in range(1, 200))
    for thread in range(16):
        own = [size for _, size in written if size // 1000 == thread]
        assert own == sorted(own)
    assert not shared._gathering._places


def took(limit: Limit, *seconds: float, at: float = 1.0) -> int:
    for each in seconds:
        limit.took(each, at)
    return limit.now


def test_they_wait_for_each_other_only_where_that_pays_off() -> None:
    """Would break: eight threads whose servers are 5 ms away write three at a time, and a third slower; or a thousand threads
    one row each, though the processors are busy."""
    limit = Limit(3, 16)
    assert took(limit, *[0.02] * 50) == 16, "as long as it takes to get there"
    assert took(limit, *[0.06] * 50) == 3, "they queue somewhere"
    assert took(limit, *[0.02] * 50) == 16
    assert took(limit, *[0.06] * 5) > 3, "not at once"


def test_what_was_best_is_forgotten_when_a_server_has_moved_away() -> None:
    limit = Limit(3, 16)
    took(limit, 0.001, *[0.02] * 50)
    assert limit.now == 3
    assert took(limit, *[0.02] * 50, at=40.0) == 3
    assert took(limit, *[0.02] * 50, at=80.0) == 16
