"""Postgres refuses to run as root: find a user to run it as, and a place that this user can reach.

No system user is created, and the permissions of no existing folder are changed. If the project lies below a private folder
(such as /root), program and data go to a folder of their own below the system's temporary one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sync.errors import LocalServerError

_CANDIDATES = ("postgres", "nobody")
_LINK = "elsewhere"
_OWNER = "belongs-to"


@dataclass(frozen=True)
class User:
    """The user that the server runs as."""

    uid: int
    gid: int

    def own(self, *paths: Path) -> None:
        """Give these files and folders to the user."""
        for path in paths:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def own_tree(self, folder: Path) -> None:
        """Give a data directory to the user, if it was copied, or made while another user ran the server."""
        if folder.stat().st_uid == self.uid:
            return
        folder.chmod(0o700)  # Postgres refuses any other
        self.own(folder, *folder.rglob("*"))

    def reaches(self, path: Path) -> bool:
        """Whether the user can get to `path` and read it."""
        steps = [*path.resolve().parents, path.resolve()]
        return all(self._may(step, stat.S_IXOTH if step.is_dir() else stat.S_IROTH) for step in steps)

    def _may(self, path: Path, right: int) -> bool:
        found = path.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & right << 6)
        if found.st_gid == self.gid:
            return bool(found.st_mode & right << 3)
        return bool(found.st_mode & right)


def other_user() -> User | None:
    """None if the server can run as our user; otherwise an unprivileged user that exists."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return User(entry.pw_uid, entry.pw_gid)
    raise LocalServerError(
        f"Postgres refuses to run as root and there is no user {' or '.join(_CANDIDATES)}; run as another user"
    )


def reachable_home(folder: Path, user: User | None) -> Path:
    """`folder` itself if the server's user can reach it; else a temporary folder that `folder/elsewhere` points to."""
    if user is None or user.reaches(folder):
        return folder
    link = folder / _LINK
    known = elsewhere(folder)
    if known is not None:
        return known
    link.unlink(missing_ok=True)
    for base in dict.fromkeys((tempfile.gettempdir(), "/var/tmp", "/tmp")):
        if Path(base).is_dir() and user.reaches(Path(base)):
            home = Path(tempfile.mkdtemp(prefix="sync-postgres-", dir=base))
            home.chmod(0o755)
            (home / _OWNER).write_text(str(folder))
            link.symlink_to(home)
            return home
    raise LocalServerError(f"Postgres cannot run as root, and another user cannot reach {folder}; use a folder outside of it")


def elsewhere(folder: Path) -> Path | None:
    """The temporary folder used instead of `folder`, if there is one; a copy of `folder` does not share it."""
    link = folder / _LINK
    if not link.is_symlink() or not link.is_dir():
        return None
    home = link.resolve()
    owner = Path((home / _OWNER).read_text()) if (home / _OWNER).exists() else folder
    if owner == folder:
        return home
    if (owner / _LINK).is_symlink() and (owner / _LINK).resolve() == home:
        return None
    (home / _OWNER).write_text(str(folder))  # the project was moved, and this went with it
    return home


def reachable_program(package: Path, install: str, home: Path, user: User | None) -> Path:
    """The `bin` folder of the package's Postgres, copied into `home` if the server's user cannot reach the package."""
    programs = package / install / "bin"
    if user is None or user.reaches(programs / "postgres"):
        return programs
    copy = home / "program"
    if not (copy / "whole").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(package / install, copy / package.name / install, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        for path in (copy, *copy.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
        (copy / "whole").touch()
    return copy / package.name / install / "bin"
