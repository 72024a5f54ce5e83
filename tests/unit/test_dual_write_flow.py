"""The forward write on doubles alone: which answer the caller gets for every failure, and the order of the steps."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import (
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException, ConnectionShutdown
from cassandra.protocol import (
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
    SyntaxException,
    TruncateError,
)

from sync.adapters.cassandra.rows.rows import SourceRows
from sync.core.cql import CqlType
from sync.core.mutations import Key, Mutation
from sync.core.rows import SourceColumn, SourceTable
from sync.errors import AnswerLost, EpochChanged, SourceUnavailable, TargetBusy, TargetUnavailable, WriteRefused, WriteUnsure
from sync.flows import dual_write
from sync.flows.dual_write import ForwardWrite
from sync.ports import Intent

KEY = Key("t", (b"k",), b"k", 0)
PUT = Mutation("put", KEY, {"a": b"1"})
AWAY = TargetUnavailable("away")


@dataclass
class Fake:
    """Journal, primary and registration at once; `fail` names the steps that raise, `steps` are those that were taken."""

    outcome: str = "written"
    guard_accepts: bool = True
    withdrawn: bool = True
    accepts: bool = False
    accepting: int = 0
    fail: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    newest: int = 0
    newest_accepted: int = 7
    table: str = "t"

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fail:
            raise self.fail[name]

    def open(self, _: Mutation, above: int) -> Intent:
        assert above == self.newest_accepted
        self._step("open")
        return Intent(1, 100, 1)

    def write(self, mutation: Mutation, at: Any) -> Any:
        if isinstance(at, int):
            self._step(f"primary {at}")
            return self.outcome, "why"
        self._step("target")
        return self.guard_accepts

    def mark(self, intents: list[Intent], state: str, __: str) -> set[int]:
        self._step(f"mark {state}")
        return {intent.id for intent in intents}

    def withdraw(self, _: Intent) -> bool:
        self._step("withdraw")
        return self.withdrawn

    def needs_reconcile(self, _: str) -> None:
        self._step("ring")

    def mark_later(self, _: object, __: Intent, state: str, ___: str) -> None:
        self._step(f"later {state}")

    def begin_accepting(self) -> bool:
        self.accepting += self.accepts
        return self.accepts

    def end_accepting(self) -> None:
        self.accepting -= 1

    def gaps(self) -> int:
        return 0

    def accepted(self, key: Key) -> int:
        assert key is KEY
        return self.newest_accepted

    def stamp(self, key: Key) -> int:
        assert key is KEY
        self.newest += 1
        return self.newest

    def forget(self, key: Key) -> None:
        assert key is KEY

    def observe(self, version: int, _: object, __: bool = False) -> None:
        self.newest = max(self.newest, version)

    def add_unrecorded(self, _: object, __: Mutation, version: int, state: str) -> None:
        self._step(f"unrecorded {state}")

    def flow(self, mode: Any = "inline") -> ForwardWrite:
        return ForwardWrite(self, self, self, mode)  # type: ignore[arg-type]


def test_the_steps_of_a_write_that_succeeds() -> None:
    """Would break: the steps are not in the order of rule 11."""
    fake = Fake()
    assert fake.flow().write(PUT) is True
    assert fake.steps == ["open", "primary 100", "target"]


@pytest.mark.parametrize("place", ["primary 1", "failpoint"])
def test_a_write_without_journal_that_is_broken_off_is_remembered(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: SIGTERM ends a call in the middle; only the primary has its write, and the writer counts as clean."""
    fake = Fake(accepts=True, fail={"open": AWAY, "primary 1": SystemExit()} if place != "failpoint" else {"open": AWAY})

    def ended(name: str) -> None:
        if name == "write.unrecorded" and place == "failpoint":
            raise SystemExit

    monkeypatch.setattr(dual_write, "failpoint", ended)
    with pytest.raises(SystemExit):
        fake.flow().write(PUT)
    assert fake.steps == ["open", "primary 1", "unrecorded unsure"]
    assert fake.accepting == 0


def test_a_write_that_nobody_could_remember_keeps_its_writer_registered() -> None:
    """Would break: the signal comes while the write is being remembered: nothing records it, and the writer signs off."""
    fake = Fake(accepts=True, fail={"open": AWAY, "unrecorded finished": SystemExit()})
    with pytest.raises(SystemExit):
        fake.flow().write(PUT)
    assert fake.accepting == 1


def test_an_async_write_leaves_the_second_half_to_workers() -> None:
    """Would break: the caller of such a write waits for a second transaction."""
    fake = Fake()
    assert fake.flow("async").write(PUT) is True
    assert fake.steps == ["open", "primary 100", "later finished"]


def test_a_write_that_the_guard_refuses_succeeds_and_rings() -> None:
    """Would break: the caller gets an error because the target has something newer."""
    fake = Fake(guard_accepts=False)
    assert fake.flow().write(PUT) is True
    assert fake.steps == ["open", "primary 100", "target", "ring"]


@pytest.mark.parametrize(
    ("fail", "steps"),
    [
        ({"target": AWAY}, ["later finished"]),
        ({"target": TargetBusy("held")}, ["mark finished", "ring"]),
        ({"target": ValueError("no NUL")}, ["mark finished", "ring"]),
        ({"target": ValueError("no NUL"), "mark finished": AWAY}, ["mark finished", "later finished"]),
    ],
)
def test_whatever_fails_in_the_target_the_caller_has_succeeded(fail: dict[str, Any], steps: list[str]) -> None:
    """Would break: a sick secondary fails the application's calls (invariant 8), or the write is forgotten (rule 12)."""
    fake = Fake(fail=fail)
    assert fake.flow().write(PUT) is True
    assert fake.steps == ["open", "primary 100", "target", *steps]


def test_a_refusal_is_withdrawn_and_named() -> None:
    """Would break: a refused write is done later, or the reason is lost (rule 13)."""
    fake = Fake("refused")
    with pytest.raises(WriteRefused, match="why"):
        fake.flow().write(PUT)
    assert fake.steps == ["open", "primary 100", "withdraw"]


@pytest.mark.parametrize("fake", [Fake("refused", withdrawn=False), Fake("refused", fail={"withdraw": AWAY})])
def test_a_refusal_that_cannot_be_withdrawn_is_unsure(fake: Fake) -> None:
    """Would break: the caller is told that nothing will be written, and a reconcile writes it."""
    with pytest.raises(WriteUnsure):
        fake.flow().write(PUT)


@pytest.mark.parametrize("fail", [{}, {"mark unsure": AWAY}])
def test_an_unsure_write_is_marked_and_is_unsure(fail: dict[str, Any]) -> None:
    """Would break: a timeout is taken for success or for failure."""
    fake = Fake("unsure", fail=fail)
    with pytest.raises(WriteUnsure):
        fake.flow().write(PUT)
    assert fake.steps == ["open", "primary 100", "mark unsure", "later unsure" if fail else "ring"]


def test_another_epoch_is_told_before_anything_is_written() -> None:
    """Would break: a write to a store that is no longer primary (rule 20)."""
    fake = Fake(fail={"open": EpochChanged(2, "postgres", "open")})
    with pytest.raises(EpochChanged):
        fake.flow().write(PUT)
    assert fake.steps == ["open"]


@pytest.mark.parametrize("accepts", [True, False])
def test_an_intent_whose_answer_is_lost_makes_the_write_unsure(accepts: bool) -> None:
    """Would break: the caller is told that nothing was written, and a reconcile finds the intent and writes it."""
    fake = Fake(accepts=accepts, fail={"open": AnswerLost("cut")})
    with pytest.raises(WriteUnsure, match="cut"):
        fake.flow().write(PUT)
    assert fake.steps == ["open"]


def test_rule_28_refuse_writes_nothing_without_a_journal() -> None:
    """Would break: a write that is recorded nowhere."""
    fake = Fake(fail={"open": AWAY})
    with pytest.raises(WriteRefused, match="away"):
        fake.flow().write(PUT)
    assert fake.steps == ["open"]


@pytest.mark.parametrize(("outcome", "state"), [("written", "finished"), ("unsure", "unsure")])
def test_rule_28_accept_writes_the_primary_and_remembers_it(outcome: str, state: str) -> None:
    """Would break: the application stops while Postgres is unreachable, or the write is not recorded when it is back."""
    fake = Fake(outcome, accepts=True, fail={"open": AWAY})
    if outcome == "unsure":
        with pytest.raises(WriteUnsure):
            fake.flow().write(PUT)
    else:
        assert fake.flow().write(PUT) is True
    assert fake.steps == ["open", "primary 1", f"unrecorded {state}"]


def test_rule_28_what_the_primary_refuses_is_not_remembered() -> None:
    """Would break: a refused write counts as unrecorded and requires a drift pass."""
    fake = Fake("refused", accepts=True, fail={"open": AWAY})
    with pytest.raises(WriteRefused):
        fake.flow().write(PUT)
    assert fake.steps == ["open", "primary 1"]


def test_rule_2_a_stamp_without_journal_exceeds_those_that_the_journal_gave() -> None:
    """Would break: Postgres goes away between two writes of one caller, and the second, acknowledged, loses to the first."""
    fake = Fake(accepts=True)
    fake.flow().write(PUT)
    fake.fail["open"] = AWAY
    fake.flow().write(PUT)
    assert fake.steps == ["open", "primary 100", "target", "open", "primary 101", "unrecorded finished"]


# what the driver says


def _rows(error: Exception) -> SourceRows:
    class Session:
        def prepare(self, _: str) -> Any:
            return SimpleNamespace(
                column_metadata=[], query_id=b"", routing_key_indexes=None, keyspace="k", serial_consistency_level=None,
                consistency_level=None, fetch_size=None, custom_payload=None, retry_policy=None, is_idempotent=False,
                protocol_version=5,
            )  # fmt: skip

        def execute(self, *_: object, **__: object) -> Any:
            raise error

        def execute_async(self, *_: object, **__: object) -> Any:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return SimpleNamespace(result=failed.result, add_callbacks=lambda _, end: end(error))

    both = SimpleNamespace(session=Session(), raw=Session(), slots=BoundedSemaphore(1))
    columns = (SourceColumn("k", CqlType("text"), "partition_key"), SourceColumn("a", CqlType("text"), "regular"))
    return SourceRows(both, SourceTable("ks", "t", columns), 1)  # type: ignore[arg-type]


UNSURE = [
    OperationTimedOut(),
    WriteTimeout("timed out", write_type=0),
    WriteFailure("failed", write_type=0),
    NoHostAvailable("none", {}),
    ConnectionShutdown("cut"),
    ConnectionException("cut"),
    OverloadedErrorMessage(0x1001, "overloaded", None),
    IsBootstrappingErrorMessage(0x1002, "starting", None),
    TruncateError(0x1003, "truncated", None),
    ServerError(0x0000, "bug", None),
]
REFUSED = [InvalidRequest("no"), Unauthorized("no"), Unavailable("few"), SyntaxException(0x2000, "no", None)]


@pytest.mark.parametrize("error", UNSURE, ids=lambda e: type(e).__name__)
def test_what_may_have_been_written_is_unsure(error: Exception) -> None:
    """Would break: a raw error of the driver reaches the application, and its intent stays open while the process lives."""
    assert _rows(error).write(PUT, 1)[0] == "unsure"
    assert [outcome for outcome, _, _ in _rows(error).write_many([(PUT, 1), (PUT, 2)])] == ["unsure"] * 2
    with pytest.raises(SourceUnavailable):
        _rows(error).read(KEY)


@pytest.mark.parametrize("error", REFUSED, ids=lambda e: type(e).__name__)
def test_what_the_coordinator_refuses_is_refused(error: Exception) -> None:
    """Would break: a refused write is repeated forever, or the caller gets no error (rule 13)."""
    assert _rows(error).write(PUT, 1)[0] == "refused"
    assert [outcome for outcome, _, _ in _rows(error).write_many([(PUT, 1), (PUT, 2)])] == ["refused"] * 2
