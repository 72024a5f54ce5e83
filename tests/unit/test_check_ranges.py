"""The check of ranges with doubles that lie, break and hang: whatever they do, nothing unproved is reported as clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import md5
from itertools import pairwise
from threading import Semaphore
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import cells

from sync.core import throttle as throttling
from sync.core.cql import CqlType
from sync.core.drift.digest import EMPTY, Digest, digest_of_row
from sync.core.drift.results import RangeResult
from sync.core.drift.verdicts import TargetRow
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, TokenRange, check_whole_ring
from sync.core.rows import ColumnPair, Page, PgType, SourceColumn, SourceTable, TableMap, TargetColumn, TargetTable
from sync.errors import LeaseLost, SourceAway, SourceTimeout, SourceUnavailable
from sync.flows import check_ranges as flow
from sync.flows import pacing
from sync.flows.check_ranges import CheckStream, Sides, check_ranges
from sync.flows.pacing import Pacer
from sync.flows.recheck import RecheckPolicy
from sync.ports import Lease, Read

UUID_TYPE, TEXT = CqlType("uuid"), CqlType("text")
SOURCE = SourceTable("ks", "songs", (SourceColumn("k", UUID_TYPE, "partition_key"), SourceColumn("c", TEXT, "regular")))
TARGET = TargetTable("public", "songs", (TargetColumn("k", PgType("uuid")), TargetColumn("c", PgType("text"))), ("k",))
TABLE = TableMap(SOURCE, TARGET, tuple(map(ColumnPair, SOURCE.columns, TARGET.columns)))
ENCODER = RowEncoder(TABLE, 0)
Rows = dict[int, str | None]
"""Token and value by key; a key's token is its number times ten."""


def raw_key(number: int) -> tuple[bytes]:
    return (UUID(int=number).bytes,)


def key_of(number: int) -> Key:
    return Key("songs", raw_key(number), ENCODER.canonical_key(raw_key(number)), number * 10)


def canonical(number: int, value: str | None) -> bytes:
    row = ENCODER.canonical_row({"k": raw_key(number)[0], "c": None if value is None else value.encode()})
    assert row is not None
    return row


def number_of(key: Key) -> int:
    return UUID(bytes=key.cells[0]).int


def page_of(rows: list[tuple[int, str | None]], share: int) -> Page:
    data = b"".join(cells.row(n // share * 10, [raw_key(n)[0], None if v is None else v.encode()]) for n, v in rows)
    return Page(b"head" + data, 4, len(rows))


@dataclass
class World:
    """Both sides in memory, with their faults."""

    source: Rows = field(default_factory=dict)
    target: Rows = field(default_factory=dict)
    page_rows: int = 3
    read_error: Exception | None = None
    goes_away: list[SourceAway] = field(default_factory=list)
    key_errors: Callable[[int], str | None] = lambda _: None
    digest_lie: Callable[[Digest], Digest] = lambda digest: digest
    page_lie: Callable[[Page], Page] = lambda page: page
    hashes_lie: Callable[[dict[bytes, bytes]], dict[bytes, bytes]] = lambda found: found
    look_lie: Callable[[int, TargetRow], TargetRow] = lambda _, row: row
    repaired: list[int] = field(default_factory=list)
    repairs: bool = False
    share: int = 1  # this many keys share a token

    def _key(self, n: int) -> Key:
        return replace(key_of(n), token=self._token(n))

    def _token(self, n: int) -> int:
        return n // self.share * 10

    def pages(self, tokens: TokenRange, page_rows: int | None = None, _position: bytes | None = None) -> Iterator[Page]:
        rows = sorted((n, v) for n, v in self.source.items() if self._token(n) in tokens)
        for at in range(0, len(rows), self.page_rows):
            yield self.page_lie(page_of(rows[at : at + self.page_rows], self.share))
            if self.goes_away:
                raise self.goes_away.pop()
        if self.read_error:
            raise self.read_error

    def digest(self, tokens: TokenRange) -> Digest:
        total = EMPTY
        for n, v in self.target.items():
            if self._token(n) in tokens:
                total += digest_of_row(md5(canonical(n, v)).digest())
        return self.digest_lie(total)

    def hashes(self, tokens: TokenRange) -> dict[bytes, bytes]:
        rows = {
            key_of(n).canonical: md5(canonical(n, v)).digest() for n, v in self.target.items() if self._token(n) in tokens
        }
        return self.hashes_lie(rows)

    def of_source(self, raw: tuple[bytes | None, ...]) -> Key:
        return self._key(UUID(bytes=raw[0] or b"").int)

    def of_target(self, key: bytes, _tokens: TokenRange) -> Key:
        return self._key(UUID(bytes=key[4:]).int)

    def restamp(self, keys: Sequence[Key]) -> int:
        return len(keys)

    def look(self, keys: Sequence[Key]) -> list[TargetRow]:
        return [self.look_lie(n, self._held(n)) for n in map(number_of, keys)]

    def _held(self, n: int) -> TargetRow:
        return TargetRow(canonical(n, self.target[n]), 1) if n in self.target else TargetRow()

    def read(self, keys: Sequence[Key]) -> list[Read | str]:
        return [self.key_errors(number_of(k)) or self._read(k) for k in keys]

    def _read(self, key: Key) -> Read:
        n = number_of(key)
        if n not in self.source:
            return Read(None, 0)
        value = self.source[n]
        return Read({"k": key.cells[0], "c": None if value is None else value.encode()}, 7)

    def repair(self, keys: Sequence[Key]) -> dict[Key, str]:
        for n in map(number_of, keys):
            self.repaired.append(n)
            self.target.pop(n, None)
            if n in self.source:
                self.target[n] = self.source[n]
        return {}


@dataclass
class Ledger:
    """Leases to hand out, and what became of them."""

    leases: list[Lease]
    done_with: list[RangeResult] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lost: bool = False
    stop: bool = False
    given_back: int = 0
    waited: list[str] = field(default_factory=list)

    def claim(self, _runs: list[int], _owner: str) -> Lease | None:
        return self.leases.pop(0) if self.leases else None

    def renew(self, lease: Lease) -> Lease | None:
        return None if self.stop else lease

    def reclaim(self, runs: list[int], owner: str) -> None:
        pass

    def wait(self, lease: Lease, error: str) -> None:
        self.waited.append(error)
        self.leases.append(lease)

    def release_range(self, _lease: Lease) -> None:
        self.given_back += 1

    def fail(self, lease: Lease, error: str) -> None:
        if lease.attempts >= flow.MAX_TRIES:
            self.failed.append(error)
        else:
            self.leases.append(replace(lease, attempts=lease.attempts + 1))

    def split(self, lease: Lease, middle: int, _error: str) -> None:
        for part in (TokenRange(lease.whole.start, middle), TokenRange(middle, lease.whole.end)):
            self.leases.append(replace(lease, whole=part, todo=part, attempts=lease.attempts + 1))

    def cut(self, lease: Lease, end: int) -> Lease:
        rest = TokenRange(end, lease.whole.end)
        self.leases.append(replace(lease, whole=rest, todo=rest, attempts=1))
        whole = TokenRange(lease.whole.start, end)
        return replace(lease, whole=whole, todo=whole)

    def done(self, lease: Lease, checked: RangeResult) -> None:
        if self.lost:
            raise LeaseLost("taken over")
        self.done_with.append(checked)


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "sleep", lambda _: None)


def check(world: World, whole: TokenRange | None = None, range_rows: int = 1000, **ledger: Any) -> Ledger:
    """Check the whole ring in one range, or in the ranges that it is cut into."""
    given = whole or TokenRange(MIN_TOKEN, MAX_TOKEN)
    made = Ledger([Lease(1, 7, "songs", given, given, 0, 1, None, "me")], **ledger)
    sides = Sides(world, world, lambda: world, ENCODER)
    stream = CheckStream(made, lambda _: sides, lambda _: world.repairs, RecheckPolicy(3, 0.0), range_rows, Semaphore(1))
    check_ranges(stream, [7], "me", lambda: False)
    for checked in made.done_with:
        checked.rows.check()
    return made


def only(world: World) -> RangeResult:
    (checked,) = check(world).done_with
    return checked


EQUAL: Rows = {n: f"value {n}" for n in range(1, 11)}


def test_equal_sides_are_clean() -> None:
    """Would break: the fast path reports equal sides as different, or counts wrongly."""

    def fetched(_: dict[bytes, bytes]) -> dict[bytes, bytes]:
        raise LookupError("every key and hash was fetched, though the digests must be equal")

    checked = only(World(dict(EQUAL), dict(EQUAL), hashes_lie=fetched))
    assert (checked.verdict, checked.rows.same, checked.rows.source, checked.rows.target) == ("same", 10, 10, 10)


@given(
    st.dictionaries(st.integers(1, 30), st.sampled_from(["a", "b", None])),
    st.dictionaries(st.integers(1, 30), st.sampled_from(["a", "b", None])),
    st.integers(1, 7),
    st.integers(1, 12),
)
def test_every_difference_is_found_whatever_the_pages_and_cuts(
    source: Rows, target: Rows, page_rows: int, range_rows: int
) -> None:
    """Would break: a row at the edge of a page or of a cut is lost, doubled or put into the wrong count."""
    ledger = check(World(source, target, page_rows), range_rows=range_rows)
    wanted = dict.fromkeys(source.keys() - target.keys(), "missing")
    wanted |= dict.fromkeys(target.keys() - source.keys(), "extra")
    wanted |= {n: "different" for n in source.keys() & target.keys() if source[n] != target[n]}
    found = {number_of(j.key): j.verdict for c in ledger.done_with for j in c.kept}
    assert found == wanted
    assert sum(c.rows.source for c in ledger.done_with) == len(source)
    assert sum(c.rows.target for c in ledger.done_with) == len(target)
    tokens = sorted(c.tokens for c in ledger.done_with)
    assert (tokens[0].start, tokens[-1].end) == (MIN_TOKEN, MAX_TOKEN)
    assert all(a.end == b.start for a, b in pairwise(tokens))


def test_a_range_of_too_many_rows_is_cut_between_partitions() -> None:
    """Would break: invariant 7: a range far larger than planned is held in memory whole; or a cut divides a partition."""
    ledger = check(World(dict.fromkeys(range(1, 101), "x"), dict.fromkeys(range(1, 101), "x")), range_rows=10)
    assert len(ledger.done_with) >= 8
    assert all(c.verdict == "same" for c in ledger.done_with)
    assert max(c.rows.source for c in ledger.done_with) <= 10 + 3


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 7), st.integers(1, 12), st.integers(1, 60))
def test_partitions_of_several_rows_are_never_divided(
    rows: int, share: int, page_rows: int, range_rows: int, odd: int
) -> None:
    """Would break: a cut between rows of one token leaves some in no range, or in two; or pages that never fit are uncut."""
    source: Rows = dict.fromkeys(range(1, rows + 1), "x")
    target = {n: v for n, v in source.items() if n != odd}  # only the stream of the source knows of a missing row
    ledger = check(World(source, target, page_rows, share=share), range_rows=range_rows)
    assert sum(c.rows.source for c in ledger.done_with) == rows
    assert sum(c.rows.target for c in ledger.done_with) == len(target)
    assert [number_of(j.key) for c in ledger.done_with for j in c.kept] == [odd] * (odd <= rows)
    assert max(c.rows.source for c in ledger.done_with) < range_rows + page_rows + share, "invariant 7"


def test_a_target_of_far_too_many_rows_is_split() -> None:
    """Would break: invariant 7: rows that only the target has are read into memory at once, however many."""
    ledger = check(World({}, dict.fromkeys(range(1, 101), "x")), TokenRange(0, 2000), range_rows=10)
    assert len(ledger.done_with) > 2
    assert sum(c.rows.extra for c in ledger.done_with) == 100


LIES: dict[str, dict[str, Any]] = {
    "a digest that agrees with everything but its count": {"digest_lie": lambda d: Digest(d.count + 1, d.high, d.low)},
    "a page that says it holds fewer rows": {"page_lie": lambda p: Page(p.data, p.offset, p.count - 1)},
    "a page that says it holds more rows": {"page_lie": lambda p: Page(p.data, p.offset, p.count + 1)},
    "hashes of other rows": {"hashes_lie": lambda h: dict.fromkeys(h, b"\x00" * 16), "digest_lie": lambda _: EMPTY},
    "no hashes": {"hashes_lie": lambda _: {}, "digest_lie": lambda _: EMPTY},
    "a target that says it has the key, but not the row": {
        "look_lie": lambda _, __: TargetRow(None, 3),
        "digest_lie": lambda _: EMPTY,
        "hashes_lie": lambda _: {},
    },
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_never_a_clean_range_of_wrong_numbers(lie: str) -> None:
    """Would break: invariant 5: impossible answers of an adapter end in a report that is clean, or does not add up."""
    rows: Rows = {n: f"v{n}" for n in range(1, 8)}
    ledger = check(World(rows, {**rows, 3: "other"}, **LIES[lie]))
    assert ledger.failed or ledger.done_with
    assert ledger.failed or any(c.verdict != "same" for c in ledger.done_with)


def test_a_lost_verdict_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: suspects whose second read is dropped (an error that is only logged) make the range look clean."""
    real = flow.Recheck.verdicts
    monkeypatch.setattr(flow.Recheck, "verdicts", lambda self, keys: list(real(self, keys))[1:])
    checked = only(World(dict(EQUAL), {**EQUAL, 1: "x", 2: "y"}))
    assert checked.verdict == "unknown"
    assert "settle" in checked.error
    assert checked.rows.unknown == checked.rows.source == 10


def test_a_key_that_cannot_be_read_is_unknown() -> None:
    """Would break: invariant 5: a suspect whose second read fails is dropped, or called the same."""
    world = World(dict(EQUAL), {**EQUAL, 4: "x", 5: "y"}, key_errors=lambda n: "too few replicas" if n == 4 else None)
    checked = only(world)
    assert checked.verdict == "different"
    assert (checked.rows.unknown, checked.rows.different, checked.rows.same) == (1, 1, 8)
    assert {(number_of(j.key), j.verdict, j.error) for j in checked.kept} == {
        (4, "unknown", "too few replicas"),
        (5, "different", ""),
    }


def test_a_key_that_is_read_at_the_second_try_gets_its_verdict() -> None:
    """Would break: one timeout of one key spoils a whole pass."""
    tries: list[int] = []

    def once(n: int) -> str | None:
        tries.append(n)
        return "timed out" if len(tries) == 1 else None

    checked = only(World(dict(EQUAL), {**EQUAL, 4: "x"}, key_errors=once))
    assert (checked.rows.unknown, checked.rows.different) == (0, 1)


def test_a_key_that_never_stands_still_is_in_flight_and_not_clean() -> None:
    """Would break: a key that is written all the time ends as drift, holds up the pass forever, or counts as equal."""
    moving = iter(range(10_000))
    world = World(dict(EQUAL), {**EQUAL, 4: "x"}, look_lie=lambda n, row: replace(row, version=next(moving)))
    checked = only(world)
    assert (checked.rows.in_flight, checked.rows.differing, checked.verdict) == (1, 0, "unknown")
    assert not checked.rows.clean


def test_what_differs_once_is_no_finding() -> None:
    """Would break: somebody who writes to both sides himself is caught between the two writes, which is called drift."""
    looks: list[int] = []

    def late(n: int, row: TargetRow) -> TargetRow:
        looks.append(n)
        return row if len(looks) <= 2 else TargetRow(canonical(n, EQUAL[n]), row.version)

    checked = only(World(dict(EQUAL), {**EQUAL, 4: "x"}, look_lie=late))
    assert (checked.rows.same, checked.kept, checked.verdict) == (10, [], "same")
    assert len(looks) == 4


def test_what_differs_differently_each_time_is_in_flight() -> None:
    """Would break: two different half-written states are taken for one stable difference."""
    looks: list[int] = []

    def restless(n: int, row: TargetRow) -> TargetRow:
        looks.append(n)
        return TargetRow(canonical(n, f"state {(len(looks) - 1) // 2}"), (len(looks) - 1) // 2)

    checked = only(World(dict(EQUAL), {**EQUAL, 4: "x"}, look_lie=restless))
    assert (checked.rows.in_flight, checked.kept, checked.verdict) == (1, [], "unknown")


def test_a_lane_that_waits_lets_another_one_read() -> None:
    """Would break: a few differences all over the ring hold up every stream, each for its grace period."""
    turn = Semaphore(1)
    free: list[bool] = []

    def look(n: int, row: TargetRow) -> TargetRow:
        free.append(turn.acquire(blocking=False))
        return row

    def slept(_: float) -> None:
        free.append(turn.acquire(blocking=False))
        turn.release()

    world = World(dict(EQUAL), {**EQUAL, 4: "x"}, look_lie=look)
    whole = TokenRange(MIN_TOKEN, MAX_TOKEN)
    ledger = Ledger([Lease(1, 7, "songs", whole, whole, 0, 1, None, "me")])
    sides = Sides(world, world, lambda: world, ENCODER)
    stream = CheckStream(ledger, lambda _: sides, lambda _: False, RecheckPolicy(2, 0.01), 1000, turn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "sleep", slept)
        check_ranges(stream, [7], "me", lambda: False)
    assert ledger.done_with[0].rows.different == 1
    assert free[:2] == free[-2:] == [False, False], "whoever looks has the turn"
    assert free[2:-2], "it has waited"
    assert all(free[2:-2]), "whoever waits has not"
    assert turn.acquire(blocking=False)


@pytest.mark.parametrize("error", [SourceUnavailable("down"), SourceTimeout("hangs")])
def test_an_unreadable_range_is_tried_again_and_then_unknown(error: Exception) -> None:
    """Would break: invariant 5: a range that cannot be read is clean; or it is tried forever, or split forever."""
    ledger = check(World(dict(EQUAL), dict(EQUAL), read_error=error))
    assert ledger.done_with == []
    assert ledger.failed
    assert len(ledger.failed) <= 2 ** (flow.MAX_TRIES - 1)


def test_a_source_that_cannot_now_is_waited_for_as_by_a_backfill() -> None:
    """Would break: an outage of ten seconds near the end of a pass costs the whole pass; or nothing reports it meanwhile."""
    down = [SourceAway("NoHostAvailable: down")] * (3 * flow.MAX_TRIES)
    world = World(dict(EQUAL), {**EQUAL, 4: "x"}, goes_away=down)
    ledger = check(world)
    assert ledger.waited == ["NoHostAvailable: down"] * (3 * flow.MAX_TRIES)
    assert (ledger.failed, ledger.done_with[0].rows.different, len(ledger.done_with)) == ([], 1, 1)


def test_a_source_that_goes_away_between_two_looks_at_a_key_is_waited_for() -> None:
    """Would break: the keys that were being settled when the source went away are unknown, and the pass proves nothing."""
    world = World(dict(EQUAL), {**EQUAL, 4: "x"})
    looks = iter(range(1000))

    def away(_: int) -> str | None:
        if next(looks) in (0, 2):
            raise SourceAway("NoHostAvailable: down")
        return None

    world.key_errors = away
    ledger = check(world)
    assert ledger.waited == ["NoHostAvailable: down"] * 2
    assert (ledger.failed, ledger.done_with[0].rows.unknown, ledger.done_with[0].rows.different) == ([], 0, 1)


def test_a_lease_that_was_lost_records_nothing() -> None:
    """Would break: two workers' figures for one range are both counted."""
    assert check(World(dict(EQUAL), dict(EQUAL)), lost=True).done_with == []


def test_a_stop_gives_the_range_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: Ctrl-C waits for the range's end, or half a range is recorded."""
    monkeypatch.setattr(flow, "_RENEW_SECONDS", 0.0)
    ledger = check(World(dict(EQUAL), dict(EQUAL)), stop=True)
    assert (ledger.given_back, ledger.done_with, ledger.failed) == (1, [], [])


def test_repairs_are_findings_all_the_same() -> None:
    """Would break: a pass that repaired something looks as if nothing had been wrong."""
    world = World(dict(EQUAL), {**EQUAL, 4: "x", 11: "y"}, repairs=True)
    world.source[12] = "z"
    checked = only(world)
    assert sorted(world.repaired) == [4, 11, 12]
    assert (checked.rows.missing, checked.rows.extra, checked.rows.different, checked.repaired) == (1, 1, 1, 3)
    assert (checked.verdict, {j.repaired for j in checked.kept}) == ("different", {True})
    assert world.source == world.target


def test_a_repair_that_fails_says_so() -> None:
    """Would break: --repair reports rows as repaired that it could not write."""

    class Stubborn(World):
        def repair(self, keys: Sequence[Key]) -> dict[Key, str]:
            return dict.fromkeys(keys, "Postgres says no")

    checked = only(Stubborn(dict(EQUAL), {**EQUAL, 4: "x"}, repairs=True))
    assert [(j.repaired, j.error) for j in checked.kept] == [(False, "Postgres says no")]
    assert checked.repaired == 0


def test_rows_under_a_wrong_token_are_counted_where_they_belong() -> None:
    """Would break: a row whose token somebody changed is counted in two ranges, or reported as extra."""

    class Moved(World):
        def of_target(self, key: bytes, tokens: TokenRange) -> Key:
            found = super().of_target(key, tokens)
            return replace(found, token=found.token + 10_000) if found.token == 40 else found

    world = Moved({}, {4: "x"})
    (checked,) = check(world, TokenRange(0, 1000)).done_with
    assert (checked.rows.target, checked.rows.extra, checked.kept) == (0, 0, [])


def test_suspects_are_settled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: invariant 7: where everything differs, all that is known of every key is held at once; or a part is left out."""
    monkeypatch.setattr(flow, "_SETTLED_TOGETHER", 2)
    asked: list[int] = []

    class Counting(World):
        def look(self, keys: Sequence[Key]) -> list[TargetRow]:
            asked.append(len(keys))
            return super().look(keys)

    checked = only(Counting(dict.fromkeys(range(1, 8), "a"), dict.fromkeys(range(2, 10), "b")))
    rows = checked.rows
    assert (rows.source, rows.target, rows.missing, rows.different, rows.extra) == (7, 8, 1, 6, 2)
    assert max(asked) == 2


class Clock:
    """Time that passes only when somebody reads or sleeps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(pacing, "time", self)
        patch.setattr(flow, "monotonic", self.monotonic)
        patch.setattr(flow, "sleep", self.sleep)

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


class Throttled:
    """A check at the least share of the time: when each range began and ended, with rows of which each page takes 0.6 s."""

    def __init__(self, clock: Clock, world: World, pacer: Pacer) -> None:
        def read(page: Page) -> Page:
            clock.now += 0.6
            return page

        world.page_lie = read
        outer, self.held = self, list[float]()

        class Timed(Ledger):
            begun = 0.0

            def claim(self, runs: list[int], owner: str) -> Lease | None:
                self.begun = clock.now
                return super().claim(runs, owner)

            def done(self, lease: Lease, checked: RangeResult) -> None:
                outer.held.append(clock.now - self.begun)
                super().done(lease, checked)

        whole = TokenRange(MIN_TOKEN, MAX_TOKEN)
        self.ledger = Timed([Lease(1, 7, "songs", whole, whole, 0, 1, None, "me")])
        self.sides = Sides(world, world, lambda: world, ENCODER)
        self.stream = CheckStream(
            self.ledger, lambda _: self.sides, lambda _: False, RecheckPolicy(3, 0.0), 100_000, Semaphore(1), pacer=pacer
        )

    def run(self, stopped: Callable[[], bool] = lambda: False) -> int:
        return check_ranges(self.stream, [7], "me", stopped)


def slowest(rows: int, share: int = 1) -> tuple[World, Pacer]:
    """Equal sides of so many rows, three a page, and a pacer that may work a 64th of the time, for good."""
    equal: Rows = {n: f"value {n}" for n in range(1, rows + 1)}
    throttle = pacing.Throttle({"source": 0.1}, throttling.Throttled("source", 0.0, 300, 100, 0.0))
    return World(dict(equal), dict(equal), share=share), Pacer(throttle=throttle)


def test_a_throttled_range_is_cut_before_its_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: at a 64th of the time a range takes an hour; its job is killed, and it begins again, for ever."""
    clock = Clock(monkeypatch)
    world, pacer = slowest(600)
    check = Throttled(clock, world, pacer)
    check.run()
    assert max(check.held) < 200, "half a minute of rest, and the two that are under way"
    done = sorted(check.ledger.done_with, key=lambda checked: checked.tokens.start)
    check_whole_ring([checked.tokens for checked in done])
    assert sum(checked.rows.same for checked in done) == 600
    assert clock.now - 1000 > 64 * 0.6 * 200 * 0.9, "it rests all the same"


def test_one_partition_is_held_up_for_minutes_not_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a partition that cannot be cut is never checked while there is a rate or a slow server."""
    clock = Clock(monkeypatch)
    world, pacer = slowest(300, share=10_000)
    check = Throttled(clock, world, pacer)
    check.run()
    assert [checked.rows.same for checked in check.ledger.done_with] == [300]
    assert check.held[0] < 600 + 60 + 100 * 0.6 + 1


def test_a_job_whose_time_is_over_leaves_a_range_that_it_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: it rests for a minute more, and a worker that is told to end does not."""
    clock = Clock(monkeypatch)
    world, pacer = slowest(6)
    pacer.begin()
    clock.now += 100  # of work, by an earlier range
    pacer.idle()
    check = Throttled(clock, world, pacer)
    assert check.run(lambda: clock.now > 1101) == 0
    assert clock.now < 1103
    assert check.ledger.given_back == 1


def test_waiting_for_a_turn_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a stream that has waited for minutes rests for what the others did, and has them wait."""
    clock = Clock(monkeypatch)
    world, pacer = slowest(2)

    class Turn:
        def __enter__(self) -> None:
            clock.now += 500

        def __exit__(self, *_: object) -> None:
            pass

    check = Throttled(clock, world, pacer)
    (lease,) = check.ledger.leases
    check.ledger.leases = [replace(lease, whole=r, todo=r) for r in (TokenRange(MIN_TOKEN, 15), TokenRange(15, MAX_TOKEN))]
    check.stream = replace(check.stream, turn=Turn())  # type: ignore[arg-type]
    check.run()
    assert clock.now - 1000 < 3 * 500 + 2 * 64 * 0.6 + 2


def test_keys_that_are_read_again_are_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a pass over sides that differ reads millions of keys at full speed, whatever the rate."""
    clock = Clock(monkeypatch)
    world = World(dict.fromkeys(range(1, 1001), "a"), dict.fromkeys(range(1, 1001), "b"), page_rows=100)
    check = Throttled(clock, world, Pacer())
    check.ledger.leases = [replace(check.ledger.leases[0], rate=100.0)]
    check.run()
    assert sum(checked.rows.different for checked in check.ledger.done_with) == 1000
    assert clock.now - 1000 > 35, "each row is read, hashed once more, and looked at twice: 4,000 reads at 100 a second"
