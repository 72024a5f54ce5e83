"""Pages of a table with a decimal in its partition key, which is text in Postgres: a cursor of either side is good on both."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice, product
from typing import Any

import pytest
from support.places import NewPlace

from sync.settings import Config
from sync.stores import CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
KEYS = ("1", "1.0", "1.00", "1E+2", "100", "0E+3", "0", "-1.50")


@pytest.mark.slow
def test_pages_go_on_after_every_row_on_either_side(new_place: NewPlace) -> None:
    """Would break: 1.0 is taken for 1.00, or the text of one side for a value of the other: rows are passed over, or come twice."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.prices (k decimal, n int, v text, PRIMARY KEY (k, n))")
        assert place.commands.run("schema", "apply").code == 0
        with DualWriteStore(place.settings, Config(schema_files=())) as store:
            store.put_many("prices", [{"k": Decimal(k), "n": n, "v": k} for k in KEYS for n in (1, 2, 3)])
        with CqlStore(place.settings) as cql, PostgresStore(place.settings) as postgres:
            order = _seen(cql.scan("prices"))
            assert len(order) == 24 and order == _seen(postgres.scan("prices"))
            for first, then in product((cql, postgres), repeat=2):
                for at in range(25):
                    rows = first.scan("prices", page_rows=2)
                    assert _seen(islice(rows, at)) + _seen(then.scan("prices", rows.cursor)) == order
                for k, at in product(KEYS, (1, 2)):
                    found = first.find("prices", {"k": Decimal(k)}, limit=at)
                    begun = _seen(found)
                    rest = then.find("prices", {"k": Decimal(k)}, after=found.cursor)
                    assert begun + _seen(rest) == [(k, 1), (k, 2), (k, 3)]


def _seen(rows: Any) -> list[tuple[str, int]]:
    return [(row["v"], row["n"]) for row in rows]
