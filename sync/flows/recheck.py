"""Keys in which both sides seemed to differ, read again until each has a verdict; with repair, reconciled and read once more.

Every key handed in gets exactly one verdict, whatever fails on the way (invariant 5). If a server is temporarily
unavailable, an error is raised instead, and the range is checked again later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Protocol

from sync.core.drift.expiring import Span
from sync.core.drift.results import KeyVerdict
from sync.core.drift.verdicts import FINDINGS, STILL, UNSETTLED, SourceRow, TargetRow, judge
from sync.core.encode.rows import RowEncoder
from sync.core.expiry import EXPIRY_NAME, expiry_of, is_same_moment
from sync.core.mutations import Key
from sync.ports import Read

CHUNK = 200


class KeysOfBothSides(Protocol):
    """Single keys of one table. `read` may raise SourceAway, every other method TargetUnavailable."""

    def look(self, keys: Sequence[Key]) -> list[TargetRow]: ...
    def read(self, keys: Sequence[Key]) -> list[Read | str]: ...
    def repair(self, keys: Sequence[Key]) -> dict[Key, str]: ...


@dataclass(frozen=True, slots=True)
class RecheckPolicy:
    """How often a key that differs or is being written is read; the pause after the first time, which then doubles."""

    tries: int
    grace_seconds: float
    longest_pause: float = 5.0

    def pauses(self) -> Iterator[float]:
        """The pause before each try."""
        yield 0.0
        for i in range(max(1, self.tries - 1)):
            yield min(self.grace_seconds * 2**i, self.longest_pause)

    def looks(self, pause: float, keys: int) -> Iterator[float]:
        """The pauses before the looks of which a try consists: if there are few keys, it has several.

        A key that is written all the time is equal on both sides for moments only: many looks meet such a moment.
        """
        several = keys <= CHUNK and pause > self.grace_seconds > 0
        count = int(pause / self.grace_seconds + 1e-9) if several else 1
        for _ in range(count):
            yield pause / count  # at least grace_seconds


@dataclass(frozen=True, slots=True)
class Recheck:
    """Gives each of some keys its verdict; `wait` sleeps, and may raise to abort; so may `pace`, before so many are read."""

    keys: KeysOfBothSides
    encoder: RowEncoder
    policy: RecheckPolicy
    repair: bool
    wait: Callable[[float], None]
    keeps: bool = False
    pace: Callable[[int], None] = lambda _: None

    def verdicts(self, suspects: Sequence[Key]) -> Iterator[KeyVerdict]:
        """The verdicts on all of these keys, in any order. A difference must be found unchanged twice in a row."""
        left, seen, begun = list(suspects), dict[Key, tuple[object, ...]](), monotonic()
        unsettled: list[KeyVerdict] = []
        for pause in (look for each in self.policy.pauses() for look in self.policy.looks(each, len(left))):
            if not left:
                return
            self.wait(pause)
            unsettled = []
            for at in range(0, len(left), CHUNK):
                self.wait(0)
                self.pace(len(left[at : at + CHUNK]))
                judged = self._judge(left[at : at + CHUNK], begun)
                settled = [j for j in judged if _is_settled(j, seen)]
                unsettled += [j for j in judged if not _is_settled(j, seen)]
                yield from self._repaired(settled) if self.repair else settled
            left, seen = [j.key for j in unsettled], {j.key: j.evidence for j in unsettled}
        yield from (replace(j, verdict="in flight") if _must_be_stable(j) else j for j in unsettled)

    def _judge(self, keys: Sequence[Key], since: float) -> list[KeyVerdict]:
        begin = int(time() * 1000)
        before = self.keys.look(keys)
        read = [self._source(found) for found in self.keys.read(keys)]
        after = self.keys.look(keys)
        span = Span(begin, int(time() * 1000))
        made = zip(keys, before, read, after, strict=True)
        return [self._judged(key, b, source, a, since, span) for key, b, source, a in made]

    def _source(self, found: Read | str) -> SourceRow:
        if isinstance(found, str):
            return SourceRow(error=found)
        if found.cells is None:
            return SourceRow()
        return SourceRow(True, self.encoder.canonical_row(found.cells), found.version, expiry=expiry_of(found.cells))

    def _judged(
        self, key: Key, before: TargetRow, source: SourceRow, after: TargetRow, since: float, span: Span
    ) -> KeyVerdict:
        before, after = span.visible(before), span.visible(after)
        verdict = span.verdict(before, source, after) or judge(before, source, after, self.keeps)
        columns: tuple[str, ...] = ()
        if verdict == "different" and source.row is not None and after.row is not None:
            columns = tuple(self.encoder.different_columns(source.row, after.row))
            columns += () if is_same_moment(source.expiry, after.expiry) else (EXPIRY_NAME,)
            if self.keeps and after.version and self.encoder.lacks(source.row, after.row):
                verdict = "same"  # what the source still has of it is equal
        return KeyVerdict(
            key, verdict, columns, source.version, after.version, source.error,
            held=after.row is not None, settled_after=monotonic() - since,
        )  # fmt: skip

    def _repaired(self, judged: list[KeyVerdict]) -> list[KeyVerdict]:
        """The same with the findings reconciled; each stays a finding, and says whether both sides are equal now."""
        findings = {j.key: j for j in judged if j.verdict in FINDINGS}
        if not findings:
            return judged
        failed = self.keys.repair(list(findings))
        again = {j.key: j for j in self._judge(list(findings), monotonic())}
        made = []
        for j in judged:
            now = again.get(j.key)
            well = now is not None and now.verdict in ("same", "gone", "kept", "rejected")
            made.append(replace(j, repaired=well, error=failed.get(j.key, "")) if now else j)
        return made


def _must_be_stable(judged: KeyVerdict) -> bool:
    return judged.verdict in STILL or bool(judged.columns)


def _is_settled(judged: KeyVerdict, seen: dict[Key, tuple[object, ...]]) -> bool:
    if _must_be_stable(judged):
        return seen.get(judged.key) == judged.evidence
    return judged.verdict not in UNSETTLED
