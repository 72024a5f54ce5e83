"""Programs from Debian's packages, unpacked and not installed; kept, so that they are fetched once per machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest


def unpacked(name: str, *packages: str) -> Path:
    """The folder with these packages' files. Skips the test if there are no such packages here.

    It is in no private folder: servers that refuse to run as root must be able to read it.
    """
    folder = Path(f"/var/tmp/sync-tests-{name}-unpacked")
    if folder.exists():
        return folder
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip(f"no {name} on PATH, and no Debian packages to take it from")
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        Path(made).chmod(0o755)
        done = subprocess.run(
            ["apt-get", "download", *packages], cwd=made, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            pytest.skip(f"no {name} on PATH, and none from Debian's packages: {done.stderr.strip()[-300:]}")
        whole = Path(made) / "whole"
        for package in Path(made).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(whole)], check=True)
        with suppress(OSError):  # another process was faster
            whole.rename(folder)
    return folder


def libraries(folder: Path) -> str:
    """The folder of the libraries that came along."""
    return str(next(folder.glob("usr/lib/*-linux-gnu"), ""))
