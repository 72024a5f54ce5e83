"""deploy/Dockerfile without Docker: its Python steps are run in a fresh environment, with folders of the test's own."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_the_images_python_steps_make_a_working_sync(tmp_path: Path) -> None:
    """Would break: an image that cannot be built, lacks a file of the package, or a package that a command needs."""
    source, wheels, made = tmp_path / "src", tmp_path / "wheels", tmp_path / "sync"
    source.mkdir()
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *names, target = line.split()
        for name in names:
            where = source / target if not (ROOT / name).is_dir() else source
            where.mkdir(exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, where / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, where)
    steps = [line for line in re.findall(r"^RUN (.*)$", text, re.MULTILINE) if "python -m" in line]
    assert len(steps) == 3
    for step in steps:
        argv = [part.replace("/wheels", str(wheels)).replace("/opt/sync", str(made)) for part in shlex.split(step)]
        argv[0] = sys.executable if argv[0] == "python" else argv[0]
        if argv[1:3] == ["-m", "pip"] and argv[0] == sys.executable:
            argv = [_python_with_pip(tmp_path), *argv[1:]]
        done = subprocess.run(argv, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{step}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SYNC_LOG": "json"}
    for command, said in ((["--version"], "sync 0."), (["schema", "apply", "--help"], "--dimension")):
        done = subprocess.run(
            [made / "bin" / "sync", *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and said in done.stdout, done.stderr
    look = "import astrapy, pulsar, fastavro, lz4, prometheus_client, rich, sync.workers.health; from sync.resources import migration; migration('003_sync_state.sql')"
    done = subprocess.run(
        [made / "bin" / "python", "-c", look], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _python_with_pip(folder: Path) -> str:
    """The image's own Python has pip; this project's environment has none."""
    made = folder / "with-pip"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", str(made)], check=True, capture_output=True)
    return str(made / "bin" / "python")
