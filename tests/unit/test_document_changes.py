"""Changes of a document's fields: what the Data API's `$set` does (stargate/data-api, PathMatchLocator and SetOperation)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from sync.core.documents.changes import changed

DOCUMENT = {"_id": "x", "title": "a", "in": {"x": 1, "list": [{"n": 1}, 2]}, "a.b": 3, "none": None}


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ({"title": "b"}, {"title": "b"}),
        ({"title": None}, {"title": None}),
        ({"new": {"deep": [1]}}, {"new": {"deep": [1]}}),
        ({"in.x": 2}, {"in": {"x": 2, "list": [{"n": 1}, 2]}}),
        ({"in.y.z": 2}, {"in": {"x": 1, "list": [{"n": 1}, 2], "y": {"z": 2}}}),
        ({"in.list.0.n": 5}, {"in": {"x": 1, "list": [{"n": 5}, 2]}}),
        ({"in.list.1": "two"}, {"in": {"x": 1, "list": [{"n": 1}, "two"]}}),
        ({"in.list.4": 5}, {"in": {"x": 1, "list": [{"n": 1}, 2, None, None, 5]}}),
        ({"in.list.3.n": 5}, {"in": {"x": 1, "list": [{"n": 1}, 2, None, {"n": 5}]}}),
        ({"a&.b": 4}, {"a.b": 4}),
        ({"a.b": 4}, {"a": {"b": 4}}),
        ({"c&&d": 4}, {"c&d": 4}),
        ({"0.1": 4}, {"0": {"1": 4}}),
        ({"title": "b", "in.x": 2, "titles": 1}, {"title": "b", "in": {"x": 2, "list": [{"n": 1}, 2]}, "titles": 1}),
        ({"$vector": [1.0]}, {"$vector": [1.0]}),
    ],
)
def test_fields_are_set(changes: dict[str, Any], made: dict[str, Any]) -> None:
    """Would break: an existing field is lost, a path is taken for a name, or an array becomes an object."""
    before = deepcopy(DOCUMENT)
    assert changed(DOCUMENT, changes) == {**DOCUMENT, **made}
    assert before == DOCUMENT, "the document that was given is another one now"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "an update without columns"),
        ({"_id": "y"}, "part of the key"),
        ({"title.x": 1}, "only objects have fields"),
        ({"none.x": 1}, "only objects have fields"),
        ({"in.list.x": 1}, "only objects have fields"),
        ({"in.list.01": 1}, "only objects have fields"),
        ({"in.list.x.y": 1}, "only objects have fields"),
        ({"in": 1, "in.x": 2}, "of a part of it"),
        ({"in.list": [], "in": 1, "inn": 2}, "of a part of it"),
        ({"": 1}, "not a path"),
        ({"in..x": 1}, "not a path"),
        ({"in.": 1}, "not a path"),
        ({"a&b": 1}, "not a path"),
        ({"$odd": 1}, r"begins with \$"),
        ({"$vectorize": "text"}, r"give \$vector"),
    ],
)
def test_what_the_api_refuses_is_refused(changes: dict[str, Any], why: str) -> None:
    """Would break: a change is made that Astra would have refused, and the document can never go back."""
    with pytest.raises(ValueError, match=why):
        changed(DOCUMENT, changes)


def test_a_vector_of_its_own_is_not_what_the_text_was_made_into() -> None:
    """Would break: a text is kept beside a vector that was not made from it."""
    assert changed({"$vectorize": "words", "$vector": [0.0]}, {"$vector": [1.0]}) == {"$vector": [1.0]}
