"""Rule 29: what proves that a process has ended and accepted nothing, and what does not."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sync.adapters import witness
from sync.adapters.witness import Witness, accepted_nothing, folder_of, tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = folder_of(tmp_path / "writers")
    assert made is not None
    return made


def in_child(folder: Path, work: Callable[[Witness], object]) -> str:
    """Run a process that makes its file, does this, and is killed; its token."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        made = Witness(folder)
        os.write(write, (made.token or "").encode())
        work(made)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    found = os.read(read, 100).decode()
    os.close(write)
    os.close(read)
    return found


def flag(found: Witness) -> None:
    assert found.accepts()


def flag_and_record(found: Witness) -> None:
    flag(found)
    found.recorded()


@pytest.mark.parametrize(("work", "proved"), [(repr, True), (flag, False), (flag_and_record, True)])
def test_a_killed_process_is_clean_where_it_had_nothing_unrecorded(
    folder: Path, work: Callable[[Witness], object], proved: bool
) -> None:
    token = in_child(folder, work)
    assert tokens(folder) == [token]
    for _ in range(2):  # whoever judged it may have died before Postgres knew
        assert accepted_nothing(folder, [token]) == [token] * proved
    if proved:
        witness.forget(folder, [token])
    assert tokens(folder) == [token] * (not proved)


def test_a_process_that_lives_is_not_judged(folder: Path) -> None:
    found = Witness(folder)
    assert found.token and accepted_nothing(folder, [found.token]) == []
    assert found.accepts()
    found.end()
    assert tokens(folder) == []


def test_a_child_does_not_keep_its_parent_s_file(folder: Path) -> None:
    """Would break: a forked worker that outlives its master makes the master look alive for as long."""
    read, write = os.pipe()
    there, here = os.pipe()

    def fork(_: Witness) -> None:
        if os.fork() == 0:
            os.close(write)
            os.write(here, b".")
            os.read(read, 1)
            os._exit(0)
        os.read(there, 1)  # a child that has not run yet still has the file

    token = in_child(folder, fork)
    assert accepted_nothing(folder, [token]) == [token]
    for end in (write, read, there, here):
        os.close(end)


def test_a_copy_proves_nothing(folder: Path, tmp_path: Path) -> None:
    token = in_child(folder, repr)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert accepted_nothing(copy, [token]) == []
    folder.rename(tmp_path / "before")  # not removed: the copy might get the inode
    folder.mkdir()
    shutil.copy2(copy / f"{token}.writer", folder)
    assert accepted_nothing(folder, [token]) == []


def test_a_file_from_before_a_restart_proves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Would break: a disk that was restored to an older state tells what was true of a writer then."""
    token = in_child(folder, repr)
    later = tmp_path / "boot_id"
    later.write_text("another\n")
    monkeypatch.setattr(witness, "_BOOT", later)
    assert accepted_nothing(folder, [token]) == []


@pytest.mark.parametrize("content", [b"", b"0", b"0[]", b"1"])
def test_a_file_that_is_not_whole_proves_nothing(folder: Path, content: bytes) -> None:
    (folder / "x.writer").write_bytes(content)
    assert accepted_nothing(folder, ["x"]) == []


def test_a_file_that_is_gone_proves_nothing_and_is_made_anew(folder: Path) -> None:
    """Would break: whatever cleans up temporary files decides whether a write is lost."""
    found = Witness(folder)
    token = found.token
    assert token
    (folder / f"{token}.writer").unlink()
    assert accepted_nothing(folder, [token]) == []
    assert not found.accepts(), "somebody may have judged it"
    found.renew()
    assert found.token not in (None, token) and found.accepts()


def test_a_lock_that_was_lost_lets_nobody_be_taken_for_clean(folder: Path) -> None:
    """Would break: a network file system loses the lock of a live process, which is judged clean and then accepts a write."""
    for judged_first in (True, False):
        found = Witness(folder)
        assert found.token
        token = found.token
        fcntl.flock(found._file, fcntl.LOCK_UN)
        if judged_first:
            assert accepted_nothing(folder, [token]) == [token]
            assert not found.accepts(), "it is taken for dead, and clean"
        else:
            assert found.accepts()
            assert accepted_nothing(folder, [token]) == []


def test_without_a_folder_nothing_is_proved(tmp_path: Path) -> None:
    assert folder_of(tmp_path / "a file" / "x") is not None
    (tmp_path / "file").write_text("")
    assert folder_of(tmp_path / "file" / "x") is None
    others = tmp_path / "others"
    others.mkdir()
    others.chmod(0o777)
    assert folder_of(others) is None, "what others may write there would speak for our writers"
    found = Witness(None)
    assert found.token is None and found.accepts() and tokens(None) == []


def test_old_files_of_the_dead_are_removed(folder: Path) -> None:
    old, alive = in_child(folder, flag), Witness(folder)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    assert tokens(folder) == [alive.token] and old != alive.token
