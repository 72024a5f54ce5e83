"""What followers of changes by others must have done before a cut-over (rules 41 and 42)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sync.core.cutover.gates import Gate
from sync.core.words import counted

MAX_LAG_SECONDS = 10.0
"""A follower that is further behind is not caught up when a cut-over begins; the cut-over itself waits for the rest."""


@dataclass(frozen=True, slots=True)
class FeedFact:
    """A feed: its position, how many seconds it is behind (None: it has told nothing yet, or has ended), its figures."""

    name: str
    position: str | None
    behind: float | None
    ended: bool
    recorded_age: float
    keys: int
    partitions: int
    strays: int
    unmapped: int
    rejects: int
    error: str
    followed: bool
    gaps: int

    def plain(self) -> dict[str, Any]:
        """As `sync status --json` prints it."""
        return {
            "name": self.name, "behind_seconds": self.behind, "ended": self.ended, "followed": self.followed,
            "recorded_age_seconds": self.recorded_age, "keys": self.keys, "partitions": self.partitions,
            "strays": self.strays, "unmapped": self.unmapped, "rejects": self.rejects, "gaps": self.gaps,
            "position": self.position, "error": self.error or None,
        }  # fmt: skip


def followers_gate(feeds: Sequence[FeedFact], most: float = MAX_LAG_SECONDS) -> Gate:
    """Every feed that was ever followed has told what the source knew a moment ago."""
    late = [feed for feed in feeds if not feed.ended and (feed.behind is None or feed.behind > most)]
    figure = "; ".join(_late(feed) for feed in late) or (
        f"{counted(len(feeds), 'feed')}, caught up" if feeds else "none is followed"
    )
    strays = sum(feed.strays for feed in feeds)
    if strays:
        figure += f"; {counted(strays, 'stray')}: changes by others at the source while Postgres was primary"
    remedy = "start its `sync follow` again and let it catch up; `sync follow forget NAME` for one that nobody needs any more"
    return Gate("followers", not late, figure, remedy)


def _late(feed: FeedFact) -> str:
    how = "has told nothing yet" if feed.behind is None else f"is {feed.behind:.0f} s behind"
    return f"{feed.name} {how}{'' if feed.followed else ', and nobody follows it'}{f' ({feed.error})' if feed.error else ''}"
