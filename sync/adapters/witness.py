"""A file that outlives its process and says whether it wrote anything that Postgres does not know of (rule 29).

The first byte is 0, and 1 from before the first such write until all of them are recorded. The process holds the file's lock
(flock) as long as it lives. If the file is unlocked and its byte is 0, its process has ended and nothing is unrecorded.
Anything else proves nothing, and the writer is judged as one without a file: no file, a copy of one (another inode), a file
of another host or from before a reboot (the disk may have been restored meanwhile).

A free lock alone proves nothing: some file systems lose the lock of a live process. So the process that judges renames the
file before it reads the byte, and the owner looks for the file after it wrote the byte: one of them sees the other.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

log = logging.getLogger(__name__)
_ALIVE, _JUDGED = ".writer", ".ended"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_OLD_SECONDS = 30 * 86400
_MAX_BYTES = 1000


def folder_of(stated: Path | None) -> Path | None:
    """The folder of the files, created if it is missing; None if no folder can be used.

    Unless stated: `$XDG_STATE_HOME/sync/writers` (~/.local/state), or else this user's own in the folder of temporary files.
    """
    if stated:
        return _made(stated)
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    usual = Path(state).expanduser() / "sync" / "writers"
    return _made(usual) or _made(Path(tempfile.gettempdir()) / f"sync-writers-{os.getuid()}")


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        # Nobody else may write there: their files would speak for our writers.
        is_own = found.st_uid == os.getuid() and not found.st_mode & 0o022
    except (OSError, RuntimeError):
        return None
    return folder if is_own and os.access(folder, os.W_OK | os.X_OK) else None


class Witness:
    """The file of this process; without a folder there is none, and nothing is proved."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.token: str | None = None
        self._file = -1
        self._flagged = False
        _HELD.add(self)
        self.renew()

    @property
    def _path(self) -> Path:
        assert self._folder is not None and self.token
        return self._folder / (self.token + _ALIVE)

    def renew(self) -> None:
        """Create the file if there is none or it is gone; a new one has a new token, and its byte is 0."""
        if self._folder is None or (self.token and self._is_there()):
            return
        self._release()
        self.token = uuid.uuid4().hex
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(self._file, b"0" + _identity(self._file), 0)
        except (OSError, ValueError) as error:
            log.warning("%s: %s: if this process is killed, a cut-over waits until it is cleared", self._folder, error)
            self._release()

    def accepts(self) -> bool:
        """Set the byte to 1 before a write that Postgres does not know of; returns False if that write must not be made."""
        if self._flagged or self.token is None:
            return True
        try:
            os.pwrite(self._file, b"1", 0)
            os.fsync(self._file)
        except OSError:
            return self._forgo()
        self._flagged = self._is_there()  # if not, somebody may have taken this process for dead, and clean
        return self._flagged

    def _forgo(self) -> bool:
        """Remove the file, which cannot be written: the writer then counts as one that never had a file."""
        with suppress(OSError):
            if self._is_there():
                self._path.unlink()
                self._release()
                return True
        return False

    def recorded(self) -> None:
        """Set the byte back to 0: Postgres knows of all writes again."""
        if self._flagged:
            with suppress(OSError):  # it stays at 1, which claims less
                os.pwrite(self._file, b"0", 0)
                self._flagged = False

    def end(self) -> None:
        """Remove the file: the writer has signed off, so nobody needs it."""
        if self.token and self._is_there():
            with suppress(OSError):
                self._path.unlink()
        self._release()

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self.token, self._flagged = -1, None, False

    def _is_there(self) -> bool:
        try:
            found, own = self._path.stat(), os.fstat(self._file)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


_HELD = WeakSet[Witness]()


def _forked() -> None:
    """Close the files in a forked child: it could hold the parent's lock after the parent's end, and cannot use the store."""
    for each in list(_HELD):
        each._release()


os.register_at_fork(after_in_child=_forked)


def _identity(file: int) -> bytes:
    """Identifies this host since its boot, and this very file. Raises OSError if that cannot be found out."""
    found = os.fstat(file)
    return json.dumps([_BOOT.read_text().strip(), found.st_dev, found.st_ino]).encode()


def tokens(folder: Path | None) -> list[str]:
    """The tokens of the files that are there, of live and of dead processes; very old unlocked files are removed."""
    if folder is None:
        return []
    with suppress(OSError):
        found = [path for path in folder.iterdir() if path.suffix in (_ALIVE, _JUDGED)]
        return [path.stem for path in found if not _remove_old(path)]
    return []


def _remove_old(path: Path) -> bool:
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > _OLD_SECONDS and _judged(path, None) is not None:
            path.unlink()
            return True
    return False


def accepted_nothing(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of these tokens whose process has ended with nothing unrecorded."""
    return [name for name in names if _is_proved(folder, name)]


def _is_proved(folder: Path, name: str) -> bool:
    alive, judged = folder / (name + _ALIVE), folder / (name + _JUDGED)
    with suppress(OSError, ValueError):
        return bool(_judged(alive, judged) if alive.exists() else _judged(judged, None))
    return False


def _judged(path: Path, moved: Path | None) -> bool | None:
    """Whether the file proves that its writer has nothing unrecorded; None if its process is alive. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if os.pread(file, _MAX_BYTES, 1) != _identity(file):
            return False
        if moved:
            path.rename(moved)
        return os.pread(file, 1, 0) == b"0"
    finally:
        os.close(file)


def forget(folder: Path, names: Iterable[str]) -> None:
    """Remove the files of writers that were signed off."""
    for name in names:
        with suppress(OSError):
            (folder / (name + _JUDGED)).unlink()
