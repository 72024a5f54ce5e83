"""Programs from Debian's packages, unpacked and not installed; kept, so that they are fetched once per machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def unpacked(name: str, *packages: str) -> Path:
    """The folder with these packages' files. Skips the test if there are no such packages here.

    It is in no private folder: servers that refuse to run as root must be able to read it.
    """
    folder = Path(f"/var/tmp/sync-tests-{name}")
    if (folder / "whole").exists():
        return folder
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip(f"no {name} on PATH, and no Debian packages to take it from")
    folder.mkdir(mode=0o755, exist_ok=True)
    done = subprocess.run(
        ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.skip(f"no {name} on PATH, and none from Debian's packages: {done.stderr.strip()[-300:]}")
    partial = folder / f"partial-{os.getpid()}"
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(partial)], check=True)
    shutil.copytree(partial, folder, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(partial)
    (folder / "whole").touch()
    return folder


def libraries(folder: Path) -> str:
    """The folder of the libraries that came along."""
    return str(next(folder.glob("usr/lib/*-linux-gnu"), ""))
