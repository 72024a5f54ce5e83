"""The section `[notify]` of sync.toml: who is told of what has happened."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from sync.tuning import Tuning


class NotifyTuning(Tuning):
    """A webhook that is told when a backfill, a drift pass or a switch has ended, and when a writer is silent."""

    section = "notify"

    url: SecretStr | None = None
    timeout_seconds: float = Field(5.0, gt=0, le=60)

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one or "@" in parts.netloc:
            raise ValueError("it must be http:// or https:// with a host, and without a user")
        return url
