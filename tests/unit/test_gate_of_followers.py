"""The gate of the followers, judged on facts: rule 49, and what each red one says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync.core.cutover.followers import NODE_FEED, FeedFact, Node, followers_gate, unfollowed

NODES = [Node("h1", "10.0.0.1"), Node("h2", "10.0.0.2"), Node("h3", "10.0.0.3"), Node("h9", "10.9.0.1", near=False)]


def feed(name: str, behind: float | None = 0.5) -> FeedFact:
    return FeedFact(name, "1", behind, False, 0.1, 5, 0, 0, 0, 0, "", True, 0)


def of_nodes(*hosts: str) -> list[FeedFact]:
    return [feed(NODE_FEED + host) for host in hosts]


@pytest.mark.parametrize(
    ("hosts", "without"),
    [
        (["h1"], ["10.0.0.2", "10.0.0.3"]),
        (["h1", "h3"], ["10.0.0.2"]),
        (["h9"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (["h1", "h2", "h3"], []),
    ],
    ids=["one", "two", "another data centre's", "all"],
)
def test_rule_49_a_node_without_a_follower_is_named(hosts: list[str], without: list[str]) -> None:
    """Would break: what one node alone has taken is told by nobody, and a cut-over goes by the others' feeds."""
    gate = followers_gate([feed("keys x"), *of_nodes(*hosts)], NODES)
    assert unfollowed(of_nodes(*hosts), NODES) == without
    assert gate.green is not bool(without)
    if without:
        assert gate.figure == f"no follower beside {', '.join(without)}"
        assert "`sync follow commitlog` beside each of these nodes" in gate.remedy and "`sync follow forget`" in gate.remedy
    else:
        assert gate.figure == "4 feeds, caught up"


def test_rule_49_nothing_is_asked_where_no_commit_log_is_followed() -> None:
    """Would break: who announces changes in another way is asked for followers that he does not need."""
    assert followers_gate([feed("keys x")], NODES).green
    assert followers_gate(of_nodes("h1"), []).green, "before a rollback"


def test_the_feed_of_a_node_that_has_left_says_so() -> None:
    """Would break: an operator looks for a follower of a node that is no more."""
    gate = followers_gate([*of_nodes("h1", "h2", "h3"), feed(NODE_FEED + "old", 900)], NODES)
    assert gate.figure == "commitlog:old is 900 s behind, and its node has left the cluster"
    assert "`sync follow forget NAME`" in gate.remedy
    lone = replace(feed(NODE_FEED + "h2", None), followed=False, error="it broke")
    both = followers_gate([lone], NODES)
    assert both.figure == (
        "no follower beside 10.0.0.1, 10.0.0.3; commitlog:h2 has told nothing yet, and nobody follows it (it broke)"
    )
