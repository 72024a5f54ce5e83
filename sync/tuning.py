"""The base of sync.toml's sections of numbers, and the sections `[capture]` and `[throttle]`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sync.renamed import refuse_old_names


class Tuning(BaseModel):
    """A section of numbers that may be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    section: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _has_no_old_names(cls, given: Any) -> Any:
        refuse_old_names({cls.section: given})
        return given


class CaptureTuning(Tuning):
    """How changes by others are followed: for how long a write may be under way at the source, and a follower's lease."""

    section = "capture"

    write_timeout_seconds: float = Field(2.0, gt=0)
    lease_seconds: float = Field(15.0, gt=0)


class ThrottleTuning(Tuning):
    """How long one row may take, on each side, before backfills and drift reports rest; without a number: however long."""

    section = "throttle"

    source_latency_ms: float | None = Field(None, gt=0, le=2000)
    target_latency_ms: float | None = Field(None, gt=0, le=2000)
