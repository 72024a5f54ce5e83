"""What followers of changes by others must have done before a cut-over, and where there must be one (rules 41, 42 and 49)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sync.core.cutover.gates import Gate
from sync.core.words import counted

MAX_LAG_SECONDS = 10.0
"""A follower that is further behind is not caught up when a cut-over begins; the cut-over itself waits for the rest."""
NODE_FEED = "commitlog:"
"""With which the name of a feed of a node's commit log begins; the node's host id follows."""
PULSAR_FEED = "pulsar "
"""The same of a feed of Pulsar's; its subscription follows. Passes from before either began prove nothing (gates.sql)."""


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


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the source, up or down: its host id, its address; `near`: it is in the data centre that this process uses."""

    host_id: str
    address: str
    near: bool = True


def unfollowed(feeds: Sequence[FeedFact], nodes: Sequence[Node]) -> list[str]:
    """The addresses of nodes without a feed. None, unless some node's commit log is followed (rule 49).

    All nodes, however many replicas there are: what one node alone has taken, at consistency ONE or before a hint was lost,
    the others never tell.
    """
    names = {feed.name for feed in feeds if feed.name.startswith(NODE_FEED)}
    return sorted(node.address for node in nodes if node.near and NODE_FEED + node.host_id not in names) if names else []


def followers_gate(feeds: Sequence[FeedFact], nodes: Sequence[Node] = (), most: float = MAX_LAG_SECONDS) -> Gate:
    """Every feed that was ever followed has told what the source knew a moment ago, and no node lacks one.

    `nodes`: all of the source's; none where what others write there does not matter.
    """
    late = [feed for feed in feeds if not feed.ended and (feed.behind is None or feed.behind > most)]
    without = unfollowed(feeds, nodes)
    found = [f"no follower beside {', '.join(without)}"] * bool(without) + [_late(feed, nodes) for feed in late]
    figure = "; ".join(found) or (f"{counted(len(feeds), 'feed')}, caught up" if feeds else "none is followed")
    strays = sum(feed.strays for feed in feeds)
    if strays:
        figure += f"; {counted(strays, 'stray')}: changes by others at the source while Postgres was primary"
    remedy = "start its `sync follow` again and let it catch up; `sync follow forget NAME` for one that nobody needs any more"
    if without:
        remedy = (
            "start `sync follow commitlog` beside each of these nodes, and make two drift passes then; or, if commit logs "
            "are not to be followed any more, `sync follow forget` each feed of a node"
        )
    return Gate("followers", not late and not without, figure, remedy)


def _late(feed: FeedFact, nodes: Sequence[Node]) -> str:
    how = "has told nothing yet" if feed.behind is None else f"is {feed.behind:.0f} s behind"
    left = nodes and feed.name.startswith(NODE_FEED) and feed.name not in {NODE_FEED + node.host_id for node in nodes}
    who = ", and its node has left the cluster" if left else "" if feed.followed else ", and nobody follows it"
    return f"{feed.name} {how}{who}{f' ({feed.error})' if feed.error else ''}"
