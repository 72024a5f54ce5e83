"""Settings that had other names: using an old one is an error that gives the new one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sync.errors import SettingsError
from sync.settings import BackfillTuning, Config, CutoverTuning, DriftTuning, DualWriteTuning, load_config

OLD: dict[type[BaseModel], dict[str, tuple[Any, str]]] = {
    BackfillTuning: {"range_count": (8, "min_ranges")},
    DualWriteTuning: {
        "most_skew_seconds": (1.0, "max_clock_skew_seconds"),
        "most_wait_seconds": (1.0, "max_wait_seconds"),
        "most_unrecorded_mb": (1, "max_unrecorded_mb"),
        "journal_away": ("refuse", "on_postgres_down"),
        "queued": (["t"], "async_secondary"),
    },
    DriftTuning: {"waiting": (1, "max_waiting_ranges"), "most_verdict_minutes": (1.0, "max_verdict_age_minutes")},
    CutoverTuning: {
        "most_pause_seconds": (1.0, "max_pause_seconds"),
        "most_settle_seconds": (1.0, "max_drain_seconds"),
        "most_intents": (1, "max_intents"),
    },
}
SECTIONS = {BackfillTuning: "backfill", DualWriteTuning: "dual_write", DriftTuning: "drift", CutoverTuning: "cutover"}
EACH = [(model, old, value, new) for model, names in OLD.items() for old, (value, new) in names.items()]
NAMES = [old for _, old, *_ in EACH]


def toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections as sync.toml has them; values are numbers, texts and lists of texts, which JSON and TOML write alike."""
    return "\n".join(
        f"[{name}]\n" + "\n".join(f"{key} = {str(value).replace(chr(39), chr(34))}" if not isinstance(value, str)
                                 else f'{key} = "{value}"' for key, value in entries.items())
        for name, entries in sections.items()
    )  # fmt: skip


@pytest.mark.parametrize(("model", "old", "value", "new"), EACH, ids=NAMES)
def test_an_old_name_in_the_constructor_says_the_new_one(model: type[BaseModel], old: str, value: Any, new: str) -> None:
    """Would break: an application that builds its own settings is told only that there is an extra input."""
    with pytest.raises(SettingsError) as caught:
        model(**{old: value})
    assert str(caught.value) == f"settings have new names: rename {SECTIONS[model]}.{old} to {new}"
    assert getattr(model(**{new: value}), new) == (frozenset(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(("model", "old", "value", "new"), EACH, ids=NAMES)
def test_an_old_name_in_the_file_says_the_new_one(
    tmp_path: Path, model: type[BaseModel], old: str, value: Any, new: str
) -> None:
    """Would break: whoever upgrades has to look for the new name."""
    path = tmp_path / "sync.toml"
    path.write_text(toml({SECTIONS[model]: {old: value}}))
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: settings have new names: rename {SECTIONS[model]}.{old} to {new}"
    path.write_text(toml({SECTIONS[model]: {new: value}}))
    assert load_config(path) != Config()


def test_all_old_names_are_said_at_once_by_every_command(tmp_path: Path) -> None:
    """Would break: an upgrade takes as many attempts as there are names; or one of them ends in a traceback."""
    said = {SECTIONS[model]: {old: value for old, (value, _) in names.items()} for model, names in OLD.items()}
    (tmp_path / "sync.toml").write_text(toml(said))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SYNC_", "POSTGRES_"))}
    done = subprocess.run(
        [sys.executable, "-m", "sync", "status"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    each = ", ".join(f"{SECTIONS[model]}.{old} to {new}" for model, old, _, new in EACH)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"sync status: sync.toml: settings have new names: rename {each}\n"


def test_a_name_that_never_was_one_is_still_unknown(tmp_path: Path) -> None:
    """Would break: the check for old names hides what pydantic says about the others."""
    path = tmp_path / "sync.toml"
    path.write_text(toml({"drift": {"most_tries": 1}}))
    with pytest.raises(SettingsError, match=r"drift\.most_tries: extra inputs are not permitted"):
        load_config(path)
