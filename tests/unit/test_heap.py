"""How a worker keeps the memory of pages."""

from __future__ import annotations

import subprocess
import sys

_BLOCKS = 200
_CODE = """
import resource, sys
from sync.adapters.heap import keep_pages
if sys.argv[1] == "keep":
    keep_pages()
bytes(600_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({blocks}):
    pages = [bytes(b"x" * 1_000_000) for _ in range(3)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    code = _CODE.format(blocks=_BLOCKS)
    done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_the_memory_of_a_page_is_used_again() -> None:
    """Would break: each page of a megabyte is 256 page faults each time that it is copied, half of a worker's CPU time."""
    assert _faults("keep") < _BLOCKS * 100
