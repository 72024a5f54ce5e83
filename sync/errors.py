"""The project's errors: one root, each class's docstring says what happened; the message says where and what to do."""

from __future__ import annotations

from copy import copy
from typing import Literal, TypeVar

E = TypeVar("E", bound=BaseException)


class SyncError(Exception):
    """The root of all errors: `str(error)` is one line that says what failed, where, and what to do."""


class SettingsError(SyncError):
    """A setting is missing, contradictory or has the wrong type."""


class Unreachable(SyncError):
    """A server does not answer, or refuses the connection or the credentials."""


class NotNow(SyncError):
    """A server is temporarily unavailable (out of space, starting, overloaded): commands and workers wait for it."""


class UnreachableNow(Unreachable, NotNow):
    """A server answers, but accepts no connection now: it is starting, or has too many."""


class PreflightError(SyncError):
    """Source and target do not fit together; nothing was written."""


class WriteRefused(SyncError):
    """Nothing was or will be written on either side: bad input, or the primary refused it."""


class WriteRefusedNow(WriteRefused, NotNow):
    """No write is accepted at the moment (overload, an outage, a cut-over): nothing was or will be written on either side."""


class WriteUnsure(SyncError):
    """The write may have been done on the primary; both sides will be reconciled to the same result."""


class ValueUnreadable(SyncError):
    """A row holds a value that Python cannot represent (a date after the year 9999, a text that is not UTF-8)."""


class NotSupported(SyncError):
    """A store cannot do this, at all or while Astra is primary: nothing was sent."""


class QueryNotSupported(SyncError):
    """A read asks for what a side cannot answer: the message names the key, column or index that is missing there."""


class StoreClosed(SyncError):
    """A store was used after it was closed: nothing was sent."""


class ForkedStore(SyncError):
    """A store was used in a process that was forked after it was opened."""


class SourceTimeout(SyncError):
    """The source did not answer in time: the range may be too much for one request."""


class SourceUnavailable(SyncError):
    """The source is overloaded, has too few replicas, or is unreachable: a retry may succeed later."""


class SourceAway(SourceUnavailable, NotNow):
    """The source accepts no request at the moment: overloaded, too few replicas, no answer."""


class PlaceUnknown(SourceUnavailable):
    """The source no longer accepts its own mark of a place in a partition: another version of it made the mark."""


class TargetUnavailable(SyncError):
    """The connection to the target broke, or the target is restarting: the transaction changed nothing or everything."""

    state = "unreachable"
    """What the target is, in the message of a write that it did not take."""


class TargetNotNow(TargetUnavailable, NotNow):
    """The target is out of space, memory or connections, refuses writes, or is shutting down: nothing has changed."""


class TargetBusy(TargetUnavailable):
    """The target works, but another transaction held the row for too long: the transaction changed nothing."""

    state = "locked by another transaction"


class BatchTimedOut(TargetBusy):
    """A statement for many keys took longer than a statement may: for fewer it may not. The transaction changed nothing."""

    state = "slow for many rows at once"


class TargetRefused(TargetUnavailable):
    """The target works, but refuses something about one key, or its table: the transaction changed nothing."""


class AnswerLost(TargetUnavailable):
    """The connection to the target broke in the middle: whether the transaction changed anything is not known."""


class LocalServerError(SyncError):
    """An embedded server could not be started, found or stopped."""


class WorkFailed(SyncError):
    """Workers fail repeatedly for a reason that retries do not fix."""


class EpochChanged(SyncError):
    """The other store is primary now, or a cut-over is under way: the write starts again under the current epoch."""

    def __init__(
        self, epoch: int, primary: Literal["astra", "postgres"], state: Literal["open", "closing", "closed"]
    ) -> None:
        super().__init__(f"epoch {epoch}: {primary} is primary, {state}")
        self.epoch, self.primary, self.state = epoch, primary, state


class NotRegistered(EpochChanged):
    """This writer was silent and was fenced, or its slot was given away: it registers again, and the write starts again."""


class Suspended(NotRegistered):
    """This process was suspended, and may have been fenced meanwhile: Postgres is asked, and the write starts again."""

    def __init__(self) -> None:
        super().__init__(0, "astra", "closing")  # which epoch it is, it does not know
        self.args = ("this process was suspended and waits for Postgres's answer",)


class GateRefused(SyncError):
    """A gate of a cut-over, a rollback or the end of the migration is red; nothing has changed."""


class StillOpen(GateRefused):
    """An intent or a writer came in between; the cut-over has changed nothing, and may succeed a moment later."""


class LeaseLost(SyncError):
    """Another worker took over this token range; this worker's transaction changed nothing."""


class Interrupted(SyncError):
    """Stopped by the user; the message says what stays."""


class FeedTaken(SyncError):
    """Another process follows this feed: this one has recorded nothing since."""

    def __init__(self, name: str, owner: str, lease_left: float) -> None:
        super().__init__(f"another process follows {name!r}: {owner}, for another {max(0.0, lease_left):.0f} s at least")


class FeedUnreadable(SyncError):
    """What a feed is read from is not what it should be: nothing of that batch was recorded."""


def copied(error: E) -> E:
    """The same error as an object of its own: one that is raised in several places gathers the tracebacks of all of them."""
    if isinstance(error, SyncError):  # some have constructors that want something else than `args`
        made = type(error).__new__(type(error), *error.args)
        made.__dict__.update(error.__dict__)
        return made.with_traceback(error.__traceback__)
    try:
        return copy(error).with_traceback(error.__traceback__)
    except Exception:  # noqa: BLE001 (somebody else's constructor: then they share it)
        return error
