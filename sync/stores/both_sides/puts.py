"""Rows that several callers put: one by one, with those of other threads, or with those of other tasks (rule 48)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sync.core.mutations import Mutation
from sync.flows.shared_puts import Joins
from sync.stores.both_sides.flow_cache import FlowCache
from sync.stores.both_sides.halves import Half, Halves
from sync.stores.both_sides.many_puts import ManyPuts
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.both_sides.target import TargetSide
from sync.stores.process import Process
from sync.wiring.tracing import tracing

Answer = BaseException | Literal["written", "alone", "later"]
"""What became of a row: of the last two nothing was done. It must be put by itself; or with the next rows."""


@dataclass(slots=True, eq=False)
class GivenRow:
    """A row that is to be put with others; `made`: the write that these flows have made of it."""

    values: Mapping[str, Any]
    ttl: int | None
    made: tuple[TableFlows, Mutation] | None = None

    def put(self, flows: TableFlows) -> Mutation:
        """The write. Raises WriteRefused."""
        if self.made is None or self.made[0] is not flows:
            self.made = flows, flows.put(self.values, self.ttl)
        return self.made[1]


class Puts(ManyPuts):
    """What a store of both sides writes of whole rows."""

    _shares_puts = True
    """Whether rows that are put at the same time may go together."""
    _process: Process
    _side: TargetSide
    _known: FlowCache
    _halves: Halves

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row, which expires after `ttl` seconds: a column left out becomes null on both sides."""
        return tracing().write("put", table, lambda: self._put(table, row, ttl))

    def _put(self, table: str, row: Mapping[str, Any], ttl: int | None) -> bool:
        """The same, without a span of its own."""

        def put(flows: TableFlows) -> bool:
            made = flows.put(row, ttl)
            return self._router.run({"astra": lambda: flows.puts.write(made), "postgres": lambda: flows.reverse.write(made)})

        return self._retry_on_change(table, put)

    def _shares(self, table: str) -> bool:
        """Whether a row of the table may go with others at this moment. Asks nobody; raises ForkedStore and StoreClosed."""
        self._process.check()
        if not self._side.is_registered or self._side.registration.primary != "astra":
            return False
        flows = self._known.known(table)
        return flows is not None and not flows.puts.is_apart

    def _put_each(self, table: str, rows: Sequence[GivenRow], tell: Callable[[Mapping[int, Answer]], object]) -> None:
        """Write rows of several callers together, each with its own answer, by number.

        `tell` is told of all whose answer is known, then, from other threads, of each that another transaction has held up.
        Raises what is true of all rows: nothing was written.
        """
        with self._calls:
            flows = self._of(table)
            answers, puts = _who_goes(flows, rows)
            if len(puts) < 2 or flows.puts.is_apart:
                tell({**answers, **dict.fromkeys(puts, "alone")})
                return
            numbers = list(puts)
            ends = self._batch(table, flows, list(puts.values()), lambda flows: flows.puts.together)
            answers.update(dict.fromkeys(numbers, "written"))
            answers.update({numbers[place]: error for place, error in ends.errors.items()})
            answers.update({numbers[place]: "alone" for place in ends.alone})
            for place in ends.halves:
                del answers[numbers[place]]
            tell(answers)
            left = {numbers[place]: intent for place, intent in ends.halves.items()}
            self._halves.begin([Half(flows.batch, puts[n], intent, _teller(n, tell)) for n, intent in left.items()])


def _who_goes(flows: TableFlows, rows: Sequence[GivenRow]) -> tuple[dict[int, Answer], dict[int, Mutation]]:
    """The answers of those that do not go together at once, and the writes of those that do."""
    answers: dict[int, Answer] = {}
    puts: dict[int, Mutation] = {}
    joins = Joins()
    for number, row in enumerate(rows):
        try:
            put = row.put(flows)
        except Exception:  # noqa: BLE001 (its own answer, unless the table has changed: alone it is raised again)
            answers[number] = "alone"
            continue
        if not joins.add(put):
            answers[number] = "later"
        elif flows.puts.goes_alone(put):
            answers[number] = "alone"
        else:
            puts[number] = put
    return answers, puts


def _teller(number: int, tell: Callable[[Mapping[int, Answer]], object]) -> Callable[[BaseException | None], object]:
    return lambda failed: tell({number: failed or "written"})
