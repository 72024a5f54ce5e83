"""SYNC_PULSAR_*: where the server is, and the token for it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sync.errors import SettingsError

_SCHEMES = {"pulsar": 6650, "pulsar+ssl": 6651}


class PulsarSettings(BaseSettings):
    """Settings of `sync follow pulsar`; only it reads them."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    sync_pulsar_url: str | None = None
    sync_pulsar_token: SecretStr | None = None
    sync_pulsar_ca_path: Path | None = None
    sync_pulsar_subscription: str = Field("sync", min_length=1)

    @property
    def server(self) -> str:
        """The server as errors and reports name it."""
        parts = urlsplit(self.checked_url)
        return f"Pulsar at {parts.hostname}:{parts.port or _SCHEMES[parts.scheme]}"

    @property
    def checked_url(self) -> str:
        """The URL. Raises SettingsError, without the value, which might hold a secret."""
        url = self.sync_pulsar_url
        if url is None:
            raise SettingsError("SYNC_PULSAR_URL is not set: set it in the environment or in .env (pulsar+ssl://HOST:6651)")
        try:
            parts = urlsplit(url)
            good = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and not parts.username
        except ValueError:
            good = False
        if not good:
            raise SettingsError(
                "SYNC_PULSAR_URL is not a pulsar://HOST:PORT or pulsar+ssl://HOST:PORT; a token has its own setting"
            )
        return url


def load_pulsar_settings(env_file: Path | None = Path(".env")) -> PulsarSettings:
    """The environment as settings. Raises SettingsError naming every variable whose value is not of its type."""
    try:
        return PulsarSettings(_env_file=env_file)
    except ValidationError as error:
        found = error.errors(include_input=False)
        raise SettingsError("; ".join(f"{str(e['loc'][0]).upper()}: {e['msg'].lower()}" for e in found)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{env_file} cannot be read: {error}") from None
