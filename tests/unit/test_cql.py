"""CQL types as the driver's catalogue writes them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.core.cql import CqlType, parse_type

_PROFILE = settings(max_examples=200, derandomize=True, database=None, deadline=None)
INT, TEXT = CqlType("int"), CqlType("text")
UDTS = {
    "place": (("street", "text"), ("number", "int")),
    "My Type": (("Full Name", "text"), ("home", "frozen<place>"), ("tags", "frozen<set<text>>")),
    'say "hi"': (("x", "int"),),
    "a<b,c>": (("x", "int"),),
    "Text": (("x", "int"),),
}
PLACE = CqlType("udt", (TEXT, INT), fields=("street", "number"))


def frozen(inner: CqlType) -> CqlType:
    """The same type, frozen."""
    return CqlType(inner.name, inner.args, inner.dimension, inner.fields, frozen=True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("int", INT),
        ("varchar", TEXT),
        (" text ", TEXT),
        ("list<varchar>", CqlType("list", (TEXT,))),
        ("map<text, frozen<list<int>>>", CqlType("map", (TEXT, frozen(CqlType("list", (INT,)))))),
        ("map<text,frozen<list<int>>>", CqlType("map", (TEXT, frozen(CqlType("list", (INT,)))))),
        ("frozen<map<text, list<int>>>", frozen(CqlType("map", (TEXT, CqlType("list", (INT,)))))),
        ("tuple<int>", CqlType("tuple", (INT,))),
        ("frozen<tuple<int, text, int>>", frozen(CqlType("tuple", (INT, TEXT, INT)))),
        ("vector<float, 3>", CqlType("vector", (CqlType("float"),), 3)),
        ("vector<float,1536>", CqlType("vector", (CqlType("float"),), 1536)),
        ("list<frozen<vector<float, 3>>>", CqlType("list", (frozen(CqlType("vector", (CqlType("float"),), 3)),))),
        ("vector<frozen<list<int>>, 2>", CqlType("vector", (frozen(CqlType("list", (INT,))),), 2)),
        ("tuple<vector<float, 2>, int>", CqlType("tuple", (CqlType("vector", (CqlType("float"),), 2), INT))),
        ("frozen<list<'a.b.Custom(a.b.C,a.b.D)'>>", frozen(CqlType("list", (CqlType("'a.b.Custom(a.b.C,a.b.D)'"),)))),
        ("place", PLACE),
        ("frozen<place>", frozen(PLACE)),
        ("list<frozen<place>>", CqlType("list", (frozen(PLACE),))),
    ],
)  # fmt: skip
def test_every_form_of_a_type(text: str, wanted: CqlType) -> None:
    """Would break: a column is read as another type, or its table refused."""
    assert parse_type(text, UDTS) == wanted


def test_user_types_with_quoted_names() -> None:
    """Would break: names with blanks, quotes, commas or brackets, or those of native types in another case, are misread."""
    name = parse_type('map<int, frozen<"My Type">>', UDTS).args[1]
    assert name.fields == ("Full Name", "home", "tags") and name.frozen
    assert name.args == (TEXT, frozen(PLACE), frozen(CqlType("set", (TEXT,))))
    for quoted in ('"say ""hi"""', '"a<b,c>"', '"Text"'):
        assert parse_type(f"frozen<{quoted}>", UDTS) == frozen(CqlType("udt", (INT,), fields=("x",)))
    assert parse_type("text", UDTS) == TEXT


def test_a_user_type_that_is_not_known_is_no_native_type() -> None:
    """Would break: a type that the catalogue does not describe passes for one that it does."""
    assert parse_type("frozen<nowhere>", UDTS) == CqlType("nowhere", frozen=True)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "list<", "list<int", "list<int>>", "list<>", "<int>", "int>", "map<int,", "map<int>", "list<int, int>",
        "set<int, int>",
        "frozen<int, text>", "frozen<>", "vector<float>", "vector<float, x>", "vector<float, 3", "vector<float, 3, 4>",
        "vector<, 3>",
        "vector<float, 3> int", "int int", ",", '"', '"abc', 'frozen<"abc>', "tuple<int,,int>", "vector<float, 0>",
        "vector<float, -3>",
    ],
)  # fmt: skip
def test_what_is_not_a_type_is_a_value_error(text: str) -> None:
    """Would break: an unexpected type string ends in an error that nothing catches, or passes for a type that it is not."""
    with pytest.raises(ValueError, match=r"."):
        parse_type(text, UDTS)


NATIVE = st.sampled_from(["int", "text", "blob", "timestamp", "duration", "inet"]).map(CqlType)


def _nested(inner: st.SearchStrategy[CqlType]) -> st.SearchStrategy[CqlType]:
    return st.one_of(
        st.builds(lambda a: CqlType("list", (a,)), inner),
        st.builds(lambda a: CqlType("set", (a,)), inner),
        st.builds(lambda a, b: CqlType("map", (a, b)), inner, inner),
        st.lists(inner, min_size=1, max_size=4).map(lambda a: CqlType("tuple", tuple(a))),
        st.builds(lambda a, n: CqlType("vector", (a,), n), inner, st.integers(1, 20_000)),
        inner.map(frozen),
    )


@_PROFILE
@given(st.recursive(NATIVE, _nested, max_leaves=8))
def test_a_type_is_what_its_text_says(cql: CqlType) -> None:
    """Would break: a type shown in a message is not the type of the column."""
    assert parse_type(str(cql)) == cql


@_PROFILE
@given(st.text(alphabet='abvecto<>,"3 ', max_size=12))
def test_any_text_is_a_type_or_a_value_error(text: str) -> None:
    """Would break: StopIteration, or an index error, out of a function that promises ValueError."""
    with suppress(ValueError):
        parse_type(text)
