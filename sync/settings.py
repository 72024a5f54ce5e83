"""The environment (or `.env`) and `sync.toml`, read once into frozen values. The names are a contract: see docs/guide.md."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sync.core.cutover.agreement import agreed
from sync.core.documents.collections import DOC_COLUMN, KEY_COLUMN, VECTOR_COLUMN
from sync.core.rows import OnReject, TableOptions
from sync.core.schema.static_rows import base_of, named, static_options
from sync.core.words import listed
from sync.errors import SettingsError
from sync.missing import missing_of
from sync.notify_settings import NotifyTuning
from sync.renamed import refuse_old_names
from sync.tuning import CaptureTuning, ThrottleTuning, Tuning

DEFAULT_CONFIG = Path("sync.toml")


class Settings(BaseSettings):
    """What the environment says. Secrets are of a secret type, so that no report or traceback prints them (invariant 9)."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    storage_backend: Literal["astra", "postgres"] = "astra"
    sync_dual_write: bool = False
    sync_allow_one_sided: bool = False

    database_url: SecretStr | None = None
    database_url_unpooled: SecretStr | None = None
    postgres_host: str | None = None
    postgres_port: int = Field(5432, gt=0, lt=65536)
    postgres_database: str | None = None
    postgres_user: str | None = None
    postgres_password: SecretStr | None = None
    postgres_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "require"
    postgres_sslrootcert: str | None = None
    postgres_pooler: Literal["auto", "transaction", "session", "none"] = "auto"

    astra_db_secure_bundle_path: Path | None = None
    astra_db_application_token: SecretStr | None = None
    astra_db_api_endpoint: str | None = None
    astra_db_keyspace: str | None = None

    cassandra_contact_points: str | None = None
    cassandra_port: int = Field(9042, gt=0, lt=65536)
    cassandra_local_dc: str | None = None
    cassandra_username: str | None = None
    cassandra_password: SecretStr | None = None
    cassandra_ssl: bool = False
    cassandra_ssl_ca_path: Path | None = None
    cassandra_ssl_verify: Literal["full", "ca"] | None = None
    cassandra_compression: Literal["none", "lz4"] = "none"

    redis_url: SecretStr | None = None
    sync_config: Path = DEFAULT_CONFIG
    sync_dashboard_token: SecretStr | None = None

    @property
    def expected_backend(self) -> Literal["astra", "postgres"] | None:
        """What STORAGE_BACKEND says; None where it is not set, and nothing is expected."""
        return self.storage_backend if "storage_backend" in self.model_fields_set else None

    @property
    def has_cql(self) -> bool:
        """Whether the source can be reached over CQL."""
        return self.astra_db_secure_bundle_path is not None or self.cassandra_contact_points is not None

    def require(self, *names: str) -> None:
        """Raise SettingsError naming every one of these settings that is missing; `source` and `target`: all to reach one."""
        missing = [text for name in names for text in missing_of(self, name)]
        if missing:
            them = "it" if len(missing) == 1 else "them"
            raise SettingsError(f"{listed(missing)} not set: set {them} in the environment or in .env")


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The environment as Settings. Raises SettingsError naming every variable whose value is not of its type."""
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(_summary(error, str.upper)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{env_file} cannot be read: {error}") from None


def _summary(error: ValidationError, shown: Callable[[str], str] = str) -> str:
    """One line without the values, which may be secret."""
    found = error.errors(include_input=False)
    return "; ".join(f"{shown('.'.join(str(p) for p in e['loc']))}: {e['msg'].lower()}" for e in found)


class _TableSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = ""
    rename: dict[str, str] = Field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    on_reject: dict[str, OnReject] = Field(default_factory=dict)
    ttl: Literal["refuse", "keep", "expire"] = "refuse"
    expiry_column: str = Field("expires_at", pattern="^[^%]+$")  # a percent sign would be a parameter
    lightweight_transactions: bool = False
    collection: Literal[False] | None = None
    """False: a plain table, although it has a collection's layout."""

    def options(self) -> TableOptions:
        keeps, expiry = self.ttl == "keep", self.expiry_column if self.ttl == "expire" else ""
        serial = self.lightweight_transactions
        return TableOptions(self.target, self.rename, self.ignore, self.on_reject, keeps, serial, expiry=expiry)


class _FieldSection(BaseModel):
    """A field of a collection's documents that is a column of its own: `year = "integer"`, or with a name of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(min_length=1)
    column: str = ""


class _CollectionSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = ""
    id: str = "_id"
    document: str | Literal[False] = "doc"
    vector: str | Literal[False] = "vector"
    fields: dict[str, _FieldSection | str] = Field(default_factory=dict)
    on_reject: dict[str, OnReject] = Field(default_factory=dict)

    def options(self) -> TableOptions:
        """As of a table, whose columns are the layout's own and the fields' paths."""
        fields = {path: f if isinstance(f, _FieldSection) else _FieldSection(type=f) for path, f in self.fields.items()}
        names = {KEY_COLUMN: self.id, DOC_COLUMN: self.document, VECTOR_COLUMN: self.vector}
        rename = {**names, **{path: f.column or path for path, f in fields.items()}}
        ignored = {column for column, name in names.items() if name is False}
        called = {name: column for column, name in rename.items()}
        return TableOptions(
            self.target,
            {column: name for column, name in rename.items() if name is not False},
            frozenset(ignored),
            {called.get(name, name): action for name, action in self.on_reject.items()},
            fields={path: f.type for path, f in fields.items()},
            collection=True,
        )


class BackfillTuning(Tuning):
    """How a backfill reads and loads; the defaults are what the benchmark found best."""

    section = "backfill"

    range_mb: int = Field(64, gt=0)
    min_ranges: int | None = Field(None, gt=0, le=1_000_000)
    page_mb: float = Field(1.0, gt=0, le=64)
    batch_mb: float = Field(4.0, gt=0, le=256)
    streams: int = Field(2, gt=0, le=64)
    lease_seconds: int = Field(60, ge=5)
    request_timeout_seconds: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _lease_outlives_a_request(self) -> BackfillTuning:
        most = 2 * self.lease_seconds / 3  # a lease is renewed every third of its time, between pages
        if "request_timeout_seconds" in self.model_fields_set and self.request_timeout_seconds > most:
            raise ValueError(
                f"request_timeout_seconds = {self.request_timeout_seconds:g} lets a slow page cost the range its lease; with "
                f"lease_seconds = {self.lease_seconds} it may be {most:g} at most"
            )
        return self


class DualWriteTuning(Tuning):
    """How writes to both sides behave."""

    section = "dual_write"

    primary_timeout_seconds: float = Field(10.0, gt=0)
    connections: int = Field(16, gt=0)
    heartbeat_seconds: float = Field(5.0, gt=0)
    writer_lease_seconds: float = Field(30.0, gt=0)
    max_clock_skew_seconds: float = Field(60.0, gt=0)
    secondary_timeout_seconds: float = Field(3.0, gt=0)
    max_wait_seconds: float = Field(30.0, gt=0)
    breaker_failures: int = Field(1, gt=0)
    on_postgres_down: Literal["accept", "refuse"] = "accept"
    max_unrecorded_mb: int = Field(128, gt=0)
    writers_folder: Path | None = None
    async_secondary: frozenset[str] = frozenset()
    shadow_reads: float = Field(0.0, ge=0, le=1)


class DriftTuning(Tuning):
    """How a drift report checks; the rest is as for a backfill."""

    section = "drift"

    range_rows: int = Field(100_000, gt=0)
    max_waiting_ranges: int = Field(2, ge=0, le=16)
    grace_seconds: float = Field(0.5, ge=0)
    tries: int = Field(6, gt=1, le=50)
    max_verdict_age_minutes: float = Field(60.0, ge=0)


class CutoverTuning(Tuning):
    """How long a cut-over or rollback may take, with how many intents it begins, and what SQL may write before it."""

    section = "cutover"

    max_pause_seconds: float = Field(5.0, gt=0, le=60)
    max_drain_seconds: float = Field(60.0, ge=0)
    max_intents: int = Field(1000, ge=0)
    sql_writers: Literal["refuse", "allow"] = "refuse"


class Config(BaseModel):
    """`sync.toml`: which tables, and what is special about them. Absent, every table of the keyspace is taken as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    only: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    schema_files: tuple[Path, ...] = ()
    tables: dict[str, _TableSection] = Field(default_factory=dict)
    collections: dict[str, _CollectionSection] = Field(default_factory=dict)
    backfill: BackfillTuning = BackfillTuning()
    dual_write: DualWriteTuning = DualWriteTuning()
    drift: DriftTuning = DriftTuning()
    cutover: CutoverTuning = CutoverTuning()
    capture: CaptureTuning = CaptureTuning()
    throttle: ThrottleTuning = ThrottleTuning()
    notify: NotifyTuning = NotifyTuning()

    @model_validator(mode="before")
    @classmethod
    def _has_no_old_names(cls, given: Any) -> Any:
        refuse_old_names(given)  # of all sections at once
        return given

    @model_validator(mode="after")
    def _chosen_once(self) -> Config:
        if both := sorted({*self.exclude} & {*(self.only or ())}):
            raise ValueError(f"only and exclude both name {', '.join(both)}")
        return self

    def left_out_by(self, table: str) -> Literal["", "only", "exclude"]:
        """The setting that leaves a table out of the migration; empty where none does."""
        return "exclude" if named(table, self.exclude) else "" if self.only is None or named(table, self.only) else "only"

    @property
    def agreed(self) -> dict[str, Any]:
        """What writers, workers and commands must agree on, as plain values."""
        options = {name: self.options(name) for name in (*self.tables, *self.collections)}
        return agreed(self.only, self.exclude, options, [name for name, is_one in self.kinds.items() if not is_one])

    def mode(self, table: str) -> Literal["inline", "async"]:
        """Whether a table's secondary is written by the writer itself or by workers."""
        return "async" if table in self.dual_write.async_secondary else "inline"

    @property
    def kinds(self) -> dict[str, bool]:
        """Whether tables are collections, for those of which it is said."""
        return dict.fromkeys(self.collections, True) | {n: False for n, t in self.tables.items() if t.collection is False}

    def options(self, table: str) -> TableOptions:
        """What is said about a table or collection; the defaults where nothing is."""
        if table in self.collections:
            return self.collections[table].options()
        of_base = self.tables.get(base_of(table), _TableSection())
        return static_options(table, self.tables.get(table, _TableSection()).options(), of_base.ignore)


def load_config(path: Path) -> Config:
    """`sync.toml` as Config. Raises SettingsError naming the file and the entry that is wrong."""
    if not path.exists():
        if path != DEFAULT_CONFIG:
            raise SettingsError(f"SYNC_CONFIG: there is no file {path}")
        return Config()
    try:
        return Config.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        raise SettingsError(f"{path}: {_summary(error)}") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
