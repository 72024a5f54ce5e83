"""The wheel: what is in it, and that it works in a folder whose own packages have the same names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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
    page = [path for folder in ("templates", "static") for path in (ROOT / "sync" / "dashboard" / folder).iterdir()]
    assert len(page) > 12 and {str(path.relative_to(ROOT)) for path in page} <= set(names), "the dashboard's page is in it"


def test_it_works_among_packages_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """Would break: `python -m sync` imports the application's packages of these names, or looks for its migrations there."""
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


WITHOUT = "import sys; sys.modules |= dict.fromkeys(('astrapy', 'httpx', 'stamina', 'rich', 'psutil', 'jgo', 'music21', 'prometheus_client'));"
"""As if no extra was installed: these cannot be imported."""


def test_an_application_needs_no_extra() -> None:
    """Would break: a web application must install a console, the Data API's client and embedded servers to open a store."""
    code = f"{WITHOUT} from sync import AsyncDualWriteStore, DualWriteStore, Store, open_store; import sync.workers.tasks"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("code", "said"), [
    ("from sync.cli import main; sys.exit(main(['status']))", "sync: rich is not installed: pip install 'dual-write-sync[cli]'\n"),
    ("del sys.modules['rich']; sys.modules |= {'uvicorn': None}; from sync.cli import main; sys.exit(main(['dashboard']))",
     "sync dashboard: uvicorn is not installed: pip install 'dual-write-sync[dashboard]'\n"),
    ("from sync import open_store; open_store()", "astrapy is not installed: pip install 'dual-write-sync[data-api]'\n"),
], ids=["cli", "dashboard", "data-api"])  # fmt: skip
def test_what_an_extra_is_missing_for_is_said(code: str, said: str, tmp_path: Path) -> None:
    """Would break: a ModuleNotFoundError does not say what to install."""
    env = {**os.environ, "ASTRA_DB_API_ENDPOINT": "http://127.0.0.1:1", "SYNC_DUAL_WRITE": "true"}
    done = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT} {code}"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith(said), done.stderr


USERS = """
from sync import Store, SyncError, WriteRefused, WriteUnsure, open_store

def save(store: Store, song: dict[str, object]) -> bool:
    try:
        return store.put("songs", song)
    except (WriteRefused, WriteUnsure) as error:
        raise SyncError(str(error)) from error

with open_store() as store:
    save(store, {"id": 1})
    row = store.get("songs", {"id": 1})
    title: str = row["title"] if row else ""
    nearest: list[tuple[dict[str, object], float]] = list(store.search("songs", "v", [0.0], limit=1))
"""


def test_an_applications_code_is_checked_by_its_types(tmp_path: Path) -> None:
    """Would break: `py.typed` is missing, or names are not exported: mypy --strict fails in everybody's application."""
    (tmp_path / "application.py").write_text(USERS)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "application.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
