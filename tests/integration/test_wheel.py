"""The wheel: what is in it, and that it works in a folder whose own packages have the same names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MIGRATIONS = ("001_astra_schema.cql", "002_postgres_schema.sql", "003_sync_state.sql")
LOOK = (
    "import sync, sync.workers.pool; from sync.resources import migration; from sync.adapters import queue; "
    "from rq.utils import import_attribute as found; "
    "[found(job) for job in (queue.COPY_JOB, queue.CHECK_JOB, queue.RECONCILE_JOB)]; "
    f"[migration(name) for name in {MIGRATIONS}]; print(sync.__file__)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the project's own build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / done.stdout.split()[-1]


def test_only_the_package_is_in_it(wheel: Path) -> None:
    """Would break: an installation brings packages with names that any other project may have."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"sync", "dual_write_sync"}
    assert {"sync/py.typed"} < set(names)
    assert {f"sync/migrations/{name}" for name in MIGRATIONS} <= set(names)


def test_it_works_among_packages_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """Would break: `python -m sync` imports what the application has of that name; its migrations are looked for there."""
    installed, hostile = tmp_path / "site", tmp_path / "application"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for name in ("workers", "migrations"):
        (hostile / name).mkdir(parents=True)
        (hostile / name / "__init__.py").write_text("raise RuntimeError('another package')")
    env = {**os.environ, "PYTHONPATH": f"{installed}:{sysconfig.get_path('purelib')}"}
    for command in (["-m", "sync", "--help"], ["-c", LOOK]):
        done = subprocess.run(
            [sys.executable, "-S", *command], cwd=hostile, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(installed / "sync" / "__init__.py")
